package relation

import (
	"gorm.io/gorm"

	"backbeat/app/id"
	pb "backbeat/proto/relation"
)

// Deps is what the service needs.
type Deps struct {
	DB  *gorm.DB
	IDs *id.Generator
}

// Server answers the RPCs of idl/relation.proto.
type Server struct {
	store *store
}

var _ pb.RelationHandler = (*Server)(nil)

// New returns the service. The database has been migrated.
func New(deps Deps) *Server {
	return &Server{store: &store{db: deps.DB, ids: deps.IDs}}
}
