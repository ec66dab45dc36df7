package batch_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opentracing/opentracing-go"
	"github.com/uber/jaeger-client-go"

	"backbeat/app/batch"
	"backbeat/app/trace"
)

// Of those who travel together every sampled trace shows the round, or names the
// trace that does.
func TestRoundsAreInEveryTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spans := jaeger.NewInMemoryReporter()
		tracer := func(sampled bool) opentracing.Tracer {
			made, closer := jaeger.NewTracer("test", jaeger.NewConstSampler(sampled), spans)
			t.Cleanup(func() { _ = closer.Close() })
			return made
		}
		sampled, unsampled := tracer(true), tracer(false)
		calls := batch.NewGroup(10, func(ctx context.Context, asked []int) ([]int, error) {
			span, _ := trace.Start(ctx, "favorite.Flags")
			defer span.Finish()
			time.Sleep(batch.GatherFor / 2) // in a bubble
			return asked, nil
		})
		var group sync.WaitGroup
		ids := map[string]string{}
		for i, by := range []struct {
			name string
			with opentracing.Tracer
		}{{"first", sampled}, {"unsampled", unsampled}, {"second", sampled}, {"third", sampled}} {
			span := by.with.StartSpan(by.name)
			ctx := opentracing.ContextWithSpan(t.Context(), span)
			ids[by.name] = trace.ID(ctx)
			group.Go(func() {
				defer span.Finish()
				if got, err := calls.Do(ctx, i); err != nil || got != i {
					t.Errorf("%s: %d, %v", by.name, got, err)
				}
			})
			synctest.Wait()
		}
		group.Wait()
		var got []string
		for _, name := range []string{"first", "second", "third"} {
			for _, reported := range spans.GetSpans() {
				span, ours := reported.(*jaeger.Span)
				if !ours || span.SpanContext().TraceID().String() != ids[name] || span.OperationName() == name {
					continue
				}
				line := name + " has " + span.OperationName()
				if names, there := span.Tags()["gathered.trace"]; there && names == ids["second"] {
					line += " in the second"
				}
				got = append(got, line)
			}
		}
		if n := spans.SpansSubmitted(); n != 6 {
			t.Errorf("%d spans, want 3 and what is in each", n)
		}
		want := "first has favorite.Flags, second has favorite.Flags, third has gathered in the second"
		if strings.Join(got, ", ") != want {
			t.Errorf("%s; want %s", strings.Join(got, ", "), want)
		}
	})
}
