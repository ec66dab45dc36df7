package gateway

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"backbeat/app/errs"
)

// fill lets requests in until one is refused, and returns how many.
func fill(t *testing.T, a *concurrency) (inside int) {
	t.Helper()
	for {
		err := a.enter()
		if errs.Is(err, errs.Exhausted) {
			return inside
		}
		if err != nil {
			t.Fatal(err)
		}
		inside++
	}
}

func empty(a *concurrency, inside int, took time.Duration) {
	for range inside {
		a.leave(took)
	}
}

func TestConcurrencyAdapts(t *testing.T) {
	const most = 2000
	for _, row := range []struct {
		name string
		took time.Duration
		// shrinks and grows say what a second of full load with such answers does.
		shrinks, grows bool
	}{
		{"quick answers let more in", time.Millisecond, false, true},
		{"slow answers let fewer in", slowAnswer + time.Millisecond, true, false},
		{"what says nothing changes nothing", 0, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newConcurrency(most, time.Now)
				first := fill(t, a)
				empty(a, first, 0)
				for range 20 {
					time.Sleep(adaptEvery)
					n := fill(t, a)
					empty(a, n, row.took)
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
			if err := b.enter(); err != nil {
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
			if err := a.enter(); err != nil {
				t.Fatal(err)
			}
			a.leave(took)
		}
		for range 100 {
			for range 10 {
				answer(time.Millisecond)
			}
			answer(time.Second)
		}
		if a.limit != a.least {
			t.Errorf("between slow answers %v are let in, want %v", a.limit, a.least)
		}
		for range 20 + int(calmFor/adaptEvery) {
			answer(time.Millisecond)
		}
		if a.limit != a.start {
			t.Errorf("two seconds after the last slow answer %v are let in, want %v", a.limit, a.start)
		}
	})
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
				before := g.concurrency.current()
				q := &request{missing: &parts{}}
				leave, err := g.admit(&route{method: row.method}, q)
				if err != nil {
					t.Fatal(err)
				}
				for _, part := range row.missing {
					q.missing.add(part)
				}
				time.Sleep(slowAnswer + 1)
				leave()
				if told := g.concurrency.current() < before; told != row.tells {
					t.Errorf("%v were let in before, %v after", before, g.concurrency.current())
				}
			})
		})
	}
}
