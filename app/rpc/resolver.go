package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"go-micro.dev/v4/registry"
	"google.golang.org/grpc/resolver"
)

// scheme is that of the targets a client dials: registry:///user.
const scheme = "registry"

// resolverBuilder makes gRPC learn a service's instances from the registry.
type resolverBuilder struct {
	registry registry.Registry
	log      *slog.Logger
}

func (b *resolverBuilder) Scheme() string { return scheme }

func (b *resolverBuilder) Build(target resolver.Target, conn resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	service := target.Endpoint()
	// The watch is opened before the first look, so that nothing slips between.
	watcher, err := b.registry.Watch(registry.WatchService(service))
	if err != nil {
		return nil, fmt.Errorf("watching %s: %w", service, err)
	}
	r := &following{service: service, registry: b.registry, log: b.log, conn: conn, watcher: watcher}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.task.Go(r.run)
	return r, nil
}

// following passes on a service's instances until it is closed.
type following struct {
	service  string
	registry registry.Registry
	log      *slog.Logger
	conn     resolver.ClientConn
	watcher  registry.Watcher
	ctx      context.Context
	cancel   context.CancelFunc
	task     sync.WaitGroup
}

// run looks again whenever the watcher rings: what it brings is not needed.
func (r *following) run() {
	for {
		r.look()
		if _, err := r.watcher.Next(); err != nil {
			if r.ctx.Err() == nil {
				r.log.Warn("instances are no longer followed", "service", r.service, "error", err)
			}
			return
		}
	}
}

// look tells gRPC what the registry holds. No instance makes calls fail at once,
// and so does a registry that has never answered; gRPC keeps what it knew if it
// knew something.
func (r *following) look() {
	found, err := r.registry.GetService(r.service, registry.GetContext(r.ctx))
	if err != nil && !errors.Is(err, registry.ErrNotFound) {
		r.conn.ReportError(err)
		return
	}
	var state resolver.State
	for _, s := range found {
		for _, n := range s.Nodes {
			// The certificate must name the host, not the service.
			host, _, err := net.SplitHostPort(n.Address)
			if err != nil {
				r.log.Warn("instance without a usable address", "service", r.service, "node", n.Id, "error", err)
				continue
			}
			state.Addresses = append(state.Addresses, resolver.Address{Addr: n.Address, ServerName: host})
		}
	}
	// gRPC refuses a state without addresses, having taken note of it.
	if err := r.conn.UpdateState(state); err != nil && len(state.Addresses) > 0 {
		r.log.Warn("instances not taken", "service", r.service, "error", err)
	}
}

// ResolveNow does nothing: the watch tells.
func (r *following) ResolveNow(resolver.ResolveNowOptions) {}

// Close stops following and waits until it has stopped.
func (r *following) Close() {
	r.cancel()
	r.watcher.Stop()
	r.task.Wait()
}
