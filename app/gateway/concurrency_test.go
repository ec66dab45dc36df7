package gateway

import (
	"context"
	"math/rand/v2"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"backbeat/app/errs"
)

// fill lets requests in until the next would have to wait, and returns how many.
func fill(t *testing.T, a *concurrency) (inside int) {
	t.Helper()
	for limit, _ := a.bounds(); float64(inside) < limit; inside++ {
		if err := a.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return inside
}

func empty(a *concurrency, inside int, took time.Duration) {
	for range inside {
		a.leave(took)
	}
}

// jam leaves no room in a, nor in its line: the first has waited for ages.
func jam(a *concurrency) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for float64(a.inside) < a.limit {
		a.inside++
	}
	a.line.PushBack(&waiter{in: make(chan struct{})})
}

func TestConcurrencyAdapts(t *testing.T) {
	const most = 2000
	for _, row := range []struct {
		name string
		took time.Duration
		// late of ten answers took that long, the others a millisecond.
		late int
		// shrinks and grows say what a second of full load with such answers does.
		shrinks, grows bool
	}{
		{"quick answers let more in", time.Millisecond, 10, false, true},
		{"slow answers let fewer in", slowAnswer + time.Millisecond, 10, true, false},
		{"as do many", slowAnswer + time.Millisecond, 3, true, false},
		{"a few do not", slowAnswer + time.Millisecond, 1, false, true},
		{"what says nothing changes nothing", 0, 10, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newConcurrency(most, time.Now)
				first := fill(t, a)
				empty(a, first, 0)
				for range 20 {
					time.Sleep(adaptEvery)
					for n := range fill(t, a) {
						if n%10 < row.late {
							a.leave(row.took)
						} else {
							a.leave(time.Millisecond)
						}
					}
				}
				last := fill(t, a)
				if (last < first) != row.shrinks || (last > first) != row.grows {
					t.Errorf("%d were let in at first, %d after", first, last)
				}
			})
		})
	}
}

func TestConcurrencyHasBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newConcurrency(300, time.Now)
		for range 1000 {
			time.Sleep(adaptEvery)
			empty(a, fill(t, a), time.Second)
		}
		if n := fill(t, a); n != int(a.least) || n == 0 {
			t.Errorf("%d are let in at least, want %v", n, a.least)
		}
		empty(a, a.inside, 0)
		for range 1000 {
			empty(a, fill(t, a), time.Microsecond)
		}
		if n := fill(t, a); n != 300 {
			t.Errorf("%d are let in at most, want 300", n)
		}
		empty(a, a.inside, 0)
		// Few requests say nothing about how many could be inside.
		b := newConcurrency(2000, time.Now)
		before := b.limit
		for range 10_000 {
			if err := b.enter(t.Context()); err != nil {
				t.Fatal(err)
			}
			b.leave(time.Microsecond)
		}
		if b.limit != before {
			t.Errorf("one request at a time moved the limit from %v to %v", before, b.limit)
		}
	})
}

func TestConcurrencyRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newConcurrency(2000, time.Now)
		for range 100 {
			time.Sleep(adaptEvery)
			empty(a, fill(t, a), time.Second)
		}
		if a.limit != a.least {
			t.Fatalf("after five seconds of slow answers %v are let in, want %v", a.limit, a.least)
		}
		// One answer after the other, never many at once.
		answer := func(took time.Duration) {
			time.Sleep(adaptEvery)
			if err := a.enter(t.Context()); err != nil {
				t.Fatal(err)
			}
			a.leave(took)
		}
		for n := range 1000 {
			if n%3 == 0 {
				answer(time.Second)
			} else {
				answer(time.Millisecond)
			}
		}
		if a.limit != a.least {
			t.Errorf("between slow answers %v are let in, want %v", a.limit, a.least)
		}
		for range 20*enoughAnswers + int(calmFor/adaptEvery) {
			answer(time.Millisecond)
		}
		if a.limit != a.start {
			t.Errorf("long after the last slow answer %v are let in, want %v", a.limit, a.start)
		}
	})
}

func TestLine(t *testing.T) {
	const limit, full, givesUp = 2, stall / 2, stall/2*3/2 + stall
	for _, row := range []struct {
		name string
		// waiting joined the line when the places were taken.
		waiting int
		// after is when the one in question comes, freed when places begin to be free
		// again, one each millisecond, left when its client goes; 0 is never.
		after, freed, left time.Duration
		// letIn, or refused with the kind, after it took so long.
		letIn bool
		kind  errs.Kind
		took  time.Duration
	}{
		{"let in when a place is free", 0, 0, 20 * time.Millisecond, 0, true, 0, 20 * time.Millisecond},
		{"behind those who came before", 10, 0, 20 * time.Millisecond, 0, true, 0, 30 * time.Millisecond},
		{"gives up", 0, 0, 0, 0, false, errs.Exhausted, givesUp},
		{"its client leaves", 0, 0, 0, 30 * time.Millisecond, false, errs.Unavailable, 30 * time.Millisecond},
		{"the line has formed a moment ago", 1, stall - time.Millisecond, 0, 0, false, errs.Exhausted, givesUp},
		{"the first has waited too long", 1, stall + time.Millisecond, 0, 0, false, errs.Exhausted, turnedAway},
		{"those who gave up are out of the way", 5, givesUp + time.Millisecond, givesUp + 20*time.Millisecond, 0, true, 0, 19 * time.Millisecond},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := fixedConcurrency(limit, full, "", time.Now)
				fill(t, a)
				var others sync.WaitGroup
				defer others.Wait()
				for range row.waiting {
					others.Go(func() { _ = a.enter(t.Context()) })
				}
				synctest.Wait()
				if row.freed > 0 {
					others.Go(func() {
						time.Sleep(row.freed)
						for range row.waiting + 1 {
							a.leave(0)
							time.Sleep(time.Millisecond)
						}
					})
				}
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				time.Sleep(row.after)
				came := time.Now()
				if row.left > 0 {
					time.AfterFunc(row.left, leave)
				}
				err := a.enter(ctx)
				took := time.Since(came)
				if (err == nil) != row.letIn || err != nil && errs.KindOf(err) != row.kind || took != row.took {
					t.Errorf("after %v: %v; let in is to be %v, after %v", took, err, row.letIn, row.took)
				}
			})
		})
	}
}

// However requests come, leave and give up, no more are inside than may be, and
// nobody waits beside a free place.
func TestLineUnderConcurrency(t *testing.T) {
	const limit, clients, full = 3, 64, time.Second
	a := fixedConcurrency(limit, full, "", time.Now)
	var inside, in, out atomic.Int64
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for range 200 {
				ctx, leave := context.WithCancel(t.Context())
				if rand.IntN(2) == 0 {
					leave()
				}
				if a.enter(ctx) != nil {
					out.Add(1)
				} else {
					in.Add(1)
					if n := inside.Add(1); n > limit {
						t.Errorf("%d are inside of %d", n, limit)
					}
					for range 10 {
						runtime.Gosched()
					}
					inside.Add(-1)
					a.leave(0)
				}
				leave()
			}
		})
	}
	all.Wait()
	if in.Load() == 0 || out.Load() == 0 {
		t.Errorf("%d were let in and %d gave up: that proves nothing", in.Load(), out.Load())
	}
	if _, waiting := a.bounds(); waiting != 0 || a.inside != 0 {
		t.Errorf("%d wait and %d are inside when all have left", waiting, a.inside)
	}
	if n := fill(t, a); n != limit {
		t.Errorf("%d places are left of %d", n, limit)
	}
}

// machine answers one request each millisecond, whoever asks first.
type machine chan struct{}

func (m machine) answer() {
	m <- struct{}{}
	time.Sleep(time.Millisecond)
	<-m
}

// However many ask, the machine never stands idle, and what is let in is answered before
// the parts of a page would time out.
func TestOverload(t *testing.T) {
	for _, row := range []struct {
		name string
		// clients ask again as soon as they are answered; pace is when the next
		// comes who asks once, 0 for never.
		clients int
		pace    time.Duration
		// refused is whether anybody is.
		refused bool
	}{
		{"a load test with many threads", 400, 0, false},
		{"with far too many", 4000, 0, true},
		{"twice as much as can be done", 0, time.Millisecond / 2, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const lasts, warm = 20 * time.Second, 3 * time.Second
				a, m := newConcurrency(2000, time.Now), make(machine, 1)
				start := time.Now()
				var mu sync.Mutex
				var good, refused, late int
				ask := func() {
					err := a.enter(t.Context())
					entered := time.Now()
					if err == nil {
						m.answer()
						a.leave(time.Since(entered))
					}
					mu.Lock()
					defer mu.Unlock()
					switch since := time.Since(start); {
					case since < warm || since > lasts:
					case err != nil:
						refused++
					default:
						good++
						if time.Since(entered) > 2*slowAnswer {
							late++
						}
					}
				}
				var asking sync.WaitGroup
				for range row.clients {
					asking.Go(func() {
						for time.Since(start) < lasts {
							ask()
						}
					})
				}
				for row.pace > 0 && time.Since(start) < lasts {
					asking.Go(ask)
					time.Sleep(row.pace)
				}
				asking.Wait()
				if most := int((lasts - warm) / time.Millisecond); good < most*99/100 {
					t.Errorf("%d of %d were answered", good, most)
				}
				if (refused > 0) != row.refused {
					t.Errorf("%d were refused", refused)
				}
				if late > good/100 {
					t.Errorf("%d of %d took longer than the parts of a page have", late, good)
				}
			})
		})
	}
}

func TestPagesTellHowQuickTheMachineIs(t *testing.T) {
	for _, row := range []struct {
		name    string
		method  string
		missing []string
		tells   bool
	}{
		{"a whole page", http.MethodGet, nil, true},
		{"one that waited for a sick part", http.MethodGet, []string{"favorite"}, false},
		{"one whose parts are all late", http.MethodGet, []string{"comment", "favorite"}, true},
		{"a write", http.MethodPost, nil, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &Gateway{concurrency: newConcurrency(2000, time.Now), metrics: newInstruments(nil, nil)}
				before, _ := g.concurrency.bounds()
				for range enoughAnswers {
					q := &request{missing: &parts{}}
					leave, err := g.admit(t.Context(), &route{method: row.method}, q)
					if err != nil {
						t.Fatal(err)
					}
					for _, part := range row.missing {
						q.missing.add(part)
					}
					time.Sleep(slowAnswer + time.Millisecond)
					leave()
				}
				if after, _ := g.concurrency.bounds(); (after < before) != row.tells {
					t.Errorf("%v were let in before, %v after", before, after)
				}
			})
		})
	}
}
