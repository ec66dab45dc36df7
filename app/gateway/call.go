package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/afex/hystrix-go/hystrix"
	"github.com/opentracing/opentracing-go/ext"
	"github.com/prometheus/client_golang/prometheus"
	"go-micro.dev/v4/client"

	"backbeat/app/errs"
	"backbeat/app/rpc"
	"backbeat/app/trace"
	"backbeat/config"
)

const (
	// hystrixHeadroom is how much more Hystrix would let in than our own
	// semaphore, hystrixLeast what it lets in at least: its tickets come back late,
	// so near its limit it refuses calls of a healthy service, and counts that as
	// failures.
	hystrixHeadroom = 16
	hystrixLeast    = 10_000
)

// budget is how long a command may take and how often it may be tried in that
// time. Only what is safe to do twice may be tried twice: then each try gets its
// share, so that one hung instance does not eat the other's time.
type budget struct {
	total time.Duration
	tries int
}

// share is how long a try may take, counted from 1; 0 is what is left.
func (b *budget) share(try int) time.Duration {
	if try == b.tries {
		return 0
	}
	return b.total / time.Duration(b.tries)
}

// plan is the budget that a command has by the configuration.
type plan func(config.RPC) budget

// method is the shape of the generated clients' methods.
type method[Req, Resp any] func(context.Context, *Req, ...client.CallOption) (*Resp, error)

// command is one RPC of one service behind its circuit. It is the only way the
// gateway calls a service.
type command[Req, Resp any] struct {
	name string
	// part is what the header Backbeat-Degraded calls it.
	part string
	// plan makes budget, which may change between two calls.
	plan   plan
	budget atomic.Pointer[budget]
	rpc    method[Req, Resp]
	// slots bounds the calls in progress. It is taken before Hystrix, which would
	// count a refusal as the service's failure and open the circuit.
	slots chan struct{}
	// learn is told every good reply, recall makes up a reply from what was
	// learned, nil if it can't. A command without them has no fallback.
	learn  func(context.Context, *Req, *Resp)
	recall func(context.Context, *Req) *Resp
	log    *slog.Logger
	// fallbacks counts replies made up, full calls for which there was no slot.
	fallbacks, full prometheus.Counter
	// opened remembers that the circuit was seen open, to log that once.
	opened atomic.Bool
}

// outcome is what came of a command.
type outcome[Resp any] struct {
	resp *Resp
	err  error
	// standIn is true when resp is the fallback's.
	standIn bool
}

// wiring is what commands have in common, and all commands that were made of it.
type wiring struct {
	// concurrency bounds the calls of each command in progress.
	concurrency int
	watch       *instruments
	log         *slog.Logger
	made        []interface {
		set(times config.RPC, circuit config.Circuit)
	}
}

// set gives every command its budget and its circuit its settings, also while calls
// are made.
func (w *wiring) set(times config.RPC, circuit config.Circuit) {
	for _, c := range w.made {
		c.set(times, circuit)
	}
}

// newCommand returns the command of name, "service.Method", which is to be set
// before it is used.
func newCommand[Req, Resp any](w *wiring, name string, p plan, call method[Req, Resp]) *command[Req, Resp] {
	part, _, _ := strings.Cut(name, ".")
	c := &command[Req, Resp]{
		name: name, part: part, plan: p, rpc: call, log: w.log, slots: make(chan struct{}, w.concurrency),
		fallbacks: w.watch.fallbacks.WithLabelValues(name), full: w.watch.full.WithLabelValues(name),
	}
	w.made = append(w.made, c)
	return c
}

// set is wiring's for one command. Hystrix reads a circuit's settings anew for each
// call, all but the most it lets in, which never changes. Circuits belong to the
// process: the last settings of a name count.
func (c *command[Req, Resp]) set(times config.RPC, circuit config.Circuit) {
	b := c.plan(times)
	hystrix.ConfigureCommand(c.name, hystrix.CommandConfig{
		// Only a backstop: run ends by itself, at its own deadline.
		Timeout:                int((2 * b.total).Milliseconds()),
		MaxConcurrentRequests:  max(hystrixHeadroom*cap(c.slots), hystrixLeast),
		RequestVolumeThreshold: circuit.Requests,
		SleepWindow:            int(circuit.Sleep.Milliseconds()),
		ErrorPercentThreshold:  circuit.ErrorPercent,
	})
	c.budget.Store(&b)
}

// remember gives the command its fallback.
func (c *command[Req, Resp]) remember(learn func(context.Context, *Req, *Resp), recall func(context.Context, *Req) *Resp) *command[Req, Resp] {
	c.learn, c.recall = learn, recall
	return c
}

// do calls the service. Without its answer there is none: writes, and what they
// have to know, go this way.
func (c *command[Req, Resp]) do(ctx context.Context, req *Req) (*Resp, error) {
	out := c.run(ctx, req, func(_ context.Context, err error) outcome[Resp] { return outcome[Resp]{err: err} })
	return out.resp, out.err
}

// get calls the service and lets the fallback stand in for it when it fails,
// which missing is told. A part that is missing already is not asked once more: the
// page has waited for it.
func (c *command[Req, Resp]) get(ctx context.Context, req *Req, missing *parts) (*Resp, error) {
	if missing.has(c.part) {
		if c.recall != nil {
			if resp := c.recall(ctx, req); resp != nil {
				c.fallbacks.Inc()
				return resp, nil
			}
		}
		return nil, errs.Wrap(errs.Exhausted, errors.New("it failed for this page before"), "calling %s", c.name)
	}
	out := c.run(ctx, req, func(ctx context.Context, err error) outcome[Resp] { return c.fallback(ctx, req, err) })
	if out.standIn {
		missing.add(c.part)
	}
	return out.resp, out.err
}

// run executes the command. ctx carries no deadline: Hystrix does not count what
// such a deadline ends, so a slow service would never open its circuit. The time
// is bounded inside, by attempt.
func (c *command[Req, Resp]) run(ctx context.Context, req *Req, otherwise func(context.Context, error) outcome[Resp]) outcome[Resp] {
	span, ctx := trace.Start(ctx, c.name, ext.SpanKindRPCClient)
	defer span.Finish()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	default:
		c.full.Inc()
		return otherwise(ctx, errs.Wrap(errs.Exhausted, errors.New("too many calls in progress"), "calling %s", c.name))
	}
	// Hystrix goes on without the call when ctx ends, so the call and the fallback
	// may both have something to say, and the call when nobody listens any more.
	outcomes := make(chan outcome[Resp], 2)
	err := hystrix.DoC(ctx, c.name, func(ctx context.Context) error {
		resp, err := c.attempt(ctx, req)
		switch {
		case err == nil:
			outcomes <- outcome[Resp]{resp: resp}
		case !sick(err): // a fault of the caller, or load: nothing for the circuit to learn
			outcomes <- c.refused(ctx, err, otherwise)
		default:
			return err
		}
		return nil
	}, func(ctx context.Context, cause error) error {
		outcomes <- otherwise(ctx, c.translate(cause))
		return nil
	})
	if err != nil { // cannot be: the fallback above never fails
		return outcome[Resp]{err: errs.Wrap(errs.Internal, err, "running %s", c.name)}
	}
	out := <-outcomes
	c.settle(ctx, req, out)
	trace.Fail(span, out.err)
	return out
}

// refused is what comes of an error that is no sign of a sick service.
func (c *command[Req, Resp]) refused(ctx context.Context, err error, otherwise func(context.Context, error) outcome[Resp]) outcome[Resp] {
	if errs.Is(err, errs.Exhausted) {
		return otherwise(ctx, err)
	}
	return outcome[Resp]{err: err}
}

// settle learns from a good reply.
func (c *command[Req, Resp]) settle(ctx context.Context, req *Req, out outcome[Resp]) {
	if out.err != nil || out.standIn {
		return
	}
	if c.opened.Load() && c.opened.CompareAndSwap(true, false) {
		c.log.InfoContext(ctx, "circuit closed", "command", c.name)
	}
	if c.learn != nil {
		c.learn(ctx, req, out.resp)
	}
}

// fallback stands in for a call that failed with err.
func (c *command[Req, Resp]) fallback(ctx context.Context, req *Req, err error) outcome[Resp] {
	if c.recall == nil || ctx.Err() != nil {
		return outcome[Resp]{err: err}
	}
	resp := c.recall(ctx, req)
	if resp == nil {
		return outcome[Resp]{err: err}
	}
	c.fallbacks.Inc()
	c.logFailure(ctx, "fallback stands in", err)
	return outcome[Resp]{resp: resp, standIn: true}
}

// logFailure logs what nobody else will: the service logs what it answers, an open
// circuit was logged when it opened, and a caller who left does not mind.
func (c *command[Req, Resp]) logFailure(ctx context.Context, what string, err error) {
	if errs.Remote(err) || shortCircuited(err) || errs.Is(err, errs.Exhausted) || ctx.Err() != nil {
		return
	}
	c.log.LogAttrs(ctx, slog.LevelWarn, what,
		slog.String("command", c.name), slog.String("error", err.Error()), traceAttr(ctx))
}

// sick reports whether err says something about the service's health.
func sick(err error) bool { return errs.KindOf(err).Fault() }

// attempt makes the call, within its budget. Its errors have a kind; only the end
// of the caller's own context is returned as it is, which Hystrix does not count.
func (c *command[Req, Resp]) attempt(caller context.Context, req *Req) (resp *Resp, err error) {
	// This runs on Hystrix's goroutine, where a panic would end the process.
	defer func() {
		if p := recover(); p != nil {
			resp, err = nil, errs.Wrap(errs.Internal, fmt.Errorf("panic: %v\n%s", p, debug.Stack()), "calling %s", c.name)
		}
	}()
	b := c.budget.Load()
	ctx, cancel := context.WithTimeout(caller, b.total)
	defer cancel()
	for try := 1; ; try++ {
		resp, err = c.try(ctx, req, b.share(try))
		if err == nil {
			return resp, nil
		}
		if caller.Err() != nil {
			return nil, caller.Err()
		}
		if try == b.tries || ctx.Err() != nil || !errs.Is(err, errs.Unavailable) {
			return nil, err
		}
	}
}

// try makes the call once, within its share of the budget; the last try has what
// is left of it, and a share of 0.
func (c *command[Req, Resp]) try(ctx context.Context, req *Req, share time.Duration) (*Resp, error) {
	if share > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(rpc.Repeatable(ctx), share)
		defer cancel()
	}
	resp, err := c.rpc(ctx, req)
	if err == nil {
		return resp, nil
	}
	var known *errs.Error
	if !errors.As(err, &known) {
		err = errs.FromStatus(err)
	}
	return nil, errs.Wrap(errs.KindOf(err), err, "calling %s", c.name)
}

// translate gives Hystrix's own errors a kind.
func (c *command[Req, Resp]) translate(cause error) error {
	switch {
	case shortCircuited(cause):
		if c.opened.CompareAndSwap(false, true) {
			c.log.Warn("circuit opened", "command", c.name)
		}
		return errs.Wrap(errs.Unavailable, cause, "calling %s", c.name)
	case errors.Is(cause, hystrix.ErrMaxConcurrency):
		return errs.Wrap(errs.Exhausted, cause, "calling %s", c.name)
	case errors.Is(cause, hystrix.ErrTimeout):
		return errs.Wrap(errs.Unavailable, cause, "calling %s", c.name)
	case errors.Is(cause, context.Canceled), errors.Is(cause, context.DeadlineExceeded):
		return errs.Wrap(errs.Unavailable, cause, "calling %s", c.name)
	default:
		return cause // attempt's, which has a kind
	}
}

// shortCircuited reports whether err is an open circuit's: the service was not
// called, and the opening was logged.
func shortCircuited(err error) bool { return errors.Is(err, hystrix.ErrCircuitOpen) }

// traceAttr names the trace of ctx in a log line.
func traceAttr(ctx context.Context) slog.Attr { return slog.String("trace", trace.ID(ctx)) }
