package cache

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"backbeat/app/batch"
)

// Load fetches what belongs to keys, which are distinct; a key without a value is
// left out. Values that come with an error lack something: they are held with it, and
// briefly. It bounds its own time: ctx, which carries the first waiter's trace, ends
// with nobody.
type Load[K comparable, V any] func(ctx context.Context, keys []K) (map[K]V, error)

// A value may be confirmed until it was asked for so long ago: should word of a change
// not have come, it is believed no longer. That is short unless it is sure that word of
// every change comes.
const (
	trusted = 10 * time.Second
	sworn   = 5 * time.Minute
)

// briefly is how long at most values are held that came with an error. It is there for
// those whom the load asks beside the one who failed: they are asked hardly more often
// than when all are well.
const briefly = 250 * time.Millisecond

// Held is what one process knows for a short while: a bounded map whose values are
// at most life old, counted from before they were asked for, or from when they were
// last known to be right (Confirm). Misses that arrive
// while a load is in progress share the next one (batch.Group), so a key is loaded
// once unless that is slow, and a busy process asks for many at a time. It is safe
// for concurrent use; the values are shared, nobody changes them.
type Held[K comparable, V any] struct {
	entries *otter.Cache[K, held[V]]
	life    atomic.Int64 // a Duration
	now     func() time.Time
	load    Load[K, V]
	missed  *batch.Group[miss[K], map[K]V]
	counts  *counts
	// confirmed is nil while nobody tells of changes.
	confirmed atomic.Pointer[confirmed]
	// forgotten says when keys were forgotten lately, which loads in progress then must
	// not bring back.
	forgotten forgotten[K]
}

type held[V any] struct {
	value V
	// asked is when the load began, or ended if the value came with err, in Unix
	// nanoseconds.
	asked int64
	err   error
}

// confirmed says that values asked for at or after since, and not forgotten, were
// right at asOf, for all that is known; surely so if they were asked for at or after
// sure. All are in Unix nanoseconds.
type confirmed struct{ since, sure, asOf int64 }

// until returns how long after it was asked for a value may be confirmed.
func (c *confirmed) until(asked int64) time.Duration {
	switch {
	case asked < c.since:
		return 0
	case asked < c.sure:
		return trusted
	default:
		return sworn
	}
}

// miss is what a caller lacks, and how old it may be.
type miss[K comparable] struct {
	keys []K
	age  time.Duration
}

// NewHeld returns an empty cache of at most size values. Without load it has what
// was put into it, and there is only Peek.
func NewHeld[K comparable, V any](size int, life time.Duration, now func() time.Time, load Load[K, V]) *Held[K, V] {
	return newHeld(&otter.Options[K, held[V]]{MaximumSize: size}, life, now, load)
}

// NewWeighed is NewHeld for values of very different sizes: together they have at
// most so many bytes, as weigh says of each, keys and some overhead not included.
func NewWeighed[K comparable, V any](most uint64, weigh func(V) int, life time.Duration, now func() time.Time, load Load[K, V]) *Held[K, V] {
	return newHeld(&otter.Options[K, held[V]]{
		MaximumWeight: most,
		Weigher:       func(_ K, e held[V]) uint32 { return uint32(min(weigh(e.value)+entryOverhead, math.MaxUint32)) },
	}, life, now, load)
}

func newHeld[K comparable, V any](options *otter.Options[K, held[V]], life time.Duration, now func() time.Time, load Load[K, V]) *Held[K, V] {
	h := &Held[K, V]{entries: otter.Must(options), now: now, load: load}
	h.SetLife(life)
	h.missed = batch.NewGroup(math.MaxInt, h.fetch)
	return h
}

// SetLife changes how old values may be, those that are held already included.
func (h *Held[K, V]) SetLife(life time.Duration) { h.life.Store(int64(life)) }

// Confirm tells that values asked for at or after since were right at asOf, but for
// those forgotten: from now on they are as old as that, for ten seconds after they were
// asked for. Asked for at or after sure, unless that is zero, they are so for five
// minutes.
func (h *Held[K, V]) Confirm(since, sure, asOf time.Time) {
	told := &confirmed{since.UnixNano(), math.MaxInt64, asOf.UnixNano()}
	if !sure.IsZero() {
		told.sure = sure.UnixNano()
	}
	h.confirmed.Store(told)
}

// Doubt takes back what was confirmed: values are as old as they are.
func (h *Held[K, V]) Doubt() { h.confirmed.Store(nil) }

// Forget drops what belongs to keys, which has changed, and what of it is on its way.
func (h *Held[K, V]) Forget(keys ...K) {
	h.forgotten.add(keys, h.now().UnixNano())
	for _, key := range keys {
		h.entries.Invalidate(key)
	}
}

// younger reports whether the value was right less than age before now.
func (e held[V]) younger(told *confirmed, age time.Duration, now int64) bool {
	asked := e.asked
	switch {
	case e.err != nil:
		age = min(age, briefly)
	case told != nil && now-asked < int64(told.until(asked)):
		asked = max(asked, told.asOf)
	}
	return now-asked < int64(age)
}

// Get returns one value per key, the zero value where there is none. With an
// error, all that values came with joined, they may be incomplete.
func (h *Held[K, V]) Get(ctx context.Context, keys ...K) ([]V, error) {
	return h.GetYounger(ctx, time.Duration(h.life.Load()), keys...)
}

// GetYounger is Get of values that are less than age old; no more than life counts.
func (h *Held[K, V]) GetYounger(ctx context.Context, age time.Duration, keys ...K) ([]V, error) {
	age = min(age, time.Duration(h.life.Load()))
	values := make([]V, len(keys))
	var missing []K
	var faults []error
	now, told := h.now().UnixNano(), h.confirmed.Load()
	for i, key := range keys {
		if e, ok := h.entries.GetIfPresent(key); ok && e.younger(told, age, now) {
			values[i] = e.value
			faults = withFault(faults, e.err)
		} else {
			missing = append(missing, key)
		}
	}
	h.counts.lookedUp(len(keys), len(missing))
	if len(missing) == 0 {
		return values, errors.Join(faults...)
	}
	fetched, err := h.missed.Do(ctx, miss[K]{missing, age})
	for i, key := range keys {
		if len(missing) > 0 && missing[0] == key {
			values[i] = fetched[key]
			missing = missing[1:]
		}
	}
	return values, errors.Join(withFault(faults, err)...)
}

// withFault adds what a value came with, once for all values of one load.
func withFault(faults []error, err error) []error {
	if err == nil || slices.ContainsFunc(faults, func(f error) bool { return errors.Is(f, err) }) {
		return faults
	}
	return append(faults, err)
}

// Peek returns the value held for key, and whether there is one.
func (h *Held[K, V]) Peek(key K) (V, bool) {
	e, ok := h.entries.GetIfPresent(key)
	if !ok || !e.younger(h.confirmed.Load(), time.Duration(h.life.Load()), h.now().UnixNano()) {
		h.counts.lookedUp(1, 1)
		var none V
		return none, false
	}
	h.counts.lookedUp(1, 0)
	return e.value, true
}

// Put holds a value that was asked for elsewhere just now.
func (h *Held[K, V]) Put(key K, value V) { h.hold(map[K]V{key: value}, h.now(), nil) }

func (h *Held[K, V]) hold(values map[K]V, asked time.Time, err error) {
	of := asked.UnixNano()
	if err != nil {
		of = h.now().UnixNano()
	}
	for key, value := range values {
		if h.forgotten.since(key, asked.UnixNano()) {
			continue
		}
		h.entries.Set(key, held[V]{value, of, err})
		// Again when it is there, or one who forgets it now could miss it.
		if h.forgotten.since(key, asked.UnixNano()) {
			h.entries.Invalidate(key)
		}
	}
}

// fetch loads what several callers miss, unless the load before brought it. All of
// them get the same map.
func (h *Held[K, V]) fetch(ctx context.Context, missed []miss[K]) ([]map[K]V, error) {
	asked, told := h.now(), h.confirmed.Load()
	values := map[K]V{}
	wanted := map[K]struct{}{}
	var keys []K
	var faults []error
	youngest := time.Duration(math.MaxInt64)
	for _, m := range missed {
		youngest = min(youngest, m.age)
	}
	for _, m := range missed {
		for _, key := range m.keys {
			if _, known := wanted[key]; known {
				continue
			}
			wanted[key] = struct{}{}
			if e, ok := h.entries.GetIfPresent(key); ok && e.younger(told, youngest, asked.UnixNano()) {
				values[key] = e.value
				faults = withFault(faults, e.err)
			} else {
				keys = append(keys, key)
			}
		}
	}
	if len(keys) > 0 {
		h.counts.loaded()
		loaded, err := h.load(ctx, keys)
		h.hold(loaded, asked, err)
		maps.Copy(values, loaded)
		faults = withFault(faults, err)
	}
	return slices.Repeat([]map[K]V{values}, len(missed)), errors.Join(faults...)
}

// forgotten remembers keys and when they were forgotten last, in Unix nanoseconds, for
// longer than a load takes.
type forgotten[K comparable] struct {
	mu sync.Mutex
	// latest is added to, before is what was added to in the time before began.
	latest, before map[K]int64
	began          int64
}

func (f *forgotten[K]) add(keys []K, now int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.latest == nil || now-f.began > int64(trusted) {
		f.latest, f.before, f.began = map[K]int64{}, f.latest, now
	}
	for _, key := range keys {
		f.latest[key] = now
	}
}

// since reports whether the key was forgotten at or after asked.
func (f *forgotten[K]) since(key K, asked int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, known := f.latest[key]
	if !known {
		at, known = f.before[key]
	}
	return known && at >= asked
}
