package rpc

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/base"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	balancerName = "backbeat_less_loaded"
	// An instance with this many timeouts in a row is passed over for restFor; one
	// is enough when nothing else was answered meanwhile.
	maxTimeouts = 3
	restFor     = time.Second
	// probeAnyway is how long after a rest a call that can't be repeated becomes the
	// probe, when no other call came.
	probeAnyway = 10 * restFor
	// silence is how long an instance that has calls to answer may answer none
	// before others are preferred.
	silence = 250 * time.Millisecond
)

type repeatableKey struct{}

// Repeatable marks the context of a call whose caller will call again when it fails:
// only such calls find out whether an instance that hung answers again.
func Repeatable(ctx context.Context) context.Context {
	return context.WithValue(ctx, repeatableKey{}, true)
}

// gRPC finds balancers by name in a map of the process that may be written
// during initialization only: anything later races with other gRPC clients.
func init() { balancer.Register(balancerBuilder{}) }

// balancerBuilder makes gRPC's base balancer, which keeps a health-checked
// connection to each instance, pick in our way.
type balancerBuilder struct{}

func (balancerBuilder) Name() string { return balancerName }

func (balancerBuilder) Build(conn balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	return base.NewBalancerBuilder(balancerName, &pickerBuilder{}, base.Config{HealthCheck: true}).Build(conn, opts)
}

// pickerBuilder remembers the ready instances of one service from picker to picker.
type pickerBuilder struct {
	known map[balancer.SubConn]*instance
}

// Build is called, never concurrently, whenever an instance comes or goes.
func (b *pickerBuilder) Build(info base.PickerBuildInfo) balancer.Picker {
	if len(info.ReadySCs) == 0 {
		b.known = nil
		return base.NewErrPicker(balancer.ErrNoSubConnAvailable)
	}
	ready := make(map[balancer.SubConn]*instance, len(info.ReadySCs))
	p := &picker{now: time.Now}
	for conn := range info.ReadySCs {
		i := b.known[conn]
		if i == nil {
			i = &instance{conn: conn}
		}
		ready[conn] = i
		p.instances = append(p.instances, i)
	}
	b.known = ready
	return p
}

// instance is what is known of one instance. It is used by many calls at once.
type instance struct {
	conn     balancer.SubConn
	inFlight atomic.Int64
	timeouts atomic.Int64 // in a row
	// heard is when it answered last, or got a call after it had none, in ns since 1970.
	heard    atomic.Int64
	restEnds atomic.Int64 // in ns since 1970 while it is passed over or on trial; else 0
	probed   atomic.Bool  // one call is trying whether it answers again
}

// picker chooses among ready instances.
type picker struct {
	instances []*instance
	now       func() time.Time
}

// Pick takes the less loaded of two random instances that aren't passed over or
// silent. One whose rest is over gets this call as its probe, if it can be repeated.
// If none is fit a silent one is better than one that rests, and any than none.
func (p *picker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	var one, two, quiet *instance
	fit, now := 0, p.now().UnixNano()
	probing := int64(probeAnyway)
	if info.Ctx != nil && info.Ctx.Value(repeatableKey{}) != nil {
		probing = 0
	}
	for k, start := 0, rand.IntN(len(p.instances)); k < len(p.instances); k++ {
		i := p.instances[(start+k)%len(p.instances)]
		if ends := i.restEnds.Load(); ends != 0 {
			if now >= ends+probing && i.probed.CompareAndSwap(false, true) {
				return p.take(i, true), nil
			}
			continue
		}
		if i.inFlight.Load() > 0 && now-i.heard.Load() > int64(silence) {
			quiet = i
			continue
		}
		// Each pair of those fit is equally likely.
		fit++
		switch at := rand.IntN(fit); {
		case fit == 1:
			one = i
		case fit == 2:
			two = i
		case at == 0:
			one = i
		case at == 1:
			two = i
		}
	}
	switch {
	case one == nil && quiet != nil:
		one = quiet
	case one == nil:
		one = p.instances[rand.IntN(len(p.instances))]
	case two != nil && two.inFlight.Load() < one.inFlight.Load():
		one = two
	}
	return p.take(one, false), nil
}

// take counts a call to the instance from now until it is done.
func (p *picker) take(i *instance, probe bool) balancer.PickResult {
	began := p.now().UnixNano()
	if i.inFlight.Add(1) == 1 {
		i.heard.Store(began)
	}
	return balancer.PickResult{SubConn: i.conn, Done: func(done balancer.DoneInfo) {
		i.inFlight.Add(-1)
		i.judge(done, began, p.now())
		if probe {
			i.probed.Store(false)
		}
	}}
}

// judge learns from how a call that began then ended. Any answer, a refusal too, is
// a sign of life; a call that was canceled, or never sent, says nothing.
func (i *instance) judge(done balancer.DoneInfo, began int64, now time.Time) {
	switch {
	case done.BytesSent && status.Code(done.Err) == codes.DeadlineExceeded:
		if i.timeouts.Add(1) >= maxTimeouts || i.heard.Load() <= began {
			i.restEnds.Store(now.Add(restFor).UnixNano())
		}
	case done.BytesReceived:
		i.heard.Store(now.UnixNano())
		i.timeouts.Store(0)
		i.restEnds.Store(0)
	}
}
