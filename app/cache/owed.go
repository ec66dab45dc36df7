package cache

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// owedEvery is how long what failed waits until it is tried again.
	owedEvery = 200 * time.Millisecond
	// owedAtOnce bounds the keys of one try, which has as little time as any other.
	owedAtOnce = 256
)

// Owed repeats what could not be done for some keys until it is done, or no longer of
// use. It owes at most as many keys as fail in that time. A process that ends owes
// nothing. It is safe for concurrent use.
type Owed[K comparable] struct {
	do    func(ctx context.Context, keys ...K) error
	life  time.Duration
	now   func() time.Time
	mu    sync.Mutex
	until map[K]time.Time
	// trying is set while a try is due.
	trying bool
}

// NewOwed returns one that repeats do, which bounds its own time, for as long as life
// after a key was owed last.
func NewOwed[K comparable](life time.Duration, now func() time.Time, do func(ctx context.Context, keys ...K) error) *Owed[K] {
	return &Owed[K]{do: do, life: life, now: now, until: map[K]time.Time{}}
}

// Add owes keys.
func (o *Owed[K]) Add(keys ...K) {
	o.mu.Lock()
	defer o.mu.Unlock()
	until := o.now().Add(o.life)
	for _, key := range keys {
		o.until[key] = until
	}
	o.tryLater()
}

func (o *Owed[K]) tryLater() {
	if !o.trying && len(o.until) > 0 {
		o.trying = true
		time.AfterFunc(owedEvery, o.try)
	}
}

// try does what is owed, until something fails.
func (o *Owed[K]) try() {
	o.mu.Lock()
	owed := o.until
	o.until = map[K]time.Time{} // what fails meanwhile is owed anew
	o.mu.Unlock()
	now := o.now()
	maps.DeleteFunc(owed, func(_ K, until time.Time) bool { return !until.After(now) })
	for keys := range slices.Chunk(slices.Collect(maps.Keys(owed)), owedAtOnce) {
		if o.do(context.Background(), keys...) != nil {
			break
		}
		for _, key := range keys {
			delete(owed, key)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.Copy(owed, o.until)
	o.until, o.trying = owed, false
	o.tryLater()
}
