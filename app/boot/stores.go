package boot

import (
	"context"
	"log/slog"

	"gorm.io/gorm"

	"backbeat/app/changes"
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

// OpenMedia returns the media of this configuration, and what closes them.
func OpenMedia(cfg *config.Config, log *slog.Logger) (media.Store, func() error, error) {
	shared := newResources(cfg, log)
	store, err := shared.openMedia()
	return store, shared.close, err
}

// OpenChanges returns what tells gateways whose counts a command has changed, and what
// closes it. Without a Redis nobody can be told: then gateways find out by themselves
// within ten seconds.
func OpenChanges(cfg *config.Config, log *slog.Logger) (*changes.Announcer, func() error, error) {
	shared := newResources(cfg, log)
	announcer, err := shared.newAnnouncer()
	return announcer, shared.close, err
}

// OpenDatabase returns the database as it is, not migrated, and what closes it. It
// waits for a server that is not up yet, a minute at most.
func OpenDatabase(ctx context.Context, cfg *config.Config, log *slog.Logger) (*gorm.DB, func() error, error) {
	shared := newResources(cfg, log)
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	db, err := shared.dialDB(ctx)
	return db, shared.close, err
}
