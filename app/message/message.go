package message

import (
	"time"

	"gorm.io/gorm"

	"backbeat/app/id"
	pb "backbeat/proto/message"
)

// Deps is what the service needs.
type Deps struct {
	DB  *gorm.DB
	IDs *id.Generator
	Now func() time.Time
}

// Server answers the RPCs of idl/message.proto.
type Server struct {
	store *store
}

var _ pb.MessageHandler = (*Server)(nil)

// New returns the service. The database has been migrated.
func New(deps Deps) *Server {
	return &Server{store: &store{db: deps.DB, ids: deps.IDs, now: deps.Now}}
}
