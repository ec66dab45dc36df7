package user

import (
	"time"

	"gorm.io/gorm"

	"backbeat/app/id"
	pb "backbeat/proto/user"
)

// Config bounds the service.
type Config struct {
	// Hashes is how many passwords are hashed at once, at least 1. Each takes
	// 19 MiB and about 30 ms of one core.
	Hashes int
}

// Deps is what the service needs.
type Deps struct {
	DB  *gorm.DB
	IDs *id.Generator
	Now func() time.Time
}

// Server answers the RPCs of idl/user.proto.
type Server struct {
	store     *store
	passwords *hasher
}

var _ pb.UserHandler = (*Server)(nil)

// New returns the service. The database has been migrated, so that the system
// account holds its name.
func New(cfg Config, deps Deps) *Server {
	return &Server{
		store:     &store{db: deps.DB, ids: deps.IDs, now: deps.Now},
		passwords: newHasher(cfg.Hashes),
	}
}
