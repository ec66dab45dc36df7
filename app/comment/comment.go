package comment

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"gorm.io/gorm"

	"backbeat/app/cache"
	"backbeat/app/changes"
	"backbeat/app/id"
	"backbeat/app/recount"
	pb "backbeat/proto/comment"
	"backbeat/proto/entity"
)

// Counters are what counts comments.
var Counters = []recount.Table{{Name: "comment_videos", Key: "video_id", Columns: []recount.Column{
	{Name: "comments", Of: "comments", By: "video_id"},
}}}

// Deps is what the service needs.
type Deps struct {
	DB  *gorm.DB
	IDs *id.Generator
	Now func() time.Time
	// Cache is shared by all instances. It holds versions alone.
	Cache cache.Cache
	// Changes is told whose counts changed; it may be nil.
	Changes *changes.Announcer
	Log     *slog.Logger
	// Metrics may be nil.
	Metrics prometheus.Registerer
}

// Server answers the RPCs of idl/comment.proto.
type Server struct {
	store *store
	now   func() time.Time
	log   *slog.Logger
	// versions are those of each video's comments.
	versions *cache.Versions
	counted  *changes.Announcer
	lists    *cache.Held[listing, []*entity.Comment]
}

var _ pb.CommentHandler = (*Server)(nil)

// New returns the service. The database has been migrated.
func New(deps Deps) *Server {
	s := &Server{store: &store{db: deps.DB, ids: deps.IDs}, now: deps.Now, log: deps.Log}
	s.versions = cache.NewVersions(deps.Cache, "comment:", deps.Now)
	s.counted = deps.Changes
	s.lists = cache.NewWeighed(heldBytes, weight, cache.HeldLife, deps.Now, s.load).Counted(cache.NewCounters(deps.Metrics), "comments")
	return s
}
