package favorite

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"gorm.io/gorm"

	"backbeat/app/cache"
	"backbeat/app/changes"
	"backbeat/app/recount"
	"backbeat/config"
	"backbeat/mq"
)

// Queue carries likes from the service to the worker, unless they are spread over
// more (Service.Spread): then it is the first of Queues. A single consumer applies
// what is in it in batches, in which the likes of a video share one update.
var Queue = mq.Queue{Name: "favorite.write", Batch: 256, Gather: 50 * time.Millisecond, Single: true, Attempts: 5, Delay: time.Second}

// Queues are all that likes may be spread over. Workers take from every one, however
// many are in use: when that number falls, or is not yet the same everywhere, what
// any of them holds is applied. The order between two doesn't matter, since versions
// decide which write wins.
func Queues() []mq.Queue {
	all := make([]mq.Queue, config.MostShards)
	for i := range all {
		all[i] = Queue
		if i > 0 {
			all[i].Name = fmt.Sprintf("%s.%d", Queue.Name, i+1)
		}
	}
	return all
}

// shardOf returns which of the first n queues carries the likes of a video. Ids that
// were drawn one after the other differ little, so they are scattered first.
func shardOf(video int64, n int) int {
	const golden = 0x9e3779b97f4a7c15 // 2⁶⁴ / φ, as in Knuth's multiplicative hashing
	return int(uint64(video) * golden >> 32 % uint64(n))
}

// messageType names the payload, event.FavoriteWrites, and its version.
const messageType = "favorite.write/2"

// Counters are what counts likes.
var Counters = []recount.Table{
	{Name: "favorite_videos", Key: "video_id", Columns: []recount.Column{
		{Name: "likes", Of: "favorites", By: "video_id", Where: "liked"},
	}},
	{Name: "favorite_users", Key: "user_id", Columns: []recount.Column{
		{Name: "received", Of: "favorites", By: "author_id", Where: "liked"},
		{Name: "given", Of: "favorites", By: "user_id", Where: "liked"},
	}},
}

// Deps is what the service needs.
type Deps struct {
	DB *gorm.DB
	// Queue takes likes on their way to the worker.
	Queue mq.Publisher
	// Pending is the one the worker uses too.
	Pending Pending
	// Changes is told whose counts changed; it may be nil.
	Changes *changes.Announcer
	// Now is the time versions start from; it may stand still or go back.
	Now func() time.Time
	Log *slog.Logger
	// Metrics may be nil.
	Metrics prometheus.Registerer
}

// Service answers the RPCs of idl/favorite.proto. It is safe for concurrent use
// and for several instances on one database.
type Service struct {
	store   *store
	queue   mq.Publisher
	pending Pending
	counted *changes.Announcer
	clock   *clock
	// queues carry likes; shards is how many of them do, the first ones.
	queues []mq.Queue
	shards atomic.Int64
	held   *cache.Held[question, rowsByVideo]
	log    *slog.Logger
}

// New returns the service.
func New(deps Deps) *Service {
	s := &Service{
		store:   &store{deps.DB},
		queue:   deps.Queue,
		pending: deps.Pending,
		counted: deps.Changes,
		clock:   &clock{now: deps.Now},
		log:     deps.Log,
		queues:  Queues(),
	}
	s.Spread(1)
	s.held = cache.NewHeld(heldQuestions, heldLife, deps.Now, s.load).Counted(cache.NewCounters(deps.Metrics), "likes")
	return s
}

// Spread has likes that are given from now on travel in the first n of Queues, 1 to
// all of them. It may be called at any time, and instances need not agree.
func (s *Service) Spread(n int) { s.shards.Store(int64(n)) }

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
