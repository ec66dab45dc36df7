package admin

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"backbeat/app/metrics"
)

// measureWithin is less than a scrape waits for a reading, so that one dependency
// that hangs leaves the word of the others.
const measureWithin = 400 * time.Millisecond

// Measure registers how each dependency is, asked once at each scrape; to may be nil.
func (r *Readiness) Measure(to prometheus.Registerer) {
	up := metrics.NewGauge("backbeat_dependency_up",
		"Whether what the process's roles need outside them does its part, by name as in /readyz, which says why not: 1 or 0.", nil, "dependency")
	metrics.Read(to, "dependencies", func(ctx context.Context) ([]metrics.Sample, error) {
		ctx, cancel := context.WithTimeout(ctx, measureWithin)
		defer cancel()
		found := map[string]float64{} // roles share them
		for _, role := range r.look(ctx).Roles {
			for name, said := range role.Needs {
				found[name] = 0
				if said == Fine {
					found[name] = 1
				}
			}
		}
		var samples []metrics.Sample
		for name, value := range found {
			samples = append(samples, metrics.Sample{Gauge: up, Value: value, Labels: []string{name}})
		}
		return samples, nil
	}, up)
}
