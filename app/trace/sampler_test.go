package trace

import (
	"log/slog"
	"sync"
	"testing"

	"backbeat/config"
)

func TestSamplingChangesWhileTracesAreMade(t *testing.T) {
	nowhere := "127.0.0.1:9"
	all := config.Jaeger{Agent: nowhere, Sampler: "const", SamplerParam: 1}
	for _, row := range []struct {
		name  string
		from  config.Jaeger
		to    config.Jaeger
		fails bool
		// sampled of a hundred traces made after the change
		least, most int
	}{
		{"none to all", config.Jaeger{Agent: nowhere, Sampler: "const"}, all, false, 100, 100},
		{"all to none", all, config.Jaeger{Sampler: "const"}, false, 0, 0},
		{"all to half", all, config.Jaeger{Sampler: "probabilistic", SamplerParam: 0.5}, false, 10, 90},
		{"none to so many a second", config.Jaeger{Agent: nowhere, Sampler: "const"}, config.Jaeger{Sampler: "ratelimiting", SamplerParam: 1e6}, false, 100, 100},
		{"all to so few", all, config.Jaeger{Sampler: "ratelimiting", SamplerParam: 2}, false, 0, 50},
		{"to the same", config.Jaeger{Agent: nowhere, Sampler: "ratelimiting"}, config.Jaeger{Sampler: "ratelimiting"}, false, 0, 1},
		{"to nonsense", all, config.Jaeger{Sampler: "probabilistic", SamplerParam: 2}, true, 100, 100},
		{"without a Jaeger", config.Jaeger{Sampler: "const", SamplerParam: 1}, all, false, 0, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			tracer, err := New(row.from, "test", slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer tracer.Close()
			var making sync.WaitGroup
			for range 4 {
				making.Go(func() {
					for range 100 {
						tracer.StartSpan("during").Finish()
					}
				})
			}
			if err := tracer.Sample(row.to); (err != nil) != row.fails {
				t.Error(err)
			}
			making.Wait()
			sampled := 0
			for range 100 {
				span := tracer.StartSpan("after")
				if Sampled(span) {
					sampled++
				}
			}
			if sampled < row.least || sampled > row.most {
				t.Errorf("%d of 100 are sampled", sampled)
			}
		})
	}
}
