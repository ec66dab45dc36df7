package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// What fails is tried again until it is done or its time has passed, and then no more.
func TestOwedIsRepeated(t *testing.T) {
	for _, row := range []struct {
		name string
		// fails says whether a try fails that begins then.
		fails func(since time.Duration) bool
		// done are the keys that are done in the end, at is when.
		done []int
		at   time.Duration
	}{
		{"at once", func(time.Duration) bool { return false }, []int{1, 2}, owedEvery},
		{"after a while", func(since time.Duration) bool { return since < 2*time.Second }, []int{1, 2}, 2 * time.Second},
		{"never", func(time.Duration) bool { return true }, nil, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var done []int
				var at, last time.Duration
				o := NewOwed(10*time.Second, time.Now, func(_ context.Context, keys ...int) error {
					if last = time.Since(began); row.fails(last) {
						return errors.New("no")
					}
					at, done = last, append(done, keys...)
					return nil
				})
				o.Add(1, 2)
				o.Add(2)
				time.Sleep(time.Hour)
				synctest.Wait()
				slices.Sort(done)
				if !slices.Equal(done, row.done) || at != row.at {
					t.Errorf("%v done after %v, want %v after %v", done, at, row.done, row.at)
				}
				if last > 10*time.Second {
					t.Errorf("tried after %v", last)
				}
			})
		})
	}
}

// What is owed anew while it is being done is done once more, and a try that fails half
// way has done its half.
func TestOwedWhileItIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		times := map[int]int{}
		var o *Owed[int]
		tries := 0
		o = NewOwed(time.Minute, time.Now, func(_ context.Context, keys ...int) error {
			if tries++; tries == 2 {
				return errors.New("no")
			}
			for _, key := range keys {
				times[key]++
			}
			if tries == 1 {
				o.Add(keys[0])
			}
			return nil
		})
		keys := make([]int, 2*owedAtOnce)
		for i := range keys {
			keys[i] = i
		}
		o.Add(keys...)
		time.Sleep(time.Minute)
		synctest.Wait()
		twice := 0
		for _, key := range keys {
			switch times[key] {
			case 1:
			case 2:
				twice++
			default:
				t.Errorf("%d was done %d times", key, times[key])
			}
		}
		if twice != 1 {
			t.Errorf("%d were done twice", twice)
		}
	})
}

// An instance that saw nothing of a failed drop shows the change once the drop gets
// through, and at the latest when what it holds is too old.
func TestADropThatFailsIsRepeated(t *testing.T) {
	for _, down := range []time.Duration{time.Second, 10 * time.Minute} {
		t.Run(fmt.Sprint(down), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory, err := NewMemory(1 << 20)
				if err != nil {
					t.Fatal(err)
				}
				defer memory.Close()
				cut := &away{Cache: memory}
				writer, reader := NewVersions(cut, "test:", time.Now), NewVersions(memory, "test:", time.Now)
				version := func() Version {
					t.Helper()
					versions, err := reader.Get(t.Context(), 1)
					if err != nil {
						t.Fatal(err)
					}
					return versions[0]
				}
				before := version()
				cut.down.Store(true)
				if err := writer.Drop(t.Context(), 1); err == nil {
					t.Fatal("a drop without the cache")
				}
				if version() != before {
					t.Fatal("the drop got through")
				}
				time.Sleep(down)
				cut.down.Store(false)
				time.Sleep(owedEvery)
				synctest.Wait()
				if ended := version() != before; ended != (down < HeldLife) {
					t.Errorf("after %v away the version has ended: %t", down, ended)
				}
			})
		})
	}
}
