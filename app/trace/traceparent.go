package trace

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/opentracing/opentracing-go"
	"github.com/uber/jaeger-client-go"
)

const (
	w3cHeader    = "traceparent"
	jaegerHeader = jaeger.TraceContextHeaderName
)

// traceparent carries a span context as W3C Trace Context says:
// 00-<32 hex digits trace>-<16 hex digits span>-<2 hex digits flags>.
type traceparent struct{}

// Inject writes the span context as a traceparent entry.
func (*traceparent) Inject(sc jaeger.SpanContext, carrier any) error {
	writer, ok := carrier.(opentracing.TextMapWriter)
	if !ok {
		return opentracing.ErrInvalidCarrier
	}
	flags := 0
	if sc.IsSampled() {
		flags = 1
	}
	id := sc.TraceID()
	writer.Set(w3cHeader, fmt.Sprintf("00-%016x%016x-%016x-%02x", id.High, id.Low, uint64(sc.SpanID()), flags))
	return nil
}

// Extract reads a traceparent entry, else one in Jaeger's own format.
func (*traceparent) Extract(carrier any) (jaeger.SpanContext, error) {
	reader, ok := carrier.(opentracing.TextMapReader)
	if !ok {
		return jaeger.SpanContext{}, opentracing.ErrInvalidCarrier
	}
	var w3c, own string
	err := reader.ForeachKey(func(key, value string) error {
		switch {
		case strings.EqualFold(key, w3cHeader):
			w3c = value
		case strings.EqualFold(key, jaegerHeader):
			own = value
		}
		return nil
	})
	if err != nil {
		return jaeger.SpanContext{}, err
	}
	if w3c != "" {
		return parse(w3c)
	}
	if own != "" {
		sc, err := jaeger.ContextFromString(own)
		if err == nil && !sc.IsValid() {
			err = opentracing.ErrSpanContextCorrupted
		}
		return sc, err
	}
	return jaeger.SpanContext{}, opentracing.ErrSpanContextNotFound
}

// parse reads a traceparent value of any version, as the W3C text asks: later
// versions may append fields, 255 is invalid, and so are ids of only zeros.
func parse(value string) (jaeger.SpanContext, error) {
	corrupt := func() (jaeger.SpanContext, error) {
		return jaeger.SpanContext{}, opentracing.ErrSpanContextCorrupted
	}
	fields := strings.Split(strings.TrimSpace(value), "-")
	if len(fields) < 4 || len(fields[0]) != 2 || len(fields[1]) != 32 || len(fields[2]) != 16 || len(fields[3]) != 2 {
		return corrupt()
	}
	version, err := strconv.ParseUint(fields[0], 16, 8)
	if err != nil || version == 255 || version == 0 && len(fields) != 4 {
		return corrupt()
	}
	high, errHigh := strconv.ParseUint(fields[1][:16], 16, 64)
	low, errLow := strconv.ParseUint(fields[1][16:], 16, 64)
	span, errSpan := strconv.ParseUint(fields[2], 16, 64)
	flags, errFlags := strconv.ParseUint(fields[3], 16, 8)
	if errHigh != nil || errLow != nil || errSpan != nil || errFlags != nil || high|low == 0 || span == 0 {
		return corrupt()
	}
	id := jaeger.TraceID{High: high, Low: low}
	return jaeger.NewSpanContext(id, jaeger.SpanID(span), 0, flags&1 == 1, nil), nil
}
