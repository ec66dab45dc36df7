// Package cache is the cache that instances share: in the process when there is
// only one, else on Redis. It owns how Redis is reached and promises that a dead
// or stalled one never holds a request longer than Timeout; then every call
// fails as Unavailable and the caller goes to its store. Nothing is lost with it.
package cache

import (
	"context"
	"time"

	"backbeat/app/errs"
)

// Cache maps keys to values for a while. Values are shared: neither side changes
// a slice once it was passed. It is safe for concurrent use.
type Cache interface {
	// Get returns one value per key, nil for a miss. An empty value is not nil.
	Get(ctx context.Context, keys ...string) ([][]byte, error)
	// Set stores the entries for ttl, which is a millisecond or more, else
	// Invalid: everything cached expires. Entries may be dropped at any time.
	Set(ctx context.Context, ttl time.Duration, entries map[string][]byte) error
	// Delete removes the keys; one that is not there is fine.
	Delete(ctx context.Context, keys ...string) error
	// Epoch changes whenever this process may have lost touch with the others that
	// share the cache, so that their deletions could have failed.
	Epoch() uint64
}

// Timeout bounds one call of a Cache, waiting for a connection included.
const Timeout = 150 * time.Millisecond

func checkTTL(ttl time.Duration) error {
	if ttl < time.Millisecond {
		return errs.New(errs.Invalid, "缓存时间无效")
	}
	return nil
}
