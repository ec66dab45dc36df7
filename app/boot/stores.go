package boot

import (
	"log/slog"

	"gorm.io/gorm"

	"backbeat/app/media"
	"backbeat/config"
)

// OpenStores returns the database, migrated, and the media as a role of this
// configuration has them, and what closes them: a command that fills them is no
// role.
func OpenStores(cfg *config.Config, log *slog.Logger) (*gorm.DB, media.Store, func() error, error) {
	shared := newResources(cfg, log)
	db, err := shared.openDB()
	if err != nil {
		return nil, nil, shared.close, err
	}
	store, err := shared.openMedia()
	return db, store, shared.close, err
}
