package boot

import (
	"context"
	"sync"

	"backbeat/app/admin"
)

// The names of needs, as /readyz shows them.
const (
	discoveryName    = "discovery"
	databaseName     = "database"
	queueName        = "queue"
	pendingLikesName = "pending-likes"
	sharedCacheName  = "shared-cache"
	mediaName        = "media"
	tokenKeysName    = "token-keys"
)

// checks are how needs that lie in a server are asked whether they are there, by
// name. What has none lies in the process.
type checks struct {
	mu sync.Mutex
	by map[string]func(context.Context) error
}

// add sets the check of a need; the first counts.
func (c *checks) add(name string, check func(context.Context) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = map[string]func(context.Context) error{}
	}
	if c.by[name] == nil {
		c.by[name] = check
	}
}

// of returns the check of a need that was opened, nil for what lies in the process.
func (c *checks) of(name string) func(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.by[name]
}

// dependencies returns what a role needs, with the checks of what was opened.
func (c *checks) dependencies(r role) []admin.Dependency {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []admin.Dependency
	for _, n := range r.needs {
		all = append(all, admin.Dependency{Name: n.name, Vital: n.vital, Check: c.by[n.name]})
	}
	return all
}
