package cache

import (
	"context"
	"time"

	"github.com/maypok86/otter/v2"

	"backbeat/app/errs"
)

// entryOverhead is about what an entry costs beside its key and value, in bytes.
const entryOverhead = 128

// Memory is a Cache in the process. The least useful entries go first when it
// is full.
type Memory struct {
	entries *otter.Cache[string, entry]
}

type entry struct {
	value []byte
	ttl   time.Duration
}

// NewMemory returns a cache that holds about maxBytes at most, keys and overhead
// included. The caller closes it.
func NewMemory(maxBytes int64) (*Memory, error) {
	entries, err := otter.New(&otter.Options[string, entry]{
		MaximumWeight: uint64(max(maxBytes, 0)),
		Weigher: func(key string, e entry) uint32 {
			return uint32(min(len(key)+len(e.value)+entryOverhead, 1<<31))
		},
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[string, entry]) time.Duration { return e.Value.ttl }),
	})
	if err != nil {
		return nil, errs.Wrap(errs.Internal, err, "making a cache of %d bytes", maxBytes)
	}
	return &Memory{entries}, nil
}

// Close ends what removes expired entries in the background.
func (m *Memory) Close() error {
	m.entries.StopAllGoroutines()
	return nil
}

// Get implements Cache.
func (m *Memory) Get(_ context.Context, keys ...string) ([][]byte, error) {
	values := make([][]byte, len(keys))
	for i, key := range keys {
		if e, ok := m.entries.GetIfPresent(key); ok {
			values[i] = e.value
		}
	}
	return values, nil
}

// Set implements Cache.
func (m *Memory) Set(_ context.Context, ttl time.Duration, entries map[string][]byte) error {
	if err := checkTTL(ttl); err != nil {
		return err
	}
	for key, value := range entries {
		if value == nil {
			value = []byte{}
		}
		m.entries.Set(key, entry{value, ttl})
	}
	return nil
}

// Delete implements Cache.
func (m *Memory) Delete(_ context.Context, keys ...string) error {
	for _, key := range keys {
		m.entries.Invalidate(key)
	}
	return nil
}

// Epoch implements Cache: nothing comes between a process and itself.
func (m *Memory) Epoch() uint64 { return 0 }
