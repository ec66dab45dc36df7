package mq

import (
	"context"

	"github.com/opentracing/opentracing-go"
	"github.com/opentracing/opentracing-go/ext"

	"backbeat/app/trace"
)

// startPublish begins the span of a publish under the one in ctx and returns
// what has to travel with the message.
func startPublish(ctx context.Context, queue Queue, message Message) (opentracing.Span, context.Context, map[string]string) {
	span, ctx := trace.Start(ctx, "publish "+queue.Name, ext.SpanKindProducer)
	span.SetTag("message.id", message.ID)
	carrier := opentracing.TextMapCarrier{}
	trace.Inject(ctx, carrier)
	return span, ctx, carrier
}

// startSpans begins one span per message, each in the trace of its publisher,
// and returns the first one's context: what the batch does hangs under it, and
// the others name its trace.
func (d *deliverer) startSpans(ctx context.Context, batch []inHand) (context.Context, func(error)) {
	spans := make([]opentracing.Span, len(batch))
	for i, message := range batch {
		options := []opentracing.StartSpanOption{
			ext.SpanKindConsumer,
			opentracing.Tag{Key: "message.id", Value: message.ID},
			opentracing.Tag{Key: "message.attempt", Value: message.Attempt},
			opentracing.Tag{Key: "batch.size", Value: len(batch)},
		}
		if publisher := trace.Extract(d.deps.Tracer, opentracing.TextMapCarrier(message.trace)); publisher != nil {
			options = append(options, opentracing.FollowsFrom(publisher))
		}
		spans[i] = d.deps.Tracer.StartSpan("apply "+d.queue.Name, options...)
	}
	ctx = opentracing.ContextWithSpan(ctx, spans[0])
	for _, span := range spans[1:] {
		span.SetTag("batch.trace", trace.ID(ctx))
	}
	return ctx, func(err error) {
		for _, span := range spans {
			trace.Fail(span, err)
			span.Finish()
		}
	}
}
