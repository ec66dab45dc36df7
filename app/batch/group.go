package batch

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/opentracing/opentracing-go"

	"backbeat/app/trace"
)

// GatherFor bounds how long those who ask wait for the round in progress, so that
// they share the next one. Beyond it a slow service is asked side by side:
// circuits open by the number of calls that fail.
const GatherFor = 10 * time.Millisecond

// errIncomplete is what those get whose round left questions without an answer.
var errIncomplete = errors.New("a round answered too little")

// errPanicked is what those get who waited for a round that panicked.
var errPanicked = errors.New("a round panicked")

// Round answers what was asked together, one answer each, in order; with an error
// answers may be missing. It bounds its own time: ctx, which carries the trace of
// the first who is sampled, ends with nobody.
type Round[Q, A any] func(ctx context.Context, asked []Q) ([]A, error)

// Group lets what is asked one by one travel together. What arrives while a round
// is in progress shares the next one, so an idle process answers at once and a
// busy one asks for much at a time. A round begins after everything in it was
// asked. The others' traces name the one that shows the round. A Group is safe for
// concurrent use.
type Group[Q, A any] struct {
	most int
	run  Round[Q, A]

	mu sync.Mutex
	// gathering takes questions still; running is the round begun last.
	gathering, running *round[Q, A]
}

type round[Q, A any] struct {
	asked []Q
	// spans are those that were asked in, trace is the one that shows the round.
	spans   []opentracing.Span
	trace   string
	answers []A
	err     error
	done    chan struct{}
}

// NewGroup returns a Group whose rounds hold at most so many questions.
func NewGroup[Q, A any](most int, run Round[Q, A]) *Group[Q, A] {
	return &Group[Q, A]{most: most, run: run}
}

// Do asks and returns the answer, which may come with an error. Who asks first
// runs the round; the others wait for it no longer than until their context ends.
func (g *Group[Q, A]) Do(ctx context.Context, q Q) (answer A, err error) {
	span, began := opentracing.SpanFromContext(ctx), time.Now()
	g.mu.Lock()
	r, before := g.gathering, g.running
	first := r == nil || len(r.asked) == g.most
	if first {
		r = &round[Q, A]{done: make(chan struct{})}
		g.gathering = r
	}
	at := len(r.asked)
	r.asked, r.spans = append(r.asked, q), append(r.spans, span)
	g.mu.Unlock()
	if first {
		g.play(ctx, r, before)
	} else {
		select {
		case <-r.done:
		case <-ctx.Done():
			return answer, ctx.Err()
		}
		if trace.Sampled(span) && r.trace != trace.ID(ctx) {
			gathered, _ := trace.Start(ctx, "gathered", opentracing.StartTime(began))
			gathered.SetTag("gathered.trace", r.trace)
			gathered.Finish()
		}
	}
	switch {
	case at < len(r.answers):
		return r.answers[at], r.err
	case r.err == nil:
		return answer, errIncomplete
	default:
		return answer, r.err
	}
}

// play gathers until the round before has ended, then runs.
func (g *Group[Q, A]) play(ctx context.Context, r, before *round[Q, A]) {
	r.err = errPanicked
	defer close(r.done)
	if before != nil {
		before.await(GatherFor)
	}
	g.mu.Lock()
	if g.gathering == r {
		g.gathering = nil
	}
	g.running = r
	asked, spans := r.asked, r.spans
	g.mu.Unlock()
	ctx = context.WithoutCancel(ctx)
	for _, span := range spans {
		if trace.Sampled(span) {
			ctx = opentracing.ContextWithSpan(ctx, span)
			r.trace = trace.ID(ctx)
			break
		}
	}
	r.answers, r.err = g.run(ctx, asked)
}

// await waits for the round to end, or for a while.
func (r *round[Q, A]) await(atMost time.Duration) {
	select {
	case <-r.done: // it mostly has
		return
	default:
	}
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-r.done:
	case <-timer.C:
	}
}
