// Package trace makes one Jaeger trace of everything a request causes: HTTP,
// RPC, SQL, cache, queue and worker. It owns how a tracer is built and how a
// span crosses a wire. Nothing else decides about sampling or propagation.
//
// A span's context travels as W3C traceparent, so traces join those of
// OpenTelemetry programs; Jaeger's own uber-trace-id header is understood too.
package trace

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"

	"github.com/opentracing/opentracing-go"
	"github.com/opentracing/opentracing-go/ext"
	"github.com/uber/jaeger-client-go"
	jaegerconfig "github.com/uber/jaeger-client-go/config"

	"backbeat/app/errs"
	"backbeat/config"
)

// Tracer is a Jaeger tracer whose sampling may change. Build it with New.
type Tracer struct {
	opentracing.Tracer
	sampler *sampler
	closer  io.Closer
	// drops is true when spans go nowhere.
	drops bool
}

// New returns a tracer that reports as service; close it last, after everything that
// may still finish a span. With no endpoint configured nothing is sampled; answers
// carry trace ids all the same.
func New(cfg config.Jaeger, service string, log *slog.Logger) (*Tracer, error) {
	w3c := &traceparent{}
	t := &Tracer{sampler: &sampler{}}
	jaegerCfg := jaegerconfig.Configuration{
		ServiceName: service,
		Gen128Bit:   true,
		Reporter:    &jaegerconfig.ReporterConfig{},
	}
	options := []jaegerconfig.Option{
		jaegerconfig.Logger(logger{log}),
		jaegerconfig.Sampler(t.sampler),
		jaegerconfig.Injector(opentracing.TextMap, w3c),
		jaegerconfig.Extractor(opentracing.TextMap, w3c),
		jaegerconfig.Injector(opentracing.HTTPHeaders, w3c),
		jaegerconfig.Extractor(opentracing.HTTPHeaders, w3c),
	}
	first := cfg
	switch {
	case cfg.Endpoint != "":
		jaegerCfg.Reporter.CollectorEndpoint = cfg.Endpoint
	case cfg.Agent != "":
		jaegerCfg.Reporter.LocalAgentHostPort = cfg.Agent
	default: // ids are made all the same, for answers and logs
		options = append(options, jaegerconfig.Reporter(jaeger.NewNullReporter()))
		first.Sampler, first.SamplerParam = jaeger.SamplerTypeConst, 0
		t.drops = true
	}
	err := t.sampler.set(first)
	if err == nil {
		t.Tracer, t.closer, err = jaegerCfg.NewTracer(options...)
	}
	if err != nil {
		return nil, fmt.Errorf("tracer of %s: %w", service, err)
	}
	return t, nil
}

// Sample changes which traces are sampled of those that begin from now on. Where
// spans go does not change.
func (t *Tracer) Sample(cfg config.Jaeger) error {
	if t.drops {
		return nil
	}
	return t.sampler.set(cfg)
}

// Close sends what is left and ends the tracer.
func (t *Tracer) Close() error { return t.closer.Close() }

// Start begins a span under the one in ctx, with that span's tracer. Without a
// span in ctx, or under one that is not sampled, it returns ctx and a span that
// records nothing: most requests of a busy system are not, and spans cost.
func Start(ctx context.Context, operation string, opts ...opentracing.StartSpanOption) (opentracing.Span, context.Context) {
	parent := opentracing.SpanFromContext(ctx)
	if !Sampled(parent) {
		return noop, ctx
	}
	span := parent.Tracer().StartSpan(operation, append(opts, opentracing.ChildOf(parent.Context()))...)
	return span, opentracing.ContextWithSpan(ctx, span)
}

// Sampled reports whether somebody will see the span, which may be nil.
func Sampled(span opentracing.Span) bool {
	if span == nil {
		return false
	}
	sc, ours := span.Context().(jaeger.SpanContext)
	return !ours || sc.IsSampled()
}

var noop = opentracing.NoopTracer{}.StartSpan("")

// Inject writes the context of ctx's span into carrier, if there is a span and it
// is sampled: others need not know of one that nobody will look at.
func Inject(ctx context.Context, carrier opentracing.TextMapWriter) {
	span := opentracing.SpanFromContext(ctx)
	if !Sampled(span) {
		return
	}
	// The only error is a span of another tracer, which then starts anew.
	_ = span.Tracer().Inject(span.Context(), opentracing.TextMap, carrier)
}

// Extract returns the span context that carrier brought, nil when it brought
// none or nonsense: a stranger's broken header must not fail a request.
func Extract(tracer opentracing.Tracer, carrier opentracing.TextMapReader) opentracing.SpanContext {
	remote, err := tracer.Extract(opentracing.TextMap, carrier)
	if err != nil {
		return nil
	}
	return remote
}

// ID returns the trace id of ctx's span in hexadecimal, "" without one. It is
// what a log line and the Trace-Id header hold.
func ID(ctx context.Context) string {
	span := opentracing.SpanFromContext(ctx)
	if span == nil {
		return ""
	}
	if sc, ok := span.Context().(jaeger.SpanContext); ok {
		return text(sc.TraceID())
	}
	return ""
}

// SampledID returns the trace id of a span that somebody will see, "" otherwise and
// for nil. It is what a metric's exemplar holds.
func SampledID(span opentracing.Span) string {
	if span == nil {
		return ""
	}
	if sc, ours := span.Context().(jaeger.SpanContext); ours && sc.IsSampled() {
		return text(sc.TraceID())
	}
	return ""
}

// text returns what id.String does, without fmt: every request has one.
func text(id jaeger.TraceID) string {
	raw := binary.BigEndian.AppendUint64(make([]byte, 0, 16), id.High)
	raw = binary.BigEndian.AppendUint64(raw, id.Low)
	if id.High == 0 {
		raw = raw[8:]
	}
	return hex.EncodeToString(raw)
}

// Fail marks span as failed with err's kind and safe text: causes stay in the
// log, since a trace is shown to more people. It does nothing when err is nil.
func Fail(span opentracing.Span, err error) {
	if err == nil {
		return
	}
	ext.Error.Set(span, true)
	span.SetTag("error.kind", errs.KindOf(err).String())
	span.SetTag("error.text", errs.Text(err))
}

// logger passes what the Jaeger client has to say to ours.
type logger struct{ log *slog.Logger }

func (l logger) Error(msg string) { l.log.Warn("tracer", "error", msg) }

func (l logger) Infof(msg string, args ...any) {
	l.log.Debug("tracer", "message", fmt.Sprintf(msg, args...))
}
