package cache

import (
	"context"
	"errors"
	"net"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// Lapses counts when a client of Redis may have been out of touch: each command
// that failed, and each new connection, which may be there because an old one
// broke.
type Lapses struct{ count atomic.Uint64 }

// WatchLapses counts from now on.
func WatchLapses(client redis.UniversalClient) *Lapses {
	l := &Lapses{}
	client.AddHook(l)
	return l
}

// Epoch is how many there were.
func (l *Lapses) Epoch() uint64 { return l.count.Load() }

// DialHook implements redis.Hook.
func (l *Lapses) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		l.count.Add(1)
		return next(ctx, network, addr)
	}
}

// ProcessHook implements redis.Hook.
func (l *Lapses) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, command redis.Cmder) error { return l.see(next(ctx, command)) }
}

// ProcessPipelineHook implements redis.Hook.
func (l *Lapses) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error { return l.see(next(ctx, commands)) }
}

// see counts what is no answer of the server, unless the caller left.
func (l *Lapses) see(err error) error {
	var answered redis.Error
	if err != nil && !errors.As(err, &answered) && !errors.Is(err, context.Canceled) {
		l.count.Add(1)
	}
	return err
}
