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

// A value that lacks something is held with the word that it does, and not for long,
// whatever is told of it.
func TestHeldHoldsWhatLacksSomethingBriefly(t *testing.T) {
	lost := errors.New("lost")
	for _, row := range []struct {
		name string
		life time.Duration
		held time.Duration
	}{
		{"held for hours when whole", time.Hour, briefly},
		{"held for a moment when whole", briefly / 2, briefly / 2},
		{"never held", 0, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &source{values: map[int]string{1: "a stand-in"}, takes: 2 * briefly, err: lost}
				h := NewHeld(10, row.life, time.Now, s.load)
				get := func(wantErr error, want string, loads int) {
					t.Helper()
					if got, err := h.Get(t.Context(), 1); !errors.Is(err, wantErr) || got[0] != want || s.loads() != loads {
						t.Errorf("got %q, %v after %d loads, want %q, %v after %d", got, err, s.loads(), want, wantErr, loads)
					}
				}
				get(lost, "a stand-in", 1)
				s.values, s.err = map[int]string{1: "a"}, nil
				began := time.Now()
				if row.held > 0 {
					confirms(h, began, row.held-1)
					get(lost, "a stand-in", 1)
					time.Sleep(time.Nanosecond)
				}
				get(nil, "a", 2)
			})
		})
	}
}

// What a load did not bring is asked for again at once.
func TestHeldKeepsNoFailure(t *testing.T) {
	lost := errors.New("lost")
	s := &source{err: lost}
	h := NewHeld(10, time.Second, time.Now, s.load)
	for range 2 {
		if got, err := h.Get(t.Context(), 1); !errors.Is(err, lost) || got[0] != "" {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if s.loads() != 2 {
		t.Errorf("%d loads", s.loads())
	}
}

// Values of several loads come with all that these lack, each once.
func TestHeldJoinsWhatValuesLack(t *testing.T) {
	one, other := errors.New("one"), errors.New("other")
	s := &source{values: map[int]string{1: "a", 2: "b", 3: "c", 4: "d"}}
	h := NewHeld(10, time.Second, func() time.Time { return time.Unix(0, 0) }, s.load)
	for _, load := range []struct {
		err  error
		keys []int
	}{{one, []int{1, 2}}, {nil, []int{3}}} {
		s.err = load.err
		_, _ = h.Get(t.Context(), load.keys...)
	}
	s.err = other
	for range 2 { // the first time, one of them is loaded
		got, err := h.Get(t.Context(), 1, 2, 3, 4)
		if want := "one\nother"; err == nil || err.Error() != want || !slices.Equal(got, []string{"a", "b", "c", "d"}) {
			t.Errorf("got %q, %v, want %s", got, err, want)
		}
	}
	if _, err := h.Get(t.Context(), 3); err != nil {
		t.Errorf("what lacks nothing comes with %v", err)
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
		time.Sleep(breakFor)
		_, _ = v.Get(t.Context(), 1)
		if asked := shared.gets.Load(); asked != versionFailures+1 {
			t.Errorf("asked %d times after the rest", asked)
		}
	})
}

// confirms says every 100ms for a while that what was asked for since is right.
func confirms(h *Held[int, string], since time.Time, during time.Duration) {
	for end := time.Now().Add(during); time.Now().Before(end); {
		time.Sleep(min(100*time.Millisecond, time.Until(end))) // in a bubble
		h.Confirm(since, time.Time{}, time.Now())
	}
}

// What is known to be right is not asked for again, for as long as that is known.
func TestHeldOutlivesItsLifeWhileConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{values: map[int]string{1: "a"}}
		h := NewHeld(10, time.Second, time.Now, s.load)
		want := func(value string, loads int) {
			t.Helper()
			if got, err := h.Get(t.Context(), 1); err != nil || got[0] != value || s.loads() != loads {
				t.Errorf("got %q, %v after %d loads, want %q after %d", got, err, s.loads(), value, loads)
			}
			if got, ok := h.Peek(1); !ok || got != value {
				t.Errorf("%q is held, %t, want %q", got, ok, value)
			}
		}
		began := time.Now()
		want("a", 1)
		s.values = map[int]string{1: "b"}
		for range 5 {
			confirms(h, began, time.Second)
			want("a", 1)
		}
		time.Sleep(time.Second - 1)
		want("a", 1)
		time.Sleep(time.Nanosecond) // a second after it was right
		if got, ok := h.Peek(1); ok {
			t.Errorf("%q is held for longer than its life", got)
		}
		want("b", 2)
	})
}

// What is surely right is believed for minutes, and what was asked for before that was
// sure for seconds. In the end each is asked for again.
func TestHeldBelievesLongerWhatIsSure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{values: map[int]string{1: "a", 2: "b"}}
		h := NewHeld(10, time.Second, time.Now, s.load)
		began := time.Now()
		_, _ = h.Get(t.Context(), 1)
		time.Sleep(time.Nanosecond)
		sure := time.Now()
		_, _ = h.Get(t.Context(), 2)
		check := func(after time.Duration, sure time.Time, first, second bool) {
			t.Helper()
			time.Sleep(time.Until(began.Add(time.Nanosecond + after)))
			h.Confirm(began, sure, time.Now())
			for key, want := range map[int]bool{1: first, 2: second} {
				if _, ok := h.Peek(key); ok != want {
					t.Errorf("%v after it was asked for, %d is held: %t", after, key, ok)
				}
			}
		}
		check(trusted-2, sure, true, true)
		check(trusted-1, sure, false, true)
		check(time.Minute, time.Time{}, false, false) // nobody is sure
		check(time.Minute, time.Now(), false, false)  // nobody was then
		check(sworn-1, sure, false, true)
		check(sworn, sure, false, false)
	})
}

// Nobody told of changes before since, so what was asked for before then is as old as
// it is.
func TestHeldConfirmsWhatWasAskedForSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{values: map[int]string{1: "a", 2: "b", 3: "c"}}
		h := NewHeld(10, time.Second, time.Now, s.load)
		_, _ = h.Get(t.Context(), 1)
		time.Sleep(time.Nanosecond)
		since := time.Now()
		_, _ = h.Get(t.Context(), 2)
		time.Sleep(time.Nanosecond)
		_, _ = h.Get(t.Context(), 3)
		confirms(h, since, 500*time.Millisecond)
		for key := range 3 { // while they are young they are held in any case
			if _, ok := h.Peek(key + 1); !ok {
				t.Errorf("%d is not held", key+1)
			}
		}
		confirms(h, since, time.Second)
		for key, want := range map[int]bool{1: false, 2: true, 3: true} {
			if _, ok := h.Peek(key); ok != want {
				t.Errorf("%d is held: %t", key, ok)
			}
		}
		if _, _ = h.Get(t.Context(), 1, 2, 3); s.loads() != 4 || !slices.Equal(s.asked[3], []int{1}) {
			t.Errorf("asked for %v", s.asked)
		}
	})
}

// A confirmation that lags makes nothing older than it is.
func TestHeldIsNotAgedByAnOldConfirmation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{values: map[int]string{1: "a"}}
		h := NewHeld(10, time.Second, time.Now, s.load)
		since := time.Now()
		time.Sleep(2 * time.Second)
		_, _ = h.Get(t.Context(), 1)
		h.Confirm(since, time.Time{}, since.Add(time.Millisecond))
		if _, ok := h.Peek(1); !ok {
			t.Error("a new value is not held")
		}
	})
}

// A value may be younger than who looks for it: it was asked for between that one's look
// at the clock and at what is held.
func TestHeldTakesWhatIsYoungerThanTheLook(t *testing.T) {
	at := time.Unix(1, 0)
	h := NewHeld[int, string](10, time.Second, func() time.Time { return at }, nil)
	h.Put(1, "a")
	look := func() {
		t.Helper()
		if got, ok := h.Peek(1); !ok || got != "a" {
			t.Errorf("%q is held: %t", got, ok)
		}
	}
	at = at.Add(-time.Millisecond)
	look() // nobody tells of changes
	h.Confirm(at.Add(-time.Second), time.Time{}, at)
	look()
	h.Confirm(at.Add(time.Second), time.Time{}, at.Add(time.Second))
	look()
}

func TestHeldDoubts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{values: map[int]string{1: "a", 2: "b"}}
		h := NewHeld(10, time.Second, time.Now, s.load)
		h.Doubt() // of nothing
		began := time.Now()
		_, _ = h.Get(t.Context(), 1)
		confirms(h, began, 1500*time.Millisecond)
		_, _ = h.Get(t.Context(), 2)
		h.Doubt()
		for key, want := range map[int]bool{1: false, 2: true} { // the other is young
			if _, ok := h.Peek(key); ok != want {
				t.Errorf("%d is held: %t", key, ok)
			}
		}
		s.values = map[int]string{1: "A", 2: "B"}
		if got, err := h.Get(t.Context(), 1, 2); err != nil || !slices.Equal(got, []string{"A", "b"}) {
			t.Errorf("got %q, %v", got, err)
		}
		// One who tells again knows of no change before then.
		time.Sleep(100 * time.Millisecond)
		since := time.Now()
		confirms(h, since, 1500*time.Millisecond)
		if got, err := h.Get(t.Context(), 1, 2); err != nil || !slices.Equal(got, []string{"A", "B"}) || s.loads() != 4 {
			t.Errorf("got %q, %v after %d loads", got, err, s.loads())
		}
	})
}

// A confirmed value is as old as the confirmation, for those who want young ones.
func TestHeldBringsYoungerValuesThanConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{values: map[int]string{1: "a"}}
		h := NewHeld(10, time.Second, time.Now, s.load)
		want := func(age time.Duration, value string) {
			t.Helper()
			if got, err := h.GetYounger(t.Context(), age, 1); err != nil || got[0] != value {
				t.Errorf("younger than %v it is %q, %v, want %q", age, got, err, value)
			}
		}
		began := time.Now()
		want(time.Minute, "a")
		confirms(h, began, 3*time.Second)
		time.Sleep(100 * time.Millisecond)
		s.values = map[int]string{1: "b"}
		want(101*time.Millisecond, "a")
		want(50*time.Millisecond, "b")
		s.values = map[int]string{1: "c"}
		want(50*time.Millisecond, "b")
		want(time.Minute, "b")
	})
}

// What is confirmed while one waits for the load before needs no load of its own.
func TestHeldConfirmsWhatALoadBrought(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const takes = batch.GatherFor / 2
		s := &source{values: map[int]string{1: "a"}, takes: takes}
		h := NewHeld(10, takes/2, time.Now, s.load)
		began := time.Now()
		var group sync.WaitGroup
		for range 2 { // the second waits
			group.Go(func() {
				if got, err := h.Get(t.Context(), 1); err != nil || got[0] != "a" {
					t.Errorf("got %q, %v", got, err)
				}
			})
			synctest.Wait()
		}
		time.Sleep(takes - 1)
		h.Confirm(began, time.Time{}, time.Now())
		group.Wait()
		if s.loads() != 1 {
			t.Errorf("%d loads", s.loads())
		}
	})
}

// Word of a change may be lost, which shows after a while.
func TestHeldIsTrustedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{values: map[int]string{1: "a"}}
		h := NewHeld(10, time.Second, time.Now, s.load)
		began := time.Now()
		for loads := range 3 {
			want := string(rune('a' + loads))
			s.values = map[int]string{1: want}
			if got, err := h.Get(t.Context(), 1); err != nil || got[0] != want {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
			confirms(h, began, trusted-1)
			if _, ok := h.Peek(1); !ok {
				t.Error("it is not trusted any more")
			}
			confirms(h, began, time.Nanosecond)
			if _, ok := h.Peek(1); ok {
				t.Error("it is trusted still")
			}
		}
	})
}

func TestHeldForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{values: map[int]string{1: "a", 2: "b", 3: "c"}}
		h := NewHeld(10, time.Second, time.Now, s.load)
		began := time.Now()
		_, _ = h.Get(t.Context(), 1, 2, 3)
		confirms(h, began, 500*time.Millisecond)
		s.values = map[int]string{1: "A", 2: "B", 3: "C"}
		h.Forget()
		h.Forget(1, 3, 4) // one that never was, too
		h.Confirm(began, time.Time{}, time.Now())
		for key, want := range map[int]bool{1: false, 2: true, 3: false, 4: false} {
			if _, ok := h.Peek(key); ok != want {
				t.Errorf("%d is held: %t", key, ok)
			}
		}
		time.Sleep(time.Nanosecond)
		if got, err := h.Get(t.Context(), 1, 2, 3); err != nil || !slices.Equal(got, []string{"A", "b", "C"}) {
			t.Errorf("got %q, %v", got, err)
		}
		confirms(h, began, 2*time.Second)
		if _, _ = h.Get(t.Context(), 1, 2, 3); s.loads() != 2 {
			t.Errorf("asked for %v", s.asked)
		}
	})
}

// A load that was in progress when a value was forgotten may bring the old one: those
// who wait get that, nobody gets it later.
func TestHeldForgetsWhatIsOnItsWay(t *testing.T) {
	for _, row := range []struct {
		name string
		// after is how long after the load began the key is forgotten.
		after time.Duration
		holds bool
	}{
		{"before", -time.Nanosecond, true},
		{"as it begins", 0, false},
		{"in between", 30 * time.Millisecond, false},
		{"just before it ends", 100*time.Millisecond - 1, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &source{values: map[int]string{1: "a", 2: "b"}, takes: 100 * time.Millisecond}
				h := NewHeld(10, time.Second, time.Now, s.load)
				began := time.Now()
				h.Confirm(began, time.Time{}, began)
				if row.after < 0 {
					h.Forget(1)
					time.Sleep(-row.after)
				}
				var group sync.WaitGroup
				group.Go(func() {
					if got, err := h.Get(t.Context(), 1, 2); err != nil || !slices.Equal(got, []string{"a", "b"}) {
						t.Errorf("got %q, %v", got, err)
					}
				})
				synctest.Wait()
				if row.after >= 0 {
					time.Sleep(row.after)
					s.mu.Lock()
					s.values = map[int]string{1: "A", 2: "b"}
					s.mu.Unlock()
					h.Forget(1)
				}
				group.Wait()
				h.Confirm(began, time.Time{}, time.Now())
				if got, ok := h.Peek(1); ok != row.holds {
					t.Errorf("%q is held: %t", got, ok)
				}
				if got, ok := h.Peek(2); !ok || got != "b" {
					t.Errorf("of the other %q is held: %t", got, ok)
				}
				// It does not stay so: the next load began later.
				if got, err := h.Get(t.Context(), 1); err != nil || got[0] != s.values[1] {
					t.Errorf("got %q, %v, want %q", got, err, s.values[1])
				}
				if got, ok := h.Peek(1); !ok || got != s.values[1] {
					t.Errorf("later %q is held: %t", got, ok)
				}
			})
		})
	}
}

// What is put was asked for just now, so it is right if that was later.
func TestHeldTakesWhatIsPutAfterItWasForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHeld[int, string](10, time.Second, time.Now, nil)
		h.Put(1, "a")
		h.Forget(1)
		if _, ok := h.Peek(1); ok {
			t.Error("what was forgotten is held")
		}
		time.Sleep(time.Nanosecond)
		h.Put(1, "b")
		if got, ok := h.Peek(1); !ok || got != "b" {
			t.Errorf("%q is held: %t", got, ok)
		}
	})
}

// What was forgotten is remembered for longer than a value is trusted, and not for ever.
func TestForgottenIsBounded(t *testing.T) {
	const perSecond = 10
	var f forgotten[int]
	at := func(key int) int64 { return int64(time.Duration(key/perSecond) * time.Second) }
	for key := range 100 * perSecond {
		now := at(key)
		f.add([]int{key}, now)
		if size := len(f.latest) + len(f.before); size > 3*perSecond*int(trusted/time.Second) {
			t.Fatalf("after %v, %d keys are remembered", time.Duration(now), size)
		}
		for lately := max(0, key-perSecond*int(trusted/time.Second)); lately <= key; lately++ {
			if !f.since(lately, at(lately)) || f.since(lately, at(lately)+1) {
				t.Fatalf("after %v, %d is not known to be forgotten at %v", time.Duration(now), lately, time.Duration(at(lately)))
			}
		}
	}
	if f.since(0, 0) || f.since(-1, 0) {
		t.Error("it remembers what was long ago, or never")
	}
	f.add([]int{1000 * perSecond, 7, 7}, at(1000*perSecond))
	f.add([]int{7}, at(1000*perSecond)+1) // the last time counts
	if !f.since(7, at(1000*perSecond)+1) {
		t.Error("it has not noticed that one was forgotten again")
	}
}

// Forgetting and loading at the same time: what was changed and forgotten is not held.
func TestHeldForgetsWhileOthersLoad(t *testing.T) {
	var store atomic.Int64
	h := NewHeld(10, time.Hour, time.Now, func(_ context.Context, keys []int) (map[int]int64, error) {
		return map[int]int64{keys[0]: store.Load()}, nil
	})
	h.Confirm(time.Now(), time.Time{}, time.Now())
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_, _ = h.Get(t.Context(), 1)
				}
			}
		})
	}
	for n := range int64(2000) {
		store.Store(n)
		h.Forget(1)
		// Whoever asks after that waits for no load that was in progress before.
		if got, err := h.Get(t.Context(), 1); err != nil || got[0] < n {
			t.Errorf("got %d, %v, want %d", got, err, n)
			break
		}
	}
	close(stop)
	readers.Wait()
}
