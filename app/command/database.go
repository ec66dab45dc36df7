package command

import (
	"context"
	"errors"
	"log/slog"

	"gorm.io/gorm"

	"backbeat/app/boot"
	"backbeat/app/changes"
	"backbeat/config"
)

// session is what a command that works on the database has.
type session struct {
	cfg *config.Config
	log *slog.Logger
	db  *gorm.DB
}

// withDatabase runs do on the database of the configuration as it is: not migrated,
// and with no other server asked for.
func (i invocation) withDatabase(ctx context.Context, do func(s session) error) (err error) {
	cfg, err := i.load()
	if err != nil {
		return err
	}
	log := newLog(cfg.Log, i.errOut)
	db, closeDB, err := boot.OpenDatabase(ctx, cfg, log)
	defer func() { err = errors.Join(err, closeDB()) }()
	if err != nil {
		return err
	}
	return do(session{cfg, log, db})
}

// counting runs do, which tells gateways whose counts it changes.
func (s session) counting(do func(counted *changes.Announcer) error) (err error) {
	counted, closeChanges, err := boot.OpenChanges(s.cfg, s.log)
	defer func() { err = errors.Join(err, closeChanges()) }()
	if err != nil {
		return err
	}
	return do(counted)
}
