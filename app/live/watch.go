package live

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"backbeat/app/etcd"
)

// WatchStore keeps the values equal to what is set in the store, until ctx ends.
// Nothing that is set is ever deleted, so what is missing was lost: it stays.
func (v *Values) WatchStore(ctx context.Context, s *Store) {
	w := &storeWatch{Values: v, store: s, told: map[string]string{}}
	(&etcd.Follower{Client: s.client, Prefix: s.values, Show: w.take, Log: v.log}).Run(ctx)
}

type storeWatch struct {
	*Values
	store *Store
	// good are the values in force that are not the file's.
	good map[string]string
	// told are the faults of keys that were logged.
	told map[string]string
}

func (w *storeWatch) take(_ context.Context, found *clientv3.GetResponse) {
	changes, faults := w.store.decode(found)
	good, refused := settle(w.base, w.good, changes)
	for key, err := range refused {
		faults[key] = err
	}
	for key := range good {
		if _, there := changes[key]; !there && faults[key] == nil {
			faults[key] = errLost
		}
	}
	w.tell(faults)
	next, err := w.base.With(good)
	if err != nil { // settle tried it
		w.log.Error("the configuration in force is unsound", "error", err)
		return
	}
	w.good = good
	w.put(next, func(key string) string { return changes[key].By })
}

// tell logs each fault once.
func (w *storeWatch) tell(faults map[string]error) {
	for key := range w.told {
		if faults[key] == nil {
			delete(w.told, key)
		}
	}
	for key, fault := range faults {
		if w.told[key] != fault.Error() {
			w.told[key] = fault.Error()
			w.log.Warn("what is set for a key is ignored, its last good value stays", "key", key, "error", fault)
		}
	}
}
