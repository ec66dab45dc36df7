package relation

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"gorm.io/gorm"

	"backbeat/app/cache"
	"backbeat/app/changes"
	"backbeat/app/id"
	"backbeat/app/recount"
	pb "backbeat/proto/relation"
)

// Counters are what counts follows.
var Counters = []recount.Table{{Name: "follow_users", Key: "user_id", Columns: []recount.Column{
	{Name: "follows", Of: "follows", By: "follower_id"},
	{Name: "followers", Of: "follows", By: "followee_id"},
}}}

// Deps is what the service needs.
type Deps struct {
	DB  *gorm.DB
	IDs *id.Generator
	// Cache is shared by all instances. It holds versions alone.
	Cache cache.Cache
	// Changes is told whose counts changed; it may be nil.
	Changes *changes.Announcer
	Now     func() time.Time
	Log     *slog.Logger
	// Metrics may be nil.
	Metrics prometheus.Registerer
}

// Server answers the RPCs of idl/relation.proto.
type Server struct {
	store *store
	log   *slog.Logger
	// versions are those of each user's follows and followers.
	versions  *cache.Versions
	counted   *changes.Announcer
	follows   *cache.Held[state, follows]
	followers *cache.Held[state, []int64]
}

var _ pb.RelationHandler = (*Server)(nil)

// New returns the service. The database has been migrated.
func New(deps Deps) *Server {
	s := &Server{store: &store{db: deps.DB, ids: deps.IDs}, log: deps.Log}
	s.versions = cache.NewVersions(deps.Cache, "relation:", deps.Now)
	s.counted = deps.Changes
	by := cache.NewCounters(deps.Metrics)
	s.follows = cache.NewWeighed(heldFollows, follows.weight, cache.HeldLife, deps.Now, s.loadFollows).Counted(by, "follows")
	s.followers = cache.NewWeighed(heldFollowers, weight, cache.HeldLife, deps.Now, s.loadFollowers).Counted(by, "followers")
	return s
}
