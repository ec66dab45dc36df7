package cache

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"
)

// gatherFor bounds how long those who miss wait for the load in progress, so that
// they share the next one. Beyond it a slow service is asked side by side: circuits
// open by the number of calls that fail.
const gatherFor = 10 * time.Millisecond

// errPanicked is what those get who waited for a load that panicked.
var errPanicked = errors.New("a load panicked")

// Load fetches what belongs to keys, which are distinct; a key without a value is
// left out. Values that come with an error are handed to those who wait and not
// held. It bounds its own time: ctx, which carries the first waiter's trace, ends
// with nobody.
type Load[K comparable, V any] func(ctx context.Context, keys []K) (map[K]V, error)

// Held is what one process knows for a short while: a bounded map whose values are
// at most life old, counted from before they were asked for. Misses that arrive
// while a load is in progress share the next one, so a key is loaded once
// unless that is slow, and a busy process asks for many at a time. It is safe for concurrent use; the
// values are shared, nobody changes them.
type Held[K comparable, V any] struct {
	entries *otter.Cache[K, held[V]]
	life    time.Duration
	now     func() time.Time
	load    Load[K, V]

	mu sync.Mutex
	// gathering takes keys still; loading is the load begun last.
	gathering, loading *flight[K, V]
}

type held[V any] struct {
	value V
	until int64 // Unix nanoseconds
}

// flight is one load and those who wait for it.
type flight[K comparable, V any] struct {
	keys   map[K]struct{}
	values map[K]V
	err    error
	done   chan struct{}
}

// NewHeld returns an empty cache of at most size values. Without load it has what
// was put into it, and there is only Peek.
func NewHeld[K comparable, V any](size int, life time.Duration, now func() time.Time, load Load[K, V]) *Held[K, V] {
	return &Held[K, V]{
		entries: otter.Must(&otter.Options[K, held[V]]{MaximumSize: size}),
		life:    life, now: now, load: load,
	}
}

// Get returns one value per key, the zero value where there is none. With an
// error the values may be incomplete.
func (h *Held[K, V]) Get(ctx context.Context, keys ...K) ([]V, error) {
	values := make([]V, len(keys))
	var missing []K
	now := h.now().UnixNano()
	for i, key := range keys {
		if e, ok := h.entries.GetIfPresent(key); ok && now < e.until {
			values[i] = e.value
		} else {
			missing = append(missing, key)
		}
	}
	if len(missing) == 0 {
		return values, nil
	}
	f, err := h.wait(ctx, missing)
	if err != nil {
		return values, err
	}
	at := 0
	for i, key := range keys {
		if at < len(missing) && missing[at] == key {
			values[i] = f.values[key]
			at++
		}
	}
	return values, f.err
}

// Put holds a value that was asked for elsewhere just now.
func (h *Held[K, V]) Put(key K, value V) { h.hold(map[K]V{key: value}, h.now()) }

func (h *Held[K, V]) hold(values map[K]V, asked time.Time) {
	until := asked.Add(h.life).UnixNano()
	for key, value := range values {
		h.entries.Set(key, held[V]{value, until})
	}
}

// wait has the keys loaded, by a flight that others may have begun.
func (h *Held[K, V]) wait(ctx context.Context, keys []K) (*flight[K, V], error) {
	h.mu.Lock()
	f, before := h.gathering, h.loading
	first := f == nil
	if first {
		f = &flight[K, V]{keys: make(map[K]struct{}, len(keys)), done: make(chan struct{})}
		h.gathering = f
	}
	for _, key := range keys {
		f.keys[key] = struct{}{}
	}
	h.mu.Unlock()
	if first {
		h.fly(ctx, f, before)
		return f, nil
	}
	select {
	case <-f.done:
		return f, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fly gathers until the load before has ended, then loads what that one did not
// bring.
func (h *Held[K, V]) fly(ctx context.Context, f, before *flight[K, V]) {
	f.err = errPanicked
	defer close(f.done)
	if before != nil {
		timer := time.NewTimer(gatherFor)
		select {
		case <-before.done:
		case <-timer.C:
		}
		timer.Stop()
	}
	h.mu.Lock()
	h.gathering, h.loading = nil, f
	h.mu.Unlock()
	asked := h.now()
	f.values = make(map[K]V, len(f.keys))
	keys := make([]K, 0, len(f.keys))
	for key := range f.keys {
		if e, ok := h.entries.GetIfPresent(key); ok && asked.UnixNano() < e.until {
			f.values[key] = e.value
		} else {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		f.err = nil
		return
	}
	var loaded map[K]V
	loaded, f.err = h.load(context.WithoutCancel(ctx), keys)
	if f.err == nil {
		h.hold(loaded, asked)
	}
	for key, value := range loaded {
		f.values[key] = value
	}
}

// Peek returns the value held for key, and whether there is one.
func (h *Held[K, V]) Peek(key K) (V, bool) {
	e, ok := h.entries.GetIfPresent(key)
	if !ok || h.now().UnixNano() >= e.until {
		var none V
		return none, false
	}
	return e.value, true
}
