package relation

import (
	"log/slog"
	"time"

	"gorm.io/gorm"

	"backbeat/app/cache"
	"backbeat/app/id"
	pb "backbeat/proto/relation"
)

// Deps is what the service needs.
type Deps struct {
	DB  *gorm.DB
	IDs *id.Generator
	// Cache is shared by all instances. It holds versions alone.
	Cache cache.Cache
	Now   func() time.Time
	Log   *slog.Logger
}

// Server answers the RPCs of idl/relation.proto.
type Server struct {
	store *store
	log   *slog.Logger
	// versions are those of each user's follows and followers.
	versions  *cache.Versions
	follows   *cache.Held[state, follows]
	followers *cache.Held[state, []int64]
}

var _ pb.RelationHandler = (*Server)(nil)

// New returns the service. The database has been migrated.
func New(deps Deps) *Server {
	s := &Server{store: &store{db: deps.DB, ids: deps.IDs}, log: deps.Log}
	s.versions = cache.NewVersions(deps.Cache, "relation:", deps.Now)
	s.follows = cache.NewHeld(heldFollows, heldLife, deps.Now, s.loadFollows)
	s.followers = cache.NewHeld(heldLists, heldLife, deps.Now, s.loadFollowers)
	return s
}
