package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"go-micro.dev/v4/registry"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// rereadEvery is how often the prefix is read without being told to. A watch
// alone is not enough: on an etcd that lost its data it waits, without an error,
// for a revision that may never come.
const rereadEvery = time.Second

// view keeps the board equal to what etcd holds. It has one goroutine.
type view struct {
	*Etcd
	entries  map[string]*entry
	revision int64 // of the last reading
	away     bool  // the last reading failed
}

// entry is one key as it was last seen.
type entry struct {
	value   string
	lease   clientv3.LeaseID
	service *registry.Service // nil if the value can't be read
	// deleted is set when etcd reported that the key was deleted.
	deleted bool
	// missing is since when the key hasn't been in a reading; zero if it was.
	missing time.Time
}

// run follows etcd until ctx ends.
func (v *view) run(ctx context.Context) {
	v.read(ctx)
	for {
		v.follow(ctx)
		if !pause(ctx, 0) {
			return
		}
	}
}

// follow reads whenever a watch rings and every second anyway, until the watch
// has to be opened anew.
func (v *view) follow(ctx context.Context) {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	// From where the latest reading ended, so that no deletion slips between the
	// two: a key whose deletion was not seen stays much longer.
	rings := v.client.Watch(clientv3.WithRequireLeader(watching), v.prefix, clientv3.WithPrefix(), clientv3.WithRev(v.revision+1))
	ticks := time.NewTicker(rereadEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		case ring, open := <-rings:
			if !open || ring.Err() != nil {
				v.log.Debug("the watch on etcd ended", "error", ring.Err())
				v.read(ctx) // what it would have begun with may be compacted
				return
			}
			for _, event := range ring.Events {
				if known := v.entries[string(event.Kv.Key)]; known != nil && event.Type == clientv3.EventTypeDelete {
					known.deleted = true
				}
			}
		}
		if fresh := v.read(ctx); !fresh {
			return
		}
	}
}

// read puts on the board what etcd holds now; what was known stays if etcd
// doesn't answer. It returns false when etcd has gone back in time, i.e. lost its
// data, and the watch hangs.
func (v *view) read(ctx context.Context) bool {
	asking, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	found, err := v.client.Get(asking, v.prefix, clientv3.WithPrefix())
	if ctx.Err() != nil {
		return true
	}
	if err != nil {
		if !v.away {
			v.log.Warn("etcd is away, the last known instances stay in use", "error", err)
		}
		v.away = true
		return true
	}
	if v.away {
		v.log.Info("etcd is back")
	}
	v.away = false
	present := map[string]bool{}
	for _, kv := range found.Kvs {
		key := string(kv.Key)
		present[key] = true
		v.note(key, string(kv.Value), clientv3.LeaseID(kv.Lease))
	}
	for key, known := range v.entries {
		if !present[key] && v.gone(asking, known) {
			delete(v.entries, key)
		}
	}
	v.show()
	fresh := found.Header.Revision >= v.revision
	v.revision = found.Header.Revision
	return fresh
}

// note takes down a key that is there.
func (v *view) note(key, value string, lease clientv3.LeaseID) {
	if known := v.entries[key]; known != nil && known.value == value {
		*known = entry{value: value, lease: lease, service: known.service}
		return
	}
	service, err := decode(value)
	if err != nil {
		v.log.Warn("not a registration", "key", key, "error", err)
	}
	v.entries[key] = &entry{value: value, lease: lease, service: service}
}

func decode(value string) (*registry.Service, error) {
	var s registry.Service
	if err := json.Unmarshal([]byte(value), &s); err != nil {
		return nil, err
	}
	if err := check(&s); err != nil {
		return nil, err
	}
	if len(s.Nodes) != 1 {
		return nil, fmt.Errorf("%d nodes in one registration", len(s.Nodes))
	}
	return &s, nil
}

// gone decides about a key that is missing. An instance is gone when etcd
// reported the deletion and its lease has ended: it deregistered or died.
// Otherwise etcd has lost it, or somebody deleted it by hand, and its owner will
// write it again: it stays for a while.
func (v *view) gone(ctx context.Context, known *entry) bool {
	if known.missing.IsZero() {
		known.missing = time.Now()
	}
	if time.Since(known.missing) >= 3*v.cfg.Lease {
		return true
	}
	if !known.deleted {
		return false
	}
	lease, err := v.client.TimeToLive(ctx, known.lease)
	return err == nil && lease.TTL < 0 // 0 is the last second of its life
}

func (v *view) show() {
	shown := make(map[string]*registry.Service, len(v.entries))
	for key, known := range v.entries {
		if known.service != nil {
			shown[strings.TrimPrefix(key, v.prefix)] = known.service
		}
	}
	v.board.put(shown)
}
