package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"sync"
	"time"

	"go-micro.dev/v4/registry"
	clientv3 "go.etcd.io/etcd/client/v3"

	"backbeat/app/etcd"
)

// startWithin bounds how long Register and the first lookup wait for an etcd that
// doesn't answer before they go on without it.
const startWithin = time.Second

// Config is how an Etcd registry behaves.
type Config struct {
	// Prefix of every key; registrations are <Prefix>/services/<name>/<node id>.
	Prefix string
	// Lease is how long a dead instance stays registered, in whole seconds, at
	// least 2 (etcd takes no less).
	Lease time.Duration
}

// Deps are what an Etcd registry works with.
type Deps struct {
	// Client brings endpoints, credentials and TLS. Its owner closes it, after
	// the registry.
	Client *clientv3.Client
	Log    *slog.Logger
}

// Etcd is a registry that all processes of a cluster share.
type Etcd struct {
	cfg    Config
	client *clientv3.Client
	log    *slog.Logger
	prefix string // of registrations, ends with a slash
	board  *board

	ctx    context.Context // ends with Close, and everything below with it
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	look   func() // starts following etcd, once; who only registers never does

	mu     sync.Mutex
	kept   map[string]*registration
	closed bool
}

// NewEtcd returns a registry. It doesn't talk to etcd before it is used.
func NewEtcd(cfg Config, deps Deps) *Etcd {
	r := &Etcd{
		cfg: cfg, client: deps.Client, log: deps.Log,
		prefix: path.Join("/", cfg.Prefix, "services") + "/",
		board:  newBoard(),
		kept:   map[string]*registration{},
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.look = sync.OnceFunc(func() {
		v := &view{Etcd: r, entries: map[string]*entry{}}
		r.start(func() { v.run(r.ctx) })
	})
	return r
}

// start runs a task that Close waits for; after Close it runs nothing.
func (r *Etcd) start(task func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.tasks.Go(task)
	return true
}

// Check returns why etcd can't be asked at present, nil when it can.
func (r *Etcd) Check(ctx context.Context) error {
	_, err := r.client.Get(ctx, r.prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	return err
}

// Close deregisters what this process registered, ends all watchers and waits
// until nothing of the registry runs. It takes at most a few seconds when etcd
// is away.
func (r *Etcd) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.board.close()
	r.cancel()
	r.tasks.Wait()
	return nil
}

// Register keeps each of the service's nodes registered, under a lease of its
// own, until Deregister or Close. It waits a second for etcd at most and
// succeeds without it: an instance whose registry is away can still serve those
// who know it. What is registered already is replaced without a gap. A TTL in
// the options is ignored in favour of the configured lease.
func (r *Etcd) Register(s *registry.Service, _ ...registry.RegisterOption) error {
	if err := check(s); err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(r.ctx, startWithin)
	defer cancel()
	for name, instance := range instances(s) {
		value, err := json.Marshal(instance)
		if err != nil {
			return fmt.Errorf("registering %s: %w", name, err)
		}
		kept, err := r.keep(r.prefix+name, string(value))
		if err != nil {
			return err
		}
		select {
		case <-kept.first:
		case <-waiting.Done():
			r.log.Warn("etcd does not answer, registering goes on in the background", "instance", name)
		}
	}
	return nil
}

// Deregister revokes the nodes' leases, by which etcd deletes them at once. It
// fails when etcd doesn't answer; then they go when their leases end.
func (r *Etcd) Deregister(s *registry.Service, _ ...registry.DeregisterOption) error {
	if err := check(s); err != nil {
		return err
	}
	var faults []error
	for name := range instances(s) {
		key := r.prefix + name
		r.mu.Lock()
		kept := r.kept[key]
		delete(r.kept, key)
		r.mu.Unlock()
		if kept != nil {
			faults = append(faults, kept.end(errDeregistered))
		}
	}
	return errors.Join(faults...)
}

// GetService returns the last known instances of a service, grouped by version,
// or registry.ErrNotFound. Only before etcd has answered for the first time it
// waits, for a second or as long as the option's context allows, and then fails.
func (r *Etcd) GetService(name string, opts ...registry.GetOption) ([]*registry.Service, error) {
	var options registry.GetOptions
	for _, o := range opts {
		o(&options)
	}
	if err := r.await(options.Context); err != nil {
		return nil, fmt.Errorf("looking up %s: %w", name, err)
	}
	found := r.board.services(name)
	if len(found) == 0 {
		return nil, registry.ErrNotFound
	}
	return found, nil
}

// ListServices returns all services in the manner of GetService.
func (r *Etcd) ListServices(opts ...registry.ListOption) ([]*registry.Service, error) {
	var options registry.ListOptions
	for _, o := range opts {
		o(&options)
	}
	if err := r.await(options.Context); err != nil {
		return nil, fmt.Errorf("listing services: %w", err)
	}
	return r.board.services(""), nil
}

// await waits until the board shows what etcd holds, or once held.
func (r *Etcd) await(ctx context.Context) error {
	r.look()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	return r.board.wait(ctx)
}

// Watch delivers what changes from now on.
func (r *Etcd) Watch(opts ...registry.WatchOption) (registry.Watcher, error) {
	r.look()
	return r.board.watch(opts...)
}

// Init takes no options: everything is given to NewEtcd.
func (r *Etcd) Init(opts ...registry.Option) error {
	if len(opts) > 0 {
		return errFixed
	}
	return nil
}

// Options returns where etcd is.
func (r *Etcd) Options() registry.Options {
	return registry.Options{Context: r.ctx, Addrs: r.client.Endpoints(), Timeout: etcd.AskWithin}
}

// String returns "etcd".
func (r *Etcd) String() string { return "etcd" }
