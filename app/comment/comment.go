package comment

import (
	"log/slog"
	"time"

	"gorm.io/gorm"

	"backbeat/app/batch"
	"backbeat/app/cache"
	"backbeat/app/id"
	pb "backbeat/proto/comment"
	"backbeat/proto/entity"
)

// Deps is what the service needs.
type Deps struct {
	DB  *gorm.DB
	IDs *id.Generator
	Now func() time.Time
	// Cache is shared by all instances. It holds versions alone.
	Cache cache.Cache
	Log   *slog.Logger
}

// Server answers the RPCs of idl/comment.proto.
type Server struct {
	store *store
	now   func() time.Time
	log   *slog.Logger
	// adds lets comments that are written at the same time share a transaction.
	adds *batch.Group[draft, *added]
	// versions are those of each video's comments.
	versions *cache.Versions
	lists    *cache.Held[listing, []*entity.Comment]
}

var _ pb.CommentHandler = (*Server)(nil)

// New returns the service. The database has been migrated.
func New(deps Deps) *Server {
	s := &Server{store: &store{db: deps.DB, ids: deps.IDs}, now: deps.Now, log: deps.Log}
	s.adds = batch.NewGroup(mostAdded, s.write)
	s.versions = cache.NewVersions(deps.Cache, "comment:", deps.Now)
	s.lists = cache.NewHeld(heldLists, heldLife, deps.Now, s.load)
	return s
}
