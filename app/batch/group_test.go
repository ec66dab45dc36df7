package batch_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"backbeat/app/batch"
)

// doubler answers numbers with their doubles after a while, and counts.
type doubler struct {
	takes  time.Duration
	mu     sync.Mutex
	rounds []int
}

func (d *doubler) run(_ context.Context, asked []int) ([]int, error) {
	d.mu.Lock()
	d.rounds = append(d.rounds, len(asked))
	d.mu.Unlock()
	time.Sleep(d.takes) // in a bubble
	answers := make([]int, len(asked))
	for i, n := range asked {
		answers[i] = 2 * n
	}
	return answers, nil
}

func TestGroupGathersWhileARoundIsInProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &doubler{takes: batch.GatherFor / 2}
		g := batch.NewGroup(8, d.run)
		var group sync.WaitGroup
		ask := func(n int) {
			group.Go(func() {
				if got, err := g.Do(t.Context(), n); err != nil || got != 2*n {
					t.Errorf("%d doubled is %d, %v", n, got, err)
				}
			})
		}
		ask(0)
		synctest.Wait()
		for n := range 20 {
			ask(n + 1)
		}
		group.Wait()
		slices.Sort(d.rounds)
		if want := []int{1, 4, 8, 8}; !slices.Equal(d.rounds, want) {
			t.Errorf("rounds of %v, want %v", d.rounds, want)
		}
	})
}

// What was asked after a round began is never answered by it: a reader sees the
// writes that were answered before it asked.
func TestGroupAnswersWithWhatCameLater(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		takes := rapid.SliceOfN(rapid.IntRange(0, 30), 1, 8).Draw(rt, "milliseconds of each round")
		starts := rapid.SliceOfN(rapid.IntRange(0, 60), 1, 40).Draw(rt, "when each asks")
		synctest.Test(t, func(t *testing.T) {
			var rounds atomic.Int64
			g := batch.NewGroup(5, func(_ context.Context, asked []int) ([]int64, error) {
				began := time.Now().UnixNano()
				time.Sleep(time.Duration(takes[int(rounds.Add(1))%len(takes)]) * time.Millisecond) // in a bubble
				return slices.Repeat([]int64{began}, len(asked)), nil
			})
			var group sync.WaitGroup
			for _, start := range starts {
				group.Go(func() {
					time.Sleep(time.Duration(start) * time.Millisecond) // in a bubble
					asked := time.Now().UnixNano()
					if began, err := g.Do(t.Context(), 0); err != nil || began < asked {
						t.Errorf("asked at %d, answered by a round begun at %d, %v", asked, began, err)
					}
				})
			}
			group.Wait()
		})
	})
}

func TestGroupHandsOnErrorsAndPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost := errors.New("lost")
		panics := true
		g := batch.NewGroup(8, func(_ context.Context, asked []int) ([]int, error) {
			time.Sleep(time.Millisecond) // in a bubble
			if panics {
				panic("oops")
			}
			return []int{7}, lost
		})
		// One runs, one waits to run next, and one shares that round.
		outcomes := make(chan error, 3)
		for range 3 {
			go func() {
				defer func() {
					if recover() != nil {
						outcomes <- nil
					}
				}()
				_, err := g.Do(t.Context(), 1)
				outcomes <- err
			}()
			synctest.Wait()
		}
		told := 0
		for range 3 {
			if <-outcomes != nil {
				told++
			}
		}
		if told != 1 {
			t.Errorf("%d were told of another's panic, want 1", told)
		}
		panics = false
		if got, err := g.Do(t.Context(), 1); got != 7 || !errors.Is(err, lost) {
			t.Errorf("after a panic: %d, %v", got, err)
		}
	})
}

func BenchmarkGroup(b *testing.B) {
	var rounds atomic.Int64
	g := batch.NewGroup(64, func(_ context.Context, asked []int) ([]int, error) {
		rounds.Add(1)
		return asked, nil
	})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := g.Do(b.Context(), 1); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/float64(rounds.Load()), "asked/round")
}
