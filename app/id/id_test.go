package id

import (
	"sync"
	"testing"
	"time"
)

func TestIdsRiseAndFitWhateverTheClockDoes(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, row := range []struct {
		name  string
		clock func(i int) time.Time
	}{
		{"running", func(i int) time.Time { return noon.Add(time.Duration(i) * time.Millisecond) }},
		{"stopped", func(int) time.Time { return noon }},
		{"going back", func(i int) time.Time { return noon.Add(-time.Duration(i) * time.Minute) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			i := 0
			g := NewGenerator(func() time.Time { i++; return row.clock(i) })
			last := int64(0)
			for range 10_000 {
				next := g.Next()
				if next <= last || next > Max {
					t.Fatalf("%d after %d", next, last)
				}
				if float64(next) != float64(int64(float64(next))) || int64(float64(next)) != next {
					t.Fatalf("%d does not survive a float64", next)
				}
				last = next
			}
		})
	}
}

func TestConcurrentIdsAreDistinct(t *testing.T) {
	g := NewGenerator(time.Now)
	var mu sync.Mutex
	seen := map[int64]bool{}
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for range 1_000 {
				drawn := g.Next()
				mu.Lock()
				if seen[drawn] {
					t.Errorf("%d drawn twice", drawn)
				}
				seen[drawn] = true
				mu.Unlock()
			}
		})
	}
	group.Wait()
}

func TestDerivedIdsMeetNoDrawnOne(t *testing.T) {
	g := NewGenerator(func() time.Time { return time.Date(2057, 12, 31, 0, 0, 0, 0, time.UTC) })
	drawn := g.Next()
	derived := Derive(drawn)
	if derived == drawn || derived > Max || Derive(derived) != derived {
		t.Errorf("Derive(%d) = %d", drawn, derived)
	}
	if drawn&derivedBit != 0 {
		t.Errorf("%d was drawn in the derived half", drawn)
	}
}

func BenchmarkNext(b *testing.B) {
	g := NewGenerator(time.Now)
	for b.Loop() {
		g.Next()
	}
}
