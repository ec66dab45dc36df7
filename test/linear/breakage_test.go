package linear

import (
	"testing"

	"gorm.io/gorm"

	"backbeat/app/cache"
	"backbeat/app/favorite"
	"backbeat/mq"
)

// breakage is one way in which a system is broken: what replaces or wraps a part
// of it. Nil leaves the part as it is.
type breakage struct {
	name string
	// tables changes the schema, or what statements do.
	tables func(*gorm.DB) error
	// database replaces what the services work on.
	database func(testing.TB, *gorm.DB) *gorm.DB
	// broker wraps what publishes go to before the spool.
	broker func(mq.Broker) mq.Broker
	// publisher wraps what the services publish to.
	publisher func(mq.Publisher) mq.Publisher
	// handler wraps the workers' handlers.
	handler func(mq.Handler) mq.Handler
	// pending returns how each instance gets at pending likes.
	pending func() func() favorite.Pending
	// cache wraps what instances share.
	cache func(cache.Cache) cache.Cache
	// services wraps what calls go to.
	services func(*services)
}
