package registry

import (
	"fmt"
	"sync"

	"go-micro.dev/v4/registry"
)

// Memory is go-micro's memory registry for services of a single process. It adds
// what that one lacks: watchers that lose nothing (its own drop what isn't taken
// within 10 ms), a node that may change its address, and Close. Nothing expires.
type Memory struct {
	registry.Registry
	board *board

	mu sync.Mutex // makes a change and its way to the board one step
}

// NewMemory returns an empty registry.
func NewMemory() *Memory {
	m := &Memory{Registry: registry.NewMemoryRegistry(), board: newBoard()}
	m.board.put(nil)
	return m
}

// Register adds the service's nodes, or replaces those with the same id. A TTL
// is ignored: who lives in this process can't vanish from it.
func (m *Memory) Register(s *registry.Service, _ ...registry.RegisterOption) error {
	if err := check(s); err != nil {
		return err
	}
	return m.change(func() error {
		s := clone(s) // the registry below keeps the nodes it is given
		if err := m.Registry.Deregister(s); err != nil {
			return err
		}
		return m.Registry.Register(s)
	})
}

// Deregister removes the service's nodes at once.
func (m *Memory) Deregister(s *registry.Service, opts ...registry.DeregisterOption) error {
	if err := check(s); err != nil {
		return err
	}
	return m.change(func() error { return m.Registry.Deregister(s, opts...) })
}

func (m *Memory) change(do func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := do(); err != nil {
		return fmt.Errorf("memory registry: %w", err)
	}
	services, err := m.ListServices()
	if err != nil {
		return fmt.Errorf("memory registry: %w", err)
	}
	shown := map[string]*registry.Service{}
	for _, s := range services {
		for key, instance := range instances(s) {
			shown[key] = instance
		}
	}
	m.board.put(shown)
	return nil
}

// Watch delivers what changes from now on.
func (m *Memory) Watch(opts ...registry.WatchOption) (registry.Watcher, error) {
	return m.board.watch(opts...)
}

// Close ends all watchers.
func (m *Memory) Close() error {
	m.board.close()
	return nil
}
