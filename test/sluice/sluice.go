// Package sluice stands between processes and a server and holds back what flows.
package sluice

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"backbeat/deploy/local"
)

// Sluice is one before a server, open until it is told otherwise.
type Sluice struct {
	proxy  *toxiproxy.Proxy
	server *local.Server
}

// Open returns one before the server. The caller closes it.
func Open(server *local.Server) (*Sluice, error) {
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	proxy := toxiproxy.NewProxy(api, server.Name, "127.0.0.1:0", server.Addr)
	if err := proxy.Start(); err != nil {
		return nil, fmt.Errorf("a proxy before %s: %w", server.Name, err)
	}
	return &Sluice{proxy, server}, nil
}

// URL is the server's with the sluice in its place.
func (s *Sluice) URL() string {
	return strings.Replace(s.server.URL, s.server.Addr, s.proxy.Listen, 1)
}

// Delay makes every answer of the server late by whole milliseconds.
func (s *Sluice) Delay(by time.Duration) error {
	_, err := s.proxy.Toxics.AddToxicJson(strings.NewReader(
		fmt.Sprintf(`{"name": "late", "type": "latency", "stream": "downstream", "attributes": {"latency": %d}}`, by.Milliseconds())))
	return err
}

// Heal ends the delay.
func (s *Sluice) Heal(ctx context.Context) error { return s.proxy.Toxics.RemoveToxic(ctx, "late") }

// Close ends everything that flows.
func (s *Sluice) Close() { s.proxy.Stop() }
