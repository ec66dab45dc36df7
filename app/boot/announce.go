package boot

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"os"
	"time"

	microregistry "go-micro.dev/v4/registry"

	"backbeat/app/admin"
	"backbeat/app/registry"
	"backbeat/app/status"
	"backbeat/config"
)

// registryPatience bounds the wait of a command for an etcd that wants a log-in.
const registryPatience = time.Second

// OpenDiscovery returns the registry of a cluster and what closes it: a command that looks
// at the cluster is no role. It waits a second at most.
func OpenDiscovery(cfg *config.Config, log *slog.Logger) (*registry.Etcd, func() error, error) {
	shared := newResources(cfg, log)
	shared.patience = registryPatience
	etcd, err := shared.openDiscovery()
	return etcd, shared.close, err
}

// about is what an instance tells of itself when it registers.
func (r *resources) about() map[string]string {
	host, _ := os.Hostname() // who has none is told apart by its addresses
	return map[string]string{status.AdminKey: r.adminAddress, status.HostKey: host}
}

// announced registers a role that no service calls, so that who operates the cluster
// sees it, for as long as it runs. A worker listens nowhere; its address is that of
// its process.
func (s *site) announced(ctx context.Context, p part) (part, error) {
	about := s.about()
	address := cmp.Or(s.adminAddress, about[status.HostKey], s.name)
	if p.address != "" {
		address = s.reachedAt(p.address)
	}
	instance := &microregistry.Service{
		Name: s.name, Version: admin.ReadBuild().Version,
		Nodes: []*microregistry.Node{{Id: s.name + "-" + rand.Text(), Address: address, Metadata: about}},
	}
	drain := p.stop
	if err := s.registry.Register(instance); err != nil {
		return part{}, errors.Join(err, drain(ctx))
	}
	p.stop = func(ctx context.Context) error {
		if err := s.registry.Deregister(instance); err != nil {
			s.log.Warn("it stays announced until its lease ends", "error", err)
		}
		return drain(ctx)
	}
	return p, nil
}

// reachedAt returns where others reach a listener of this process: one on all
// interfaces at the host that rpc.advertise names, else at this machine's name.
func (r *resources) reachedAt(listening string) string {
	host, port, err := net.SplitHostPort(listening)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsUnspecified() {
		return listening
	}
	advertised := r.cfg.RPC.Advertise
	if name, _, err := net.SplitHostPort(advertised); err == nil {
		advertised = name
	}
	if advertised == "" {
		advertised, _ = os.Hostname()
	}
	return net.JoinHostPort(cmp.Or(advertised, "localhost"), port)
}
