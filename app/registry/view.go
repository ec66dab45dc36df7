package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"go-micro.dev/v4/registry"
	clientv3 "go.etcd.io/etcd/client/v3"

	"backbeat/app/etcd"
)

// view keeps the board equal to what etcd holds. It has one goroutine.
type view struct {
	*Etcd
	entries map[string]*entry
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

// run follows etcd until ctx ends. That no deletion is missed matters: a key whose
// deletion was not seen stays much longer.
func (v *view) run(ctx context.Context) {
	(&etcd.Follower{Client: v.client, Prefix: v.prefix, Show: v.put, Deleted: v.deleted, Log: v.log}).Run(ctx)
}

// deleted notes what etcd reported.
func (v *view) deleted(key string) {
	if known := v.entries[key]; known != nil {
		known.deleted = true
	}
}

// put puts on the board what etcd holds now.
func (v *view) put(ctx context.Context, found *clientv3.GetResponse) {
	present := map[string]bool{}
	for _, kv := range found.Kvs {
		key := string(kv.Key)
		present[key] = true
		v.note(key, string(kv.Value), clientv3.LeaseID(kv.Lease))
	}
	for key, known := range v.entries {
		if !present[key] && v.gone(ctx, known) {
			delete(v.entries, key)
		}
	}
	v.show()
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
