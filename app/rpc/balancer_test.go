package rpc

import (
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/base"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"
)

// subConn stands for a connection; each is another one.
type subConn struct {
	balancer.SubConn
	id int
}

var (
	answered = balancer.DoneInfo{BytesSent: true, BytesReceived: true}
	refused  = balancer.DoneInfo{BytesSent: true, BytesReceived: true, Err: status.Error(codes.NotFound, "")}
	timedOut = balancer.DoneInfo{BytesSent: true, Err: status.Error(codes.DeadlineExceeded, "")}
	canceled = balancer.DoneInfo{BytesSent: true, Err: status.Error(codes.Canceled, "")}
	unsent   = balancer.DoneInfo{}
)

// pickerOf returns a picker of n instances whose clock is now.
func pickerOf(n int, now *time.Time) *picker {
	ready := map[balancer.SubConn]base.SubConnInfo{}
	for id := range n {
		ready[&subConn{id: id}] = base.SubConnInfo{}
	}
	p := (&pickerBuilder{}).Build(base.PickerBuildInfo{ReadySCs: ready}).(*picker)
	p.now = func() time.Time { return *now }
	return p
}

func (p *picker) at(conn balancer.SubConn) *instance {
	for _, i := range p.instances {
		if i.conn == conn {
			return i
		}
	}
	return nil
}

func pick(t *rapid.T, p *picker) (*instance, func(balancer.DoneInfo)) {
	got, err := p.Pick(balancer.PickInfo{})
	if err != nil {
		t.Fatal(err)
	}
	return p.at(got.SubConn), got.Done
}

// Whatever happens, somebody is picked; one who rests only if all do or as the
// only probe; and in the end nobody is in flight.
func TestPicking(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1000, 0)
		p := pickerOf(rapid.IntRange(1, 4).Draw(t, "instances"), &now)
		type call struct {
			to    *instance
			began time.Time
			done  func(balancer.DoneInfo)
		}
		var calls []call
		heard := map[*instance]time.Time{} // model: the last sign of life
		timeouts := map[*instance]int{}
		rests := map[*instance]time.Time{} // model: until when
		probes := map[*instance]int{}      // model: calls in flight since a rest was over
		end := func(c call, with balancer.DoneInfo) {
			c.done(with)
			delete(probes, c.to)
			switch {
			case errors.Is(with.Err, timedOut.Err) && with.BytesSent && !with.BytesReceived:
				if timeouts[c.to]++; timeouts[c.to] >= maxTimeouts || !heard[c.to].After(c.began) {
					rests[c.to] = now.Add(restFor)
				}
			case with.BytesReceived:
				timeouts[c.to] = 0
				heard[c.to] = now
				delete(rests, c.to)
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0, 1:
				to, done := pick(t, p)
				if until, resting := rests[to]; resting && now.Before(until) && len(rests) < len(p.instances) {
					t.Fatalf("%v picked %v before its rest is over", to.conn, until.Sub(now))
				}
				if !slices.ContainsFunc(calls, func(c call) bool { return c.to == to }) {
					heard[to] = now
				}
				calls = append(calls, call{to, now, done})
			case 2:
				if len(calls) > 0 {
					k := rapid.IntRange(0, len(calls)-1).Draw(t, "call")
					end(calls[k], rapid.SampledFrom([]balancer.DoneInfo{answered, refused, timedOut, timedOut, timedOut, canceled, unsent}).Draw(t, "how"))
					calls = append(calls[:k], calls[k+1:]...)
				}
			case 3:
				now = now.Add(time.Duration(rapid.IntRange(0, 600).Draw(t, "ms")) * time.Millisecond)
			}
		}
		for _, c := range calls {
			end(c, answered)
		}
		for _, i := range p.instances {
			if n := i.inFlight.Load(); n != 0 {
				t.Errorf("%d calls in flight after all", n)
			}
		}
	})
}

func TestTheLessLoadedOfTwoIsPicked(t *testing.T) {
	now := time.Now()
	p := pickerOf(2, &now)
	for range 1000 {
		if _, err := p.Pick(balancer.PickInfo{}); err != nil {
			t.Fatal(err)
		}
		if a, b := p.instances[0].inFlight.Load(), p.instances[1].inFlight.Load(); a-b > 1 || b-a > 1 {
			t.Fatalf("%d and %d calls in flight", a, b)
		}
	}
}

func TestIdleInstancesShareTheCalls(t *testing.T) {
	now := time.Now()
	p := pickerOf(3, &now)
	got := map[balancer.SubConn]int{}
	for range 3000 {
		picked, err := p.Pick(balancer.PickInfo{})
		if err != nil {
			t.Fatal(err)
		}
		picked.Done(answered)
		got[picked.SubConn]++
	}
	for _, n := range got {
		if len(got) < 3 || n < 700 {
			t.Errorf("calls were shared as %v", got)
		}
	}
}

func TestARestEndsWithOneProbe(t *testing.T) {
	now := time.Now()
	p := pickerOf(2, &now)
	sick := p.instances[0]
	sick.heard.Store(now.UnixNano())
	for range maxTimeouts {
		sick.judge(timedOut, now.UnixNano()-1, now)
	}
	repeatable := balancer.PickInfo{Ctx: Repeatable(t.Context())}
	toSick := func(calls int) (probes []func(balancer.DoneInfo)) {
		for range calls {
			picked, err := p.Pick(repeatable)
			if err != nil {
				t.Fatal(err)
			}
			if p.at(picked.SubConn) == sick {
				probes = append(probes, picked.Done)
			} else {
				picked.Done(answered)
			}
		}
		return probes
	}
	if probes := toSick(100); len(probes) > 0 {
		t.Fatalf("%d calls during the rest", len(probes))
	}
	for _, how := range []balancer.DoneInfo{timedOut, canceled} {
		now = now.Add(restFor)
		probes := toSick(100)
		if len(probes) != 1 {
			t.Fatalf("%d calls after the rest, want one probe", len(probes))
		}
		probes[0](how)
	}
	probes := toSick(100)
	if len(probes) != 1 {
		t.Fatalf("%d calls after a probe that told nothing, want another", len(probes))
	}
	probes[0](refused)
	if len(toSick(100)) == 0 {
		t.Error("an instance that answers again is still passed over")
	}
}

// An instance that answers nothing is avoided before any call to it has timed out,
// and rests after the first that does.
func TestSilenceIsNoticed(t *testing.T) {
	now := time.Now()
	p := pickerOf(2, &now)
	hung, other := p.instances[0], p.instances[1]
	stuck := p.take(hung, false)
	picks := func(calls int, info balancer.PickInfo) (ofHung int) {
		for range calls {
			picked, err := p.Pick(info)
			if err != nil {
				t.Fatal(err)
			}
			if p.at(picked.SubConn) == hung {
				ofHung++
				picked.Done(canceled)
			} else {
				picked.Done(answered)
			}
		}
		return ofHung
	}
	busy := p.take(other, false) // as loaded as the other
	if n := picks(100, balancer.PickInfo{}); n == 0 {
		t.Error("it is avoided at once")
	}
	now = now.Add(silence + 1)
	busy.Done(answered)
	busy = p.take(other, false)
	if n := picks(100, balancer.PickInfo{}); n > 0 {
		t.Errorf("%d calls to one that is silent", n)
	}
	stuck.Done(timedOut)
	if n := picks(100, balancer.PickInfo{}); n > 0 {
		t.Errorf("%d calls to one that let a call time out", n)
	}
	now = now.Add(restFor)
	if n := picks(100, balancer.PickInfo{}); n > 0 {
		t.Errorf("%d calls that can't be repeated were probes", n)
	}
	if n := picks(100, balancer.PickInfo{Ctx: Repeatable(t.Context())}); n != 100 {
		t.Errorf("%d probes that told nothing, want every call", n)
	}
	now = now.Add(probeAnyway)
	if n := picks(1, balancer.PickInfo{}); n != 1 {
		t.Error("without other calls nothing probes it")
	}
	busy.Done(answered)
}

func TestStateSurvivesANewcomer(t *testing.T) {
	a, b := &subConn{id: 1}, &subConn{id: 2}
	builder := &pickerBuilder{}
	if _, err := builder.Build(base.PickerBuildInfo{}).Pick(balancer.PickInfo{}); !errors.Is(err, balancer.ErrNoSubConnAvailable) {
		t.Errorf("without instances: %v", err)
	}
	one := builder.Build(base.PickerBuildInfo{ReadySCs: map[balancer.SubConn]base.SubConnInfo{a: {}}}).(*picker)
	two := builder.Build(base.PickerBuildInfo{ReadySCs: map[balancer.SubConn]base.SubConnInfo{a: {}, b: {}}}).(*picker)
	if one.at(a) != two.at(a) || two.at(b) == nil {
		t.Error("what was known of an instance is forgotten when another one comes")
	}
}
