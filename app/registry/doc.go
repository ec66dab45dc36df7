// Package registry says which instances of a service there are: it is go-micro's
// registry.Registry on etcd for a cluster and in memory for a single process.
// It owns the keys under <prefix>/services/ and nothing else in etcd.
//
// Both promise that what was registered is found until it is deregistered, and
// that a watcher misses no final state: it compares what it delivered last with
// what holds now, so a slow one gets fewer results, never wrong ones.
//
// On etcd, in addition:
//   - Registering never fails because etcd is away. It is retried in the
//     background, for ever, and repeated when etcd comes back without its data.
//   - A dead instance leaves with its lease; Deregister revokes it at once.
//   - The last known instances stay while etcd is away, and for three leases
//     after it came back empty, which gives everyone time to register again.
package registry

import (
	"errors"
	"fmt"
	"strings"

	"go-micro.dev/v4/registry"
)

// errClosed is what a registry says after Close.
var errClosed = errors.New("registry: closed")

// errFixed is the answer to options that arrive after New.
var errFixed = errors.New("registry: options are given to New, not to Init")

// check refuses what can't be a key or can't be called.
func check(s *registry.Service) error {
	if s == nil || s.Name == "" || strings.Contains(s.Name, "/") {
		return fmt.Errorf("registry: %+v has no usable name", s)
	}
	if len(s.Nodes) == 0 {
		return fmt.Errorf("registry: service %s has no node", s.Name)
	}
	for _, n := range s.Nodes {
		if n == nil || n.Id == "" || strings.Contains(n.Id, "/") || n.Address == "" {
			return fmt.Errorf("registry: service %s has a node without id or address: %+v", s.Name, n)
		}
	}
	return nil
}

// instances splits a service into services of one node each, by key.
func instances(s *registry.Service) map[string]*registry.Service {
	split := make(map[string]*registry.Service, len(s.Nodes))
	for _, n := range s.Nodes {
		one := *s
		one.Nodes = []*registry.Node{n}
		split[s.Name+"/"+n.Id] = &one
	}
	return split
}
