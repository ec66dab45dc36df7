package cache

import (
	"context"
	"errors"
	"net"

	"github.com/opentracing/opentracing-go/ext"
	"github.com/redis/go-redis/v9"

	"backbeat/app/errs"
	"backbeat/app/trace"
)

// spans makes a span of every round trip to Redis whose context belongs to a
// trace. It names the command, never keys or values.
type spans struct{}

// DialHook leaves connecting as it is: it belongs to no one command.
func (spans) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook traces a single command.
func (spans) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, command redis.Cmder) error {
		if command.Name() == "hello" { // a new connection's, inside the command that needs it
			return next(ctx, command)
		}
		return traced(ctx, command.Name(), 1, func(ctx context.Context) error { return next(ctx, command) })
	}
}

// ProcessPipelineHook traces commands that travel together as one span.
func (spans) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		return traced(ctx, commands[0].Name(), len(commands), func(ctx context.Context) error { return next(ctx, commands) })
	}
}

func traced(ctx context.Context, command string, commands int, call func(context.Context) error) error {
	span, ctx := trace.Start(ctx, "redis "+command, ext.SpanKindRPCClient)
	defer span.Finish()
	ext.DBType.Set(span, "redis")
	span.SetTag("db.commands", commands)
	err := call(ctx)
	if err != nil && !errors.Is(err, redis.Nil) {
		trace.Fail(span, errs.Wrap(errs.Unavailable, err, "redis %s", command))
	}
	return err
}
