package favorite

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"gorm.io/gorm"

	"backbeat/app/batch"
	"backbeat/app/cache"
	"backbeat/mq"
)

// Queue carries likes from the service to the worker. A single consumer applies
// them in batches: several deadlock on each other's counters.
var Queue = mq.Queue{Name: "favorite.write", Batch: 256, Gather: 50 * time.Millisecond, Single: true, Attempts: 5, Delay: time.Second}

// messageType names the payload, event.FavoriteWrite, and its version.
const messageType = "favorite.write/1"

// Deps is what the service needs.
type Deps struct {
	DB *gorm.DB
	// Queue takes likes on their way to the worker.
	Queue mq.Publisher
	// Pending is the one the worker uses too.
	Pending Pending
	// Now is the time versions start from; it may stand still or go back.
	Now func() time.Time
	Log *slog.Logger
}

// Service answers the RPCs of idl/favorite.proto. It is safe for concurrent use
// and for several instances on one database.
type Service struct {
	store   *store
	queue   mq.Publisher
	pending Pending
	clock   *clock
	held    *cache.Held[owner, held]
	log     *slog.Logger
	// entering and keeping let acts that arrive together share what their pending
	// entries cost.
	entering *batch.Group[write, entered]
	keeping  *batch.Group[write, struct{}]
}

// New returns the service.
func New(deps Deps) *Service {
	s := &Service{
		store:   &store{deps.DB},
		queue:   deps.Queue,
		pending: deps.Pending,
		clock:   &clock{now: deps.Now},
		log:     deps.Log,
	}
	s.held = cache.NewHeld(heldUsers, heldLife, deps.Now, s.load)
	s.entering = batch.NewGroup(together, s.enter)
	s.keeping = batch.NewGroup(together, func(ctx context.Context, acts []write) ([]struct{}, error) {
		return make([]struct{}, len(acts)), s.pending.keep(ctx, acts)
	})
	return s
}

// write is one like or unlike: as a user asked for it, as it waits, or as the
// row holds it. The zero version is older than every write.
type write struct {
	user, video, author int64
	liked               bool
	version             int64
}

// clock gives versions: microseconds that rise within the process whatever the
// system's clock does, and stay above every version the process has seen, so that
// an instance whose clock is slow does not fall behind one whose clock is fast.
type clock struct {
	now  func() time.Time
	mu   sync.Mutex
	last int64
}

// after returns a version above all before and above seen.
func (c *clock) after(seen int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.now().UnixMicro(), c.last+1, seen+1)
	return c.last
}

// see keeps later versions above seen.
func (c *clock) see(seen int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last, seen)
}
