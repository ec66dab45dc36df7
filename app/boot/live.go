package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"backbeat/app/live"
	"backbeat/config"
)

// knownWithin bounds how long a process that starts waits to know what operators
// have set. Then it goes on with what its file says.
const knownWithin = time.Second

// startLive begins to follow what of the configuration changes while the process
// runs: etcd where it is named, else the file, if there is one.
func startLive(ctx context.Context, p Process, shared *resources) (part, error) {
	if err := shared.live.Follow(levelOf(p.Level, p.Config.Log.Level)); err != nil {
		return part{}, err
	}
	var watch func(context.Context)
	switch {
	case len(p.Config.Etcd.Endpoints) > 0:
		store, err := shared.openSettings()
		if err != nil {
			return part{}, err
		}
		watch = func(ctx context.Context) { shared.live.WatchStore(ctx, store) }
	case p.File != "":
		watch = func(ctx context.Context) { shared.live.WatchFile(ctx, p.File, p.Environ) }
	default:
		watch = func(ctx context.Context) { <-ctx.Done() }
	}
	watching := work(ctx, func(ctx context.Context) error { watch(ctx); return nil })
	watching.name = "live settings"
	if len(p.Config.Etcd.Endpoints) > 0 {
		waiting, cancel := context.WithTimeout(ctx, knownWithin)
		defer cancel()
		shared.live.Await(waiting)
	}
	return watching, nil
}

// levelOf returns what sets the log's level when the configuration's changes from
// what it was. Otherwise it stays what somebody may have made of it (admin.listen).
func levelOf(level *slog.LevelVar, was string) func(*config.Config) error {
	return func(cfg *config.Config) error {
		if cfg.Log.Level == was {
			return nil
		}
		was = cfg.Log.Level
		return level.UnmarshalText([]byte(was))
	}
}

func (r *resources) openSettings() (*live.Store, error) {
	client, err := r.openEtcd()
	if err != nil {
		return nil, err
	}
	return live.NewStore(client, r.cfg.Etcd.Prefix, r.cfg, time.Now), nil
}

// ErrNoSettings says that live keys are not set by commands here.
var ErrNoSettings = errors.New("etcd.endpoints is not set")

// OpenSettings returns where operators of a cluster set live keys, and what closes
// it. It fails with ErrNoSettings where the configuration names no etcd.
func OpenSettings(cfg *config.Config, log *slog.Logger) (*live.Store, func() error, error) {
	shared := newResources(cfg, log)
	if len(cfg.Etcd.Endpoints) == 0 {
		return nil, shared.close, ErrNoSettings
	}
	store, err := shared.openSettings()
	if err != nil {
		return nil, shared.close, fmt.Errorf("opening live settings: %w", err)
	}
	return store, shared.close, nil
}
