package gateway

import (
	"context"
	"time"

	"github.com/opentracing/opentracing-go"

	"backbeat/app/batch"
	"backbeat/app/trace"
)

// gathered lets what many requests ask a service travel as one call. That is in the
// trace of the first of them that is sampled; the others' traces name it.
type gathered[Q, A any] struct {
	name  string
	group *batch.Group[asked[Q], told[A]]
}

// asked is a question and the span it was asked in.
type asked[Q any] struct {
	question Q
	span     opentracing.Span
}

// told is an answer and the trace that shows how it came about.
type told[A any] struct {
	answer A
	trace  string
}

// newGathered asks for at most so many at once. Name is that of the call.
func newGathered[Q, A any](name string, most int, ask batch.Round[Q, A]) *gathered[Q, A] {
	return &gathered[Q, A]{name, batch.NewGroup(most, func(ctx context.Context, all []asked[Q]) ([]told[A], error) {
		questions := make([]Q, len(all))
		sampled := ""
		for i, one := range all {
			questions[i] = one.question
			if sampled == "" && trace.Sampled(one.span) {
				ctx = opentracing.ContextWithSpan(ctx, one.span)
				sampled = trace.ID(ctx)
			}
		}
		answers, err := ask(ctx, questions)
		replies := make([]told[A], len(answers))
		for i, answer := range answers {
			replies[i] = told[A]{answer, sampled}
		}
		return replies, err
	})}
}

func (g *gathered[Q, A]) do(ctx context.Context, question Q) (A, error) {
	span, began := opentracing.SpanFromContext(ctx), time.Now()
	reply, err := g.group.Do(ctx, asked[Q]{question, span})
	if trace.Sampled(span) && reply.trace != trace.ID(ctx) {
		waited, _ := trace.Start(ctx, g.name+" gathered", opentracing.StartTime(began))
		waited.SetTag("gathered.trace", reply.trace)
		trace.Fail(waited, err)
		waited.Finish()
	}
	return reply.answer, err
}
