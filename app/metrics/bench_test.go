package metrics

import (
	"testing"
	"time"

	"github.com/opentracing/opentracing-go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/uber/jaeger-client-go"
)

// BenchmarkObserve is all that a request or a call pays for its histogram, with a
// span that is not sampled and with one that is.
func BenchmarkObserve(b *testing.B) {
	type call struct{ service, method, code string }
	durations := NewDurations(prometheus.NewRegistry(), "test_duration_seconds", "Test.", []string{"service", "method", "code"},
		func(c call) []string { return []string{c.service, c.method, c.code} })
	for name, sampled := range map[string]bool{"not sampled": false, "sampled": true} {
		b.Run(name, func(b *testing.B) {
			tracer, closer := jaeger.NewTracer("test", jaeger.NewConstSampler(sampled), jaeger.NewNullReporter())
			defer closer.Close()
			ctx := opentracing.ContextWithSpan(b.Context(), tracer.StartSpan("test"))
			start := time.Now()
			b.ReportAllocs()
			for b.Loop() {
				durations.Since(ctx, call{"user", "BatchGet", OK}, start)
			}
		})
	}
}
