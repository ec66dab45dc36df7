package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"backbeat/app/errs"
	"backbeat/config"
)

// Redis is a Cache on a Redis server, shared by all processes that use it.
type Redis struct {
	client redis.UniversalClient
	lapses *Lapses
}

// NewRedis returns a cache on the server that client (see Dial) reaches.
func NewRedis(client redis.UniversalClient) *Redis { return &Redis{client, WatchLapses(client)} }

// Epoch implements Cache.
func (r *Redis) Epoch() uint64 { return r.lapses.Epoch() }

// Get implements Cache.
func (r *Redis) Get(ctx context.Context, keys ...string) ([][]byte, error) {
	replies := make([]*redis.StringCmd, len(keys))
	err := r.do(ctx, len(keys), func(ctx context.Context, pipe redis.Pipeliner) {
		for i, key := range keys {
			replies[i] = pipe.Get(ctx, key)
		}
	})
	if err != nil {
		return nil, errs.Wrap(errs.Unavailable, err, "reading %d keys from redis", len(keys))
	}
	values := make([][]byte, len(keys))
	for i, reply := range replies {
		if reply.Err() == nil {
			values[i], _ = reply.Bytes()
		}
	}
	return values, nil
}

// Set implements Cache.
func (r *Redis) Set(ctx context.Context, ttl time.Duration, entries map[string][]byte) error {
	if err := checkTTL(ttl); err != nil {
		return err
	}
	err := r.do(ctx, len(entries), func(ctx context.Context, pipe redis.Pipeliner) {
		for key, value := range entries {
			pipe.Set(ctx, key, value, ttl)
		}
	})
	if err != nil {
		return errs.Wrap(errs.Unavailable, err, "storing %d keys in redis", len(entries))
	}
	return nil
}

// Delete implements Cache.
func (r *Redis) Delete(ctx context.Context, keys ...string) error {
	err := r.do(ctx, len(keys), func(ctx context.Context, pipe redis.Pipeliner) {
		for _, key := range keys {
			pipe.Del(ctx, key)
		}
	})
	if err != nil {
		return errs.Wrap(errs.Unavailable, err, "deleting %d keys from redis", len(keys))
	}
	return nil
}

// do sends n commands, one key each so that they work on a cluster, in one round
// trip. A missing key is no error.
func (r *Redis) do(ctx context.Context, n int, queue func(context.Context, redis.Pipeliner)) error {
	if n == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	replies, err := r.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		queue(ctx, pipe)
		return nil
	})
	if err == nil || len(replies) == 0 {
		return err
	}
	for _, reply := range replies {
		if err := reply.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
	}
	return nil
}

// Dial returns a client for the Redis server cfg names, for this package's cache
// and for whatever else keeps views there. It does not wait for the server: one
// that is down at the start, or later, makes calls fail within Timeout and is
// used again once it is back. Commands become spans of their context's trace.
func Dial(cfg config.Redis) (redis.UniversalClient, error) {
	secure, err := cfg.TLS.Client()
	if err != nil {
		return nil, errs.Wrap(errs.Internal, err, "redis.tls")
	}
	client := redis.NewClient(&redis.Options{
		Addr:     cfg.Addr,
		Username: cfg.User,
		Password: cfg.Password,
		DB:       cfg.DB,
		// A retry would hold the request beyond Timeout; callers have a store.
		MaxRetries:            -1,
		DialerRetries:         1,
		DialTimeout:           Timeout,
		ReadTimeout:           Timeout,
		WriteTimeout:          Timeout,
		PoolTimeout:           Timeout,
		ContextTimeoutEnabled: true,
		PoolSize:              64,
		TLSConfig:             secure,
		// Both are extra round trips on every new connection.
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	client.AddHook(spans{})
	return client, nil
}

// LogTo sends what the Redis library has to say to log. The library keeps one
// logger per process, so this is called once, before the first Dial.
func LogTo(log *slog.Logger) { redis.SetLogger(library{log}) }

type library struct{ log *slog.Logger }

// Printf implements the library's logger. A failed command is its caller's to
// report, so this is for those who look closely.
func (l library) Printf(ctx context.Context, format string, args ...any) {
	l.log.DebugContext(ctx, "redis", "message", fmt.Sprintf(format, args...))
}
