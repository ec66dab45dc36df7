package cache

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestBreaker(t *testing.T) {
	const ms = time.Millisecond
	type step struct {
		after  time.Duration
		does   string
		result bool
	}
	asks, fails, leaves, late, succeeds := "asks", "fails", "leaves", "is late", "succeeds"
	left, leave := context.WithCancel(t.Context())
	leave()
	over, end := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer end()
	for _, row := range []struct {
		name  string
		steps []step
	}{
		{"new", []step{{0, asks, true}}},
		{"too few failures", []step{{0, fails, false}, {0, fails, false}, {0, asks, true}}},
		{"failures not in a row", []step{{0, fails, false}, {0, fails, false}, {0, succeeds, false}, {0, fails, false}, {0, fails, false}, {0, asks, true}}},
		{"failures in a row", []step{{0, fails, false}, {0, fails, false}, {0, fails, false}, {0, asks, false}, {breakFor - 1, asks, false}}},
		{"callers who left", []step{{0, leaves, false}, {0, leaves, false}, {0, leaves, false}, {0, asks, true}}},
		{"callers who could wait no longer", []step{{0, late, false}, {0, late, false}, {0, late, false}, {0, asks, false}}},
		{"one after the rest", []step{{0, fails, false}, {0, fails, false}, {0, fails, false}, {breakFor, asks, true}, {0, asks, false}, {100 * ms, asks, false}}},
		{"that one fails", []step{{0, fails, false}, {0, fails, false}, {0, fails, false}, {breakFor, asks, true}, {100 * ms, fails, false},
			{breakFor - 1, asks, false}, {1, asks, true}, {0, asks, false}}},
		{"that one succeeds", []step{{0, fails, false}, {0, fails, false}, {0, fails, false}, {breakFor, asks, true}, {100 * ms, succeeds, false},
			{0, asks, true}, {0, asks, true}, {0, fails, false}, {0, asks, true}}},
		{"that one never says", []step{{0, fails, false}, {0, fails, false}, {0, fails, false}, {breakFor, asks, true}, {breakFor, asks, true}}},
		{"a call from before succeeds", []step{{0, fails, false}, {0, fails, false}, {0, fails, false}, {0, succeeds, false}, {0, asks, true}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			b, now := Breaker{After: 3}, time.Unix(1000, 0)
			for i, s := range row.steps {
				now = now.Add(s.after)
				switch s.does {
				case fails:
					b.Failed(t.Context(), now)
				case leaves:
					b.Failed(left, now)
				case late:
					b.Failed(over, now)
				case succeeds:
					b.Succeeded()
				default:
					if got := b.Allows(now); got != s.result {
						t.Errorf("step %d: it allows a call: %t", i, got)
					}
				}
			}
		})
	}
}

func TestBreakerAllowsOneOfManyAfterTheRest(t *testing.T) {
	b, now := Breaker{}, time.Unix(1000, 0)
	b.Failed(t.Context(), now)
	var allowed atomic.Int64
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			if b.Allows(now.Add(breakFor)) {
				allowed.Add(1)
			}
		})
	}
	group.Wait()
	if allowed.Load() != 1 {
		t.Errorf("%d calls", allowed.Load())
	}
}
