package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"backbeat/deploy/local"
)

// sluice stands between a process and a server and can hold back what flows.
type sluice struct {
	proxy  *toxiproxy.Proxy
	server *local.Server
}

func openSluice(server *local.Server) (*sluice, error) {
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	proxy := toxiproxy.NewProxy(api, server.Name, "127.0.0.1:0", server.Addr)
	if err := proxy.Start(); err != nil {
		return nil, fmt.Errorf("a proxy before %s: %w", server.Name, err)
	}
	return &sluice{proxy, server}, nil
}

// env names the sluice in the place of its server.
func (s *sluice) env(variable string) string {
	return variable + "=" + strings.Replace(s.server.URL, s.server.Addr, s.proxy.Listen, 1)
}

// delay makes every answer of the server late.
func (s *sluice) delay(by time.Duration) error {
	_, err := s.proxy.Toxics.AddToxicJson(strings.NewReader(
		fmt.Sprintf(`{"name": "late", "type": "latency", "stream": "downstream", "attributes": {"latency": %d}}`, by.Milliseconds())))
	return err
}

func (s *sluice) heal(ctx context.Context) error { return s.proxy.Toxics.RemoveToxic(ctx, "late") }

// slowable starts two more instances of a service behind sluices, in the place of
// those that there are, and returns the sluices and what puts everything back.
func (r *run) slowable(ctx context.Context, service string) (sluices []*sluice, restore func() error, err error) {
	var env []string
	for server, variable := range map[string]string{"mariadb": "BACKBEAT_DB_DSN", "redis": "BACKBEAT_REDIS_ADDR"} {
		s, err := openSluice(r.server(server))
		if err != nil {
			return nil, nil, err
		}
		sluices, env = append(sluices, s), append(env, s.env(variable))
	}
	var parts []*local.Server
	restore = func() error {
		var faults []error
		for _, name := range []string{"-1", "-2"} {
			faults = append(faults, r.cluster.Part(service+name).Start(ctx))
		}
		for _, part := range parts {
			faults = append(faults, part.Stop(), clean(part))
		}
		for _, s := range sluices {
			s.proxy.Stop()
		}
		return errors.Join(faults...)
	}
	for _, name := range []string{"-3", "-4"} {
		part, err := r.startPart(ctx, service+name, env)
		if part != nil {
			parts = append(parts, part)
		}
		if err != nil {
			return nil, nil, errors.Join(err, restore())
		}
	}
	for _, name := range []string{"-1", "-2"} {
		if err := r.cluster.Part(service + name).Stop(); err != nil {
			return nil, nil, errors.Join(err, restore())
		}
	}
	return sluices, restore, nil
}
