package cache

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"backbeat/app/batch"
)

// source is a store of numbers that counts what it is asked.
type source struct {
	mu     sync.Mutex
	values map[int]string
	asked  [][]int
	takes  time.Duration
	err    error
}

func (s *source) load(_ context.Context, keys []int) (map[int]string, error) {
	s.mu.Lock()
	slices.Sort(keys)
	s.asked = append(s.asked, keys)
	found := maps.Clone(s.values) // as it is when the load begins
	err, takes := s.err, s.takes
	s.mu.Unlock()
	maps.DeleteFunc(found, func(key int, _ string) bool { return !slices.Contains(keys, key) })
	if takes > 0 {
		time.Sleep(takes) // in a bubble
	}
	return found, err
}

func (s *source) loads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

func TestHeldExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{values: map[int]string{1: "a", 2: "b"}}
		h := NewHeld(10, time.Second, time.Now, s.load)
		want := func(values ...string) {
			t.Helper()
			if got, err := h.Get(t.Context(), 1, 2, 3); err != nil || !slices.Equal(got, values) {
				t.Errorf("got %q, %v", got, err)
			}
		}
		want("a", "b", "")
		s.values = map[int]string{1: "A", 3: "C"}
		want("a", "b", "C") // what there was not is asked for again
		time.Sleep(time.Second - 1)
		want("a", "b", "C")
		time.Sleep(time.Nanosecond)
		want("A", "", "C")
	})
}

// Who asks for younger values gets them, and nobody gets older ones than life.
func TestHeldBringsYoungerValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{values: map[int]string{1: "a"}}
		h := NewHeld(10, time.Second, time.Now, s.load)
		want := func(age time.Duration, value string) {
			t.Helper()
			if got, err := h.GetYounger(t.Context(), age, 1); err != nil || got[0] != value {
				t.Errorf("younger than %v it is %q, %v, want %q", age, got, err, value)
			}
		}
		want(time.Minute, "a")
		time.Sleep(400 * time.Millisecond)
		s.values = map[int]string{1: "b"}
		want(401*time.Millisecond, "a")
		want(400*time.Millisecond, "b")
		want(time.Minute, "b")
		time.Sleep(time.Second)
		s.values = map[int]string{1: "c"}
		want(time.Minute, "c")
	})
}

// One who lacks a young value and one who would take an older share a load, which
// brings the young one.
func TestHeldMissesOfTwoAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{values: map[int]string{1: "a", 2: "b"}, takes: 10 * time.Millisecond}
		h := NewHeld(10, time.Second, time.Now, s.load)
		_, _ = h.Get(t.Context(), 1)
		time.Sleep(500 * time.Millisecond)
		s.mu.Lock()
		s.values = map[int]string{1: "A", 2: "B"}
		s.mu.Unlock()
		var waiting sync.WaitGroup
		waiting.Go(func() { _, _ = h.Get(t.Context(), 3) }) // the next two wait for its end
		synctest.Wait()
		waiting.Go(func() {
			if got, _ := h.Get(t.Context(), 1, 2); got[1] != "B" {
				t.Errorf("any age: %q", got)
			}
		})
		waiting.Go(func() {
			if got, _ := h.GetYounger(t.Context(), 100*time.Millisecond, 1); got[0] != "A" {
				t.Errorf("young: %q", got)
			}
		})
		waiting.Wait()
	})
}

// A value is as old as the question, not as the answer.
func TestHeldCountsItsLifeFromTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{values: map[int]string{1: "a"}, takes: 600 * time.Millisecond}
		h := NewHeld(10, time.Second, time.Now, s.load)
		_, _ = h.Get(t.Context(), 1)
		time.Sleep(400 * time.Millisecond)
		if _, ok := h.Peek(1); ok {
			t.Error("it is held for longer than its life")
		}
	})
}

func TestHeldGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{values: map[int]string{1: "a", 2: "b", 3: "c"}, takes: batch.GatherFor / 2}
		h := NewHeld(10, time.Second, time.Now, s.load)
		var group sync.WaitGroup
		get := func(key int, want string) {
			group.Go(func() {
				if got, err := h.Get(t.Context(), key); err != nil || got[0] != want {
					t.Errorf("%d is %q, %v", key, got, err)
				}
			})
		}
		get(1, "a")
		synctest.Wait()
		for range 20 {
			get(1, "a")
			get(2, "b")
			get(3, "c")
		}
		group.Wait()
		if want := [][]int{{1}, {2, 3}}; !slices.EqualFunc(s.asked, want, slices.Equal) {
			t.Errorf("asked for %v, want %v", s.asked, want)
		}
	})
}

// A load that hangs holds nobody up for long.
func TestHeldGoesRoundASlowLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{values: map[int]string{1: "a", 2: "b"}, takes: time.Minute}
		h := NewHeld(10, time.Hour, time.Now, s.load)
		go func() { _, _ = h.Get(t.Context(), 1) }()
		synctest.Wait()
		s.mu.Lock()
		s.takes = 0
		s.mu.Unlock()
		began := time.Now()
		if got, err := h.Get(t.Context(), 2); err != nil || got[0] != "b" || time.Since(began) > batch.GatherFor {
			t.Errorf("got %q, %v after %v", got, err, time.Since(began))
		}
		time.Sleep(time.Minute)
	})
}

func TestHeldKeepsNoFailure(t *testing.T) {
	lost := errors.New("lost")
	s := &source{values: map[int]string{1: "a stand-in"}, err: lost}
	h := NewHeld(10, time.Second, time.Now, s.load)
	for range 2 {
		if got, err := h.Get(t.Context(), 1); !errors.Is(err, lost) || got[0] != "a stand-in" {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if s.loads() != 2 {
		t.Errorf("%d loads", s.loads())
	}
}

func TestHeldOutlivesAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var panics atomic.Bool
		panics.Store(true)
		h := NewHeld(10, time.Second, time.Now, func(context.Context, []int) (map[int]string, error) {
			if panics.Load() {
				time.Sleep(time.Millisecond)
				panic("oops")
			}
			return map[int]string{1: "a"}, nil
		})
		var waited error
		go func() {
			defer func() { _ = recover() }()
			_, _ = h.Get(t.Context(), 1)
		}()
		synctest.Wait()
		time.Sleep(2 * time.Millisecond)
		panics.Store(false)
		got, waited := h.Get(t.Context(), 1)
		if waited != nil || got[0] != "a" {
			t.Errorf("got %q, %v", got, waited)
		}
	})
}

func TestHeldWaitsNoLongerThanItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{takes: time.Hour}
		h := NewHeld(10, time.Second, time.Now, s.load)
		for range 2 {
			go func() { _, _ = h.Get(t.Context(), 1) }()
			time.Sleep(2 * batch.GatherFor)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go func() { _, _ = h.Get(t.Context(), 2) }()
		synctest.Wait()
		if _, err := h.Get(ctx, 2); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		time.Sleep(2 * time.Hour)
	})
}

func TestHeldIsBounded(t *testing.T) {
	h := NewHeld(100, time.Hour, time.Now, func(_ context.Context, keys []int) (map[int]string, error) {
		found := map[int]string{}
		for _, key := range keys {
			found[key] = "x"
		}
		return found, nil
	})
	for key := range 10_000 {
		_, _ = h.Get(t.Context(), key)
	}
	h.entries.CleanUp()
	if held := h.entries.EstimatedSize(); held > 100 {
		t.Errorf("%d values are held", held)
	}
}

// As many are held as fit: few large ones or many small ones.
func TestWeighedIsBoundedByBytes(t *testing.T) {
	const most = 100_000
	for _, row := range []struct {
		name                string
		bytes, least, bound int
	}{
		{"large", 10_000, 5, most / 10_000},
		{"small", 10, 500, most / 10},
		{"too large", 2 * most, 0, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := NewWeighed[int](most, func(bytes int) int { return bytes }, time.Hour, time.Now, nil)
			for key := range 20_000 {
				h.Put(key, row.bytes)
			}
			h.entries.CleanUp()
			if held := h.entries.EstimatedSize(); held < row.least || held > row.bound {
				t.Errorf("%d values of %d bytes are held", held, row.bytes)
			}
		})
	}
}

// away is a cache that can't be reached while it is down.
type away struct {
	Cache
	down  atomic.Bool
	epoch atomic.Uint64
	gets  atomic.Int64
}

func (a *away) fault() error {
	if !a.down.Load() {
		return nil
	}
	a.epoch.Add(1)
	return errors.New("down")
}

func (a *away) Get(ctx context.Context, keys ...string) ([][]byte, error) {
	a.gets.Add(1)
	if err := a.fault(); err != nil {
		return nil, err
	}
	return a.Cache.Get(ctx, keys...)
}

func (a *away) Delete(ctx context.Context, keys ...string) error {
	if err := a.fault(); err != nil {
		return err
	}
	return a.Cache.Delete(ctx, keys...)
}

func (a *away) Epoch() uint64 { return a.epoch.Load() }

// Two instances that share a cache hold data of one store. Whatever is acknowledged
// is seen by the next reading, of either.
func TestVersionsShowWhatWasAcknowledged(t *testing.T) {
	memory, err := NewMemory(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	var store atomic.Int64
	type key struct {
		id int64
		at Version
	}
	type instance struct {
		shared   *away
		versions *Versions
		held     *Held[key, int64]
	}
	var instances [2]*instance
	for i := range instances {
		shared := &away{Cache: memory}
		instances[i] = &instance{shared, NewVersions(shared, "test:", time.Now),
			NewHeld(100, time.Hour, time.Now, func(_ context.Context, keys []key) (map[key]int64, error) {
				return map[key]int64{keys[0]: store.Load()}, nil
			})}
	}
	read := func(by *instance) int64 {
		t.Helper()
		versions, err := by.versions.Get(t.Context(), 1)
		if err != nil {
			return store.Load()
		}
		got, err := by.held.Get(t.Context(), key{1, versions[0]})
		if err != nil {
			t.Fatal(err)
		}
		return got[0]
	}
	for n := range int64(20) {
		writer, other := instances[n%2], instances[(n+1)%2]
		for range 3 {
			if got := read(other); got != n {
				t.Fatalf("read %d, want %d", got, n)
			}
		}
		down := n%5 == 3 // nobody reaches the cache while this one is written
		for _, i := range instances {
			i.shared.down.Store(down)
		}
		store.Store(n + 1)
		if err := writer.versions.Drop(t.Context(), 1); (err != nil) != down {
			t.Fatal(err)
		}
		if got := read(other); got != n+1 {
			t.Fatalf("read %d, want %d", got, n+1)
		}
		for _, i := range instances {
			i.shared.down.Store(false)
		}
		for _, i := range instances {
			if got := read(i); got != n+1 {
				t.Fatalf("after the cache came back, read %d, want %d", got, n+1)
			}
		}
	}
}

func TestVersionsRestWhileTheCacheIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := &away{}
		shared.down.Store(true)
		v := NewVersions(shared, "test:", time.Now)
		for range 100 {
			if _, err := v.Get(t.Context(), 1); err == nil {
				t.Error("a version of nothing")
			}
		}
		if asked := shared.gets.Load(); asked != versionFailures {
			t.Errorf("asked %d times", asked)
		}
		time.Sleep(versionRest)
		_, _ = v.Get(t.Context(), 1)
		if asked := shared.gets.Load(); asked != versionFailures+1 {
			t.Errorf("asked %d times after the rest", asked)
		}
	})
}
