package cache

import (
	"context"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"backbeat/app/batch"
)

// Load fetches what belongs to keys, which are distinct; a key without a value is
// left out. Values that come with an error are handed to those who wait and not
// held. It bounds its own time: ctx, which carries the first waiter's trace, ends
// with nobody.
type Load[K comparable, V any] func(ctx context.Context, keys []K) (map[K]V, error)

// Held is what one process knows for a short while: a bounded map whose values are
// at most life old, counted from before they were asked for. Misses that arrive
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
}

type held[V any] struct {
	value V
	asked int64 // Unix nanoseconds
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

// younger reports whether a value was asked for less than age before now.
func (e held[V]) younger(age time.Duration, now int64) bool { return now-e.asked < int64(age) }

// Get returns one value per key, the zero value where there is none. With an
// error the values may be incomplete.
func (h *Held[K, V]) Get(ctx context.Context, keys ...K) ([]V, error) {
	return h.GetYounger(ctx, time.Duration(h.life.Load()), keys...)
}

// GetYounger is Get of values that are less than age old; no more than life counts.
func (h *Held[K, V]) GetYounger(ctx context.Context, age time.Duration, keys ...K) ([]V, error) {
	age = min(age, time.Duration(h.life.Load()))
	values := make([]V, len(keys))
	var missing []K
	now := h.now().UnixNano()
	for i, key := range keys {
		if e, ok := h.entries.GetIfPresent(key); ok && e.younger(age, now) {
			values[i] = e.value
		} else {
			missing = append(missing, key)
		}
	}
	h.counts.lookedUp(len(keys), len(missing))
	if len(missing) == 0 {
		return values, nil
	}
	fetched, err := h.missed.Do(ctx, miss[K]{missing, age})
	for i, key := range keys {
		if len(missing) > 0 && missing[0] == key {
			values[i] = fetched[key]
			missing = missing[1:]
		}
	}
	return values, err
}

// Peek returns the value held for key, and whether there is one.
func (h *Held[K, V]) Peek(key K) (V, bool) {
	e, ok := h.entries.GetIfPresent(key)
	if !ok || !e.younger(time.Duration(h.life.Load()), h.now().UnixNano()) {
		h.counts.lookedUp(1, 1)
		var none V
		return none, false
	}
	h.counts.lookedUp(1, 0)
	return e.value, true
}

// Put holds a value that was asked for elsewhere just now.
func (h *Held[K, V]) Put(key K, value V) { h.hold(map[K]V{key: value}, h.now()) }

func (h *Held[K, V]) hold(values map[K]V, asked time.Time) {
	for key, value := range values {
		h.entries.Set(key, held[V]{value, asked.UnixNano()})
	}
}

// fetch loads what several callers miss, unless the load before brought it. All of
// them get the same map.
func (h *Held[K, V]) fetch(ctx context.Context, missed []miss[K]) ([]map[K]V, error) {
	asked := h.now()
	values := map[K]V{}
	wanted := map[K]struct{}{}
	var keys []K
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
			if e, ok := h.entries.GetIfPresent(key); ok && e.younger(youngest, asked.UnixNano()) {
				values[key] = e.value
			} else {
				keys = append(keys, key)
			}
		}
	}
	var err error
	if len(keys) > 0 {
		h.counts.loaded()
		var loaded map[K]V
		if loaded, err = h.load(ctx, keys); err == nil {
			h.hold(loaded, asked)
		}
		for key, value := range loaded {
			values[key] = value
		}
	}
	return slices.Repeat([]map[K]V{values}, len(missed)), err
}
