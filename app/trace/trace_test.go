package trace

import (
	"context"
	"testing"

	"github.com/opentracing/opentracing-go"
	"github.com/uber/jaeger-client-go"

	"backbeat/app/errs"
)

func tracer(t *testing.T) (opentracing.Tracer, *jaeger.InMemoryReporter) {
	t.Helper()
	reporter := jaeger.NewInMemoryReporter()
	made, closer := jaeger.NewTracer("test", jaeger.NewConstSampler(true), reporter,
		jaeger.TracerOptions.Gen128Bit(true),
		jaeger.TracerOptions.Injector(opentracing.TextMap, &traceparent{}),
		jaeger.TracerOptions.Extractor(opentracing.TextMap, &traceparent{}))
	t.Cleanup(func() { _ = closer.Close() })
	return made, reporter
}

func TestAContextSurvivesTheWire(t *testing.T) {
	tr, _ := tracer(t)
	span := tr.StartSpan("sender")
	ctx := opentracing.ContextWithSpan(context.Background(), span)
	carrier := opentracing.TextMapCarrier{}
	Inject(ctx, carrier)
	received := Extract(tr, carrier)
	if received == nil {
		t.Fatalf("nothing in %v", carrier)
	}
	sent, got := span.Context().(jaeger.SpanContext), received.(jaeger.SpanContext)
	if got.TraceID() != sent.TraceID() || got.SpanID() != sent.SpanID() || !got.IsSampled() {
		t.Errorf("sent %v, got %v", sent, got)
	}
	if len(ID(ctx)) != 32 {
		t.Errorf("trace id %q has not 128 bits", ID(ctx))
	}
}

func TestForeignHeaders(t *testing.T) {
	tr, _ := tracer(t)
	const trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for _, row := range []struct {
		name, key, value string
		want             string // trace id, "" is none
		sampled          bool
	}{
		{"sampled", "traceparent", "00-" + trace + "-" + parent + "-01", trace, true},
		{"not sampled", "traceparent", "00-" + trace + "-" + parent + "-00", trace, false},
		{"name in capitals", "Traceparent", "00-" + trace + "-" + parent + "-01", trace, true},
		{"later version with more", "traceparent", "cc-" + trace + "-" + parent + "-01-what", trace, true},
		{"version 0 with more", "traceparent", "00-" + trace + "-" + parent + "-01-what", "", false},
		{"version 255", "traceparent", "ff-" + trace + "-" + parent + "-01", "", false},
		{"trace of zeros", "traceparent", "00-00000000000000000000000000000000-" + parent + "-01", "", false},
		{"parent of zeros", "traceparent", "00-" + trace + "-0000000000000000-01", "", false},
		{"short", "traceparent", "00-4bf9-00f0-01", "", false},
		{"not hexadecimal", "traceparent", "00-" + "zzf92f3577b34da6a3ce929d0e0e4736" + "-" + parent + "-01", "", false},
		{"empty", "traceparent", "", "", false},
		{"Jaeger's own", "uber-trace-id", trace + ":" + parent + ":0:1", trace, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := Extract(tr, opentracing.TextMapCarrier{row.key: row.value})
			if got == nil {
				if row.want != "" {
					t.Error("refused")
				}
				return
			}
			sc := got.(jaeger.SpanContext)
			if sc.TraceID().String() != row.want || sc.IsSampled() != row.sampled {
				t.Errorf("got %v sampled=%v", sc.TraceID(), sc.IsSampled())
			}
		})
	}
}

func TestASpanNeedsAParent(t *testing.T) {
	tr, reporter := tracer(t)
	span, ctx := Start(context.Background(), "alone")
	span.Finish()
	if ctx != context.Background() || ID(ctx) != "" || reporter.SpansSubmitted() != 0 {
		t.Error("a span without a trace was recorded")
	}
	silent, closer := jaeger.NewTracer("test", jaeger.NewConstSampler(false), reporter)
	t.Cleanup(func() { _ = closer.Close() })
	quiet := opentracing.ContextWithSpan(context.Background(), silent.StartSpan("quiet"))
	if _, under := Start(quiet, "child"); under != quiet || ID(under) == "" {
		t.Error("a span nobody samples has children, or no id")
	}
	root := tr.StartSpan("root")
	child, _ := Start(opentracing.ContextWithSpan(context.Background(), root), "child")
	Fail(child, nil)
	Fail(child, errs.Wrap(errs.NotFound, context.Canceled, "secret"))
	child.Finish()
	finished := reporter.GetSpans()[0].(*jaeger.Span)
	if finished.SpanContext().ParentID() != root.Context().(jaeger.SpanContext).SpanID() {
		t.Error("the child hangs elsewhere")
	}
	tags := finished.Tags()
	if tags["error"] != true || tags["error.kind"] != "not_found" {
		t.Errorf("tags %v", tags)
	}
}

func TestIDsReadAsJaegerShowsThem(t *testing.T) {
	for _, id := range []jaeger.TraceID{{}, {Low: 1}, {Low: 1 << 63}, {High: 1}, {High: 0xabc, Low: 0xdef}, {High: 1<<64 - 1, Low: 1<<64 - 1}} {
		if got := text(id); got != id.String() {
			t.Errorf("%s reads as %s", id, got)
		}
	}
}
