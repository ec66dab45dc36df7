// Package live is what of the configuration changes while processes run: its live
// keys. It owns the keys under <prefix>/config/ in etcd and promises that a change
// which is sound applies within a second in every process, and any other nowhere:
//
//   - In a cluster etcd holds what operators set (backbeat config set), each change
//     with who made it, when, and what was there before. What nobody set is as the
//     process's own file and variables have it.
//   - Without etcd it is the file itself, read again whenever it changes.
//   - The last good value stays in force while the source is away, empty or holds
//     nonsense. A process that starts then has what its file says.
//
// Names, types and validation of the keys are those of package config. Not live are
// addresses, folders and secrets; limits.concurrency, by which the slots of each RPC
// are made at the start; the most that Hystrix lets in, which it reads once; and how
// long services hold lists of their own, since what they promise rests on that.
package live

import (
	"context"
	"log/slog"
	"sync"

	"backbeat/config"
)

// Values are the configuration in force in this process.
type Values struct {
	base *config.Config
	log  *slog.Logger
	// known is closed when the source was read for the first time.
	known     chan struct{}
	knownOnce sync.Once

	mu        sync.Mutex
	now       *config.Config
	followers []func(*config.Config) error
}

// New returns the values that a process starts with.
func New(base *config.Config, log *slog.Logger) *Values {
	return &Values{base: base, log: log, now: base, known: make(chan struct{})}
}

// Follow has apply called with the configuration in force: now, and whenever a live
// key has changed, one call at a time. It returns the first call's error; later ones
// are logged.
func (v *Values) Follow(apply func(*config.Config) error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.followers = append(v.followers, apply)
	return apply(v.now)
}

// Await waits until the source was read for the first time, or until ctx ends.
func (v *Values) Await(ctx context.Context) {
	select {
	case <-v.known:
	case <-ctx.Done():
	}
}

// put brings another configuration into force and logs what that changes. Who says
// who changed a key, where that is known.
func (v *Values) put(next *config.Config, who func(key string) string) (changed bool) {
	defer v.knownOnce.Do(func() { close(v.known) })
	v.mu.Lock()
	defer v.mu.Unlock()
	changes := config.Changes(v.now, next)
	if len(changes) == 0 {
		return false
	}
	v.now = next
	for _, c := range changes {
		v.log.Info("configuration changed", "key", c.Name, "old", c.Old, "new", c.New, "by", who(c.Name))
	}
	for _, apply := range v.followers {
		if err := apply(next); err != nil { // what is in force was validated
			v.log.Error("a change of the configuration was not applied", "error", err)
		}
	}
	return true
}
