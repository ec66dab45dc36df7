package user

import (
	"context"
	"time"

	"gorm.io/gorm"

	"backbeat/app/id"
	pb "backbeat/proto/user"
)

// Passwords makes and checks the hashes of passwords.
type Passwords interface {
	// Hash returns what Verify knows the password by.
	Hash(ctx context.Context, password string) (string, error)
	// Verify reports whether the hash is the password's; an empty one is nobody's.
	Verify(ctx context.Context, password, hash string) (bool, error)
}

// Deps is what the service needs.
type Deps struct {
	DB        *gorm.DB
	Passwords Passwords
	IDs       *id.Generator
	Now       func() time.Time
}

// Server answers the RPCs of idl/user.proto.
type Server struct {
	store     *store
	passwords Passwords
}

var _ pb.UserHandler = (*Server)(nil)

// New returns the service. The database has been migrated, so that the system
// account holds its name.
func New(deps Deps) *Server {
	return &Server{
		store:     &store{db: deps.DB, ids: deps.IDs, now: deps.Now},
		passwords: deps.Passwords,
	}
}
