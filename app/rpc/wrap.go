package rpc

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/opentracing/opentracing-go"
	"github.com/opentracing/opentracing-go/ext"
	"google.golang.org/grpc/metadata"

	"backbeat/app/errs"
	"backbeat/app/metrics"
	"backbeat/app/trace"
)

// wrap puts round a handler what every call gets. From the outside in: the
// error becomes a status, the call gets metadata and span, its time is measured,
// its failure is logged, it is admitted or refused, and a panic in it becomes an
// error.
func (s *Server) wrap(service, method string, call handle) handle {
	endpoint := service + "/" + method
	return mapped(s.traced(endpoint, s.measured(method, s.logged(endpoint, s.admitted(recovered(call))))))
}

// mapped turns an error into the gRPC status that carries its kind and text.
func mapped(next handle) handle {
	return func(ctx context.Context, in, out any) error {
		err := next(ctx, in, out)
		if err == nil {
			return nil
		}
		return errs.ToStatus(err).Err()
	}
}

// traced brings the caller's metadata into ctx, and its span if it sent one.
func (s *Server) traced(endpoint string, next handle) handle {
	return func(ctx context.Context, in, out any) error {
		md, _ := metadata.FromIncomingContext(ctx)
		ctx = incoming(md).withIncoming(ctx)
		caller := trace.Extract(s.tracer, incoming(md))
		if caller == nil {
			return next(ctx, in, out)
		}
		span := s.tracer.StartSpan(endpoint, ext.RPCServerOption(caller))
		defer span.Finish()
		err := next(opentracing.ContextWithSpan(ctx, span), in, out)
		trace.Fail(span, err)
		return err
	}
}

// measured observes how long the call takes.
func (s *Server) measured(method string, next handle) handle {
	if s.durations == nil {
		return next
	}
	return func(ctx context.Context, in, out any) error {
		start := time.Now()
		err := next(ctx, in, out)
		s.durations.Since(ctx, served{s.cfg.Name, method, metrics.Code(err)}, start)
		return err
	}
}

// logged writes one line for each failure that is ours; the caller's own faults
// only when debugging.
func (s *Server) logged(endpoint string, next handle) handle {
	return func(ctx context.Context, in, out any) error {
		start := time.Now()
		err := next(ctx, in, out)
		if err == nil || errs.Remote(err) {
			return err
		}
		write := s.log.DebugContext
		if errs.KindOf(err).Fault() {
			write = s.log.ErrorContext
		}
		write(ctx, "call failed", "endpoint", endpoint, "kind", errs.KindOf(err).String(),
			"error", err, "trace", trace.ID(ctx), "took", time.Since(start))
		return err
	}
}

// admitted refuses a call nobody waits for any more, and what is more than the
// server takes at once.
func (s *Server) admitted(next handle) handle {
	return func(ctx context.Context, in, out any) error {
		if err := ctx.Err(); err != nil {
			return errs.Wrap(errs.Unavailable, err, "taking a call that has expired")
		}
		if s.calls.Add(1) > s.maxCalls {
			s.calls.Add(-1)
			return errs.New(errs.Exhausted, "")
		}
		defer s.calls.Add(-1)
		return next(ctx, in, out)
	}
}

// recovered makes an Internal error of a panic, with the stack for the log.
func recovered(next handle) handle {
	return func(ctx context.Context, in, out any) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = errs.Wrap(errs.Internal, fmt.Errorf("panic: %v\n%s", p, debug.Stack()), "serving")
			}
		}()
		return next(ctx, in, out)
	}
}
