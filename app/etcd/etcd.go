// Package etcd follows a part of etcd. What it reports is what etcd holds, within a
// second, however the watch fares: one that was compacted, cut off, or waits on an
// etcd that lost its data for a revision which may never come.
package etcd

import (
	"context"
	"log/slog"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// AskWithin bounds one request to etcd.
	AskWithin = 2 * time.Second
	// rereadEvery is how often the prefix is read without being told to.
	rereadEvery = time.Second
	// retryFirst and retryLast bound the pause after a failure, which doubles.
	retryFirst = 100 * time.Millisecond
	retryLast  = time.Second
)

// Follower reads all keys under a prefix: at once, when one of them changes, and
// every second anyway. It has one goroutine, that of Run, which calls everything
// below.
type Follower struct {
	Client *clientv3.Client
	Prefix string
	// Show gets all that a reading found. While etcd is away it is not called.
	Show func(ctx context.Context, found *clientv3.GetResponse)
	// Deleted hears of keys that etcd reports as deleted, before the reading in which
	// they are missing. It may be nil.
	Deleted func(key string)
	Log     *slog.Logger

	revision int64 // of the last reading
	away     bool  // the last reading failed
}

// Run follows etcd until ctx ends.
func (f *Follower) Run(ctx context.Context) {
	f.read(ctx)
	for {
		f.follow(ctx)
		if !Pause(ctx, 0) {
			return
		}
	}
}

// follow reads whenever a watch rings and every second anyway, until the watch
// has to be opened anew.
func (f *Follower) follow(ctx context.Context) {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	// From where the latest reading ended, so that no deletion slips between the
	// two.
	rings := f.Client.Watch(clientv3.WithRequireLeader(watching), f.Prefix, clientv3.WithPrefix(), clientv3.WithRev(f.revision+1))
	ticks := time.NewTicker(rereadEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		case ring, open := <-rings:
			if !open || ring.Err() != nil {
				f.Log.Debug("the watch on etcd ended", "prefix", f.Prefix, "error", ring.Err())
				f.read(ctx) // what it would have begun with may be compacted
				return
			}
			f.hear(ring.Events)
		}
		if fresh := f.read(ctx); !fresh {
			return
		}
	}
}

func (f *Follower) hear(events []*clientv3.Event) {
	if f.Deleted == nil {
		return
	}
	for _, event := range events {
		if event.Type == clientv3.EventTypeDelete {
			f.Deleted(string(event.Kv.Key))
		}
	}
}

// read shows what etcd holds now, unless it doesn't answer. It returns false when
// etcd has gone back in time, i.e. lost its data, and the watch hangs.
func (f *Follower) read(ctx context.Context) bool {
	asking, cancel := context.WithTimeout(ctx, AskWithin)
	defer cancel()
	found, err := f.Client.Get(asking, f.Prefix, clientv3.WithPrefix())
	if ctx.Err() != nil {
		return true
	}
	if err != nil {
		if !f.away {
			f.Log.Warn("etcd is away, what was known last stays in use", "prefix", f.Prefix, "error", err)
		}
		f.away = true
		return true
	}
	if f.away {
		f.Log.Info("etcd is back", "prefix", f.Prefix)
	}
	f.away = false
	f.Show(asking, found)
	fresh := found.Header.Revision >= f.revision
	f.revision = found.Header.Revision
	return fresh
}

// Pause waits before the attempt'th retry, counted from 0; false when ctx ended.
func Pause(ctx context.Context, attempt int) bool {
	wait := retryLast
	if attempt < 4 {
		wait = min(retryFirst<<attempt, retryLast)
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return true
	}
}
