package registry

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"sync"

	"go-micro.dev/v4/registry"
)

// board holds which instances there are, as services of one node each by
// "<name>/<node id>". What hangs on it is never changed, only replaced.
type board struct {
	mu        sync.Mutex
	instances map[string]*registry.Service
	changed   chan struct{} // closed and replaced on every change
	known     chan struct{} // closed by the first put
	closed    chan struct{}
}

func newBoard() *board {
	return &board{changed: make(chan struct{}), known: make(chan struct{}), closed: make(chan struct{})}
}

// put replaces what the board shows.
func (b *board) put(instances map[string]*registry.Service) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.known:
	default:
		close(b.known)
	}
	if reflect.DeepEqual(b.instances, instances) {
		return
	}
	b.instances = instances
	close(b.changed)
	b.changed = make(chan struct{})
}

// read returns what the board shows and what is closed when that has changed.
func (b *board) read() (map[string]*registry.Service, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.instances, b.changed
}

// wait returns nil once the board shows anything at all.
func (b *board) wait(ctx context.Context) error {
	select {
	case <-b.known:
		return nil
	case <-b.closed:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends all watchers, once.
func (b *board) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.closed:
	default:
		close(b.closed)
	}
}

// services returns copies of the named service, all services for "", with the
// nodes of one version together, in a fixed order.
func (b *board) services(name string) []*registry.Service {
	shown, _ := b.read()
	var list []*registry.Service
	byVersion := map[string]*registry.Service{}
	for _, key := range slices.Sorted(maps.Keys(shown)) {
		instance := shown[key]
		if name != "" && instance.Name != name {
			continue
		}
		version := instance.Name + "/" + instance.Version
		merged, ok := byVersion[version]
		if !ok {
			merged = clone(instance)
			byVersion[version] = merged
			list = append(list, merged)
			continue
		}
		merged.Nodes = append(merged.Nodes, clone(instance).Nodes...)
	}
	return list
}

// clone copies what callers are likely to change.
func clone(s *registry.Service) *registry.Service {
	copied := *s
	copied.Metadata = maps.Clone(s.Metadata)
	copied.Nodes = make([]*registry.Node, len(s.Nodes))
	for i, n := range s.Nodes {
		node := *n
		node.Metadata = maps.Clone(n.Metadata)
		copied.Nodes[i] = &node
	}
	return &copied
}

// watch returns a watcher that delivers what changes from now on.
func (b *board) watch(opts ...registry.WatchOption) (registry.Watcher, error) {
	var options registry.WatchOptions
	for _, o := range opts {
		o(&options)
	}
	select {
	case <-b.closed:
		return nil, errClosed
	default:
	}
	ctx := options.Context
	if ctx == nil {
		ctx = context.Background()
	}
	w := &watcher{board: b, service: options.Service}
	w.ctx, w.stop = context.WithCancel(ctx)
	shown, _ := b.read()
	w.seen = maps.Clone(shown)
	if w.seen == nil {
		w.seen = map[string]*registry.Service{}
	}
	return w, nil
}

// watcher delivers one instance at a time. It holds no queue: each Next compares.
type watcher struct {
	board   *board
	service string
	seen    map[string]*registry.Service
	ctx     context.Context // ends with Stop or the context given to Watch
	stop    context.CancelFunc
}

// Next blocks until an instance was created, updated or deleted. The result's
// service holds that one node.
func (w *watcher) Next() (*registry.Result, error) {
	for {
		shown, changed := w.board.read()
		if w.ctx.Err() != nil {
			return nil, registry.ErrWatcherStopped
		}
		if result := w.next(shown); result != nil {
			return result, nil
		}
		select {
		case <-changed:
		case <-w.ctx.Done():
			return nil, registry.ErrWatcherStopped
		case <-w.board.closed:
			return nil, registry.ErrWatcherStopped
		}
	}
}

// next returns one difference between what was delivered and what is shown, and
// takes note of it. Newcomers go first, so that no service looks empty between.
func (w *watcher) next(shown map[string]*registry.Service) *registry.Result {
	for key, instance := range shown {
		before, ok := w.seen[key]
		if w.ignores(instance) || ok && (before == instance || reflect.DeepEqual(before, instance)) {
			continue
		}
		w.seen[key] = instance
		if ok {
			return &registry.Result{Action: registry.Update.String(), Service: clone(instance)}
		}
		return &registry.Result{Action: registry.Create.String(), Service: clone(instance)}
	}
	for key, instance := range w.seen {
		if _, ok := shown[key]; ok || w.ignores(instance) {
			continue
		}
		delete(w.seen, key)
		return &registry.Result{Action: registry.Delete.String(), Service: clone(instance)}
	}
	return nil
}

func (w *watcher) ignores(s *registry.Service) bool {
	return w.service != "" && s.Name != w.service
}

// Stop ends the watcher and whoever waits in Next.
func (w *watcher) Stop() { w.stop() }
