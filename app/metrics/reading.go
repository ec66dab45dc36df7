package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// readWithin bounds a reading, and with it what a scrape waits for servers.
const readWithin = 500 * time.Millisecond

// Sample is a value that was read and the values of its labels.
type Sample struct {
	Gauge  *Gauge
	Value  float64
	Labels []string
}

// Gauge is a family whose values are read at each scrape.
type Gauge struct{ desc *prometheus.Desc }

// NewGauge describes a family, or the part of one with fixed labels, for Read.
func NewGauge(name, help string, fixed prometheus.Labels, labels ...string) *Gauge {
	return &Gauge{prometheus.NewDesc(name, help, labels, fixed)}
}

// reading is a collector whose values lie elsewhere.
type reading struct {
	gauges []*Gauge
	up     *prometheus.Desc
	read   func(context.Context) ([]Sample, error)
	// turn lets one read at a time: one that hangs is not joined by another at each
	// scrape.
	turn chan struct{}
}

// Read registers gauges whose values read returns, at each scrape. A server that is
// away costs a scrape half a second and leaves their values out.
func Read(to prometheus.Registerer, name string, read func(context.Context) ([]Sample, error), gauges ...*Gauge) {
	if to == nil {
		return
	}
	Register(to, &reading{
		gauges: gauges, read: read, turn: make(chan struct{}, 1),
		up: prometheus.NewDesc("backbeat_reading_up", "Whether the values of this name, which lie in a server, could be read for the scrape: 1, or 0 and what could not be is left out.",
			nil, prometheus.Labels{"name": name}),
	})
}

// Describe implements prometheus.Collector.
func (r *reading) Describe(descs chan<- *prometheus.Desc) {
	descs <- r.up
	for _, g := range r.gauges {
		descs <- g.desc
	}
}

// Collect implements prometheus.Collector.
func (r *reading) Collect(metrics chan<- prometheus.Metric) {
	samples, ok := r.try()
	up := 0.0
	if ok {
		up = 1
	}
	metrics <- prometheus.MustNewConstMetric(r.up, prometheus.GaugeValue, up)
	for _, s := range samples {
		metrics <- prometheus.MustNewConstMetric(s.Gauge.desc, prometheus.GaugeValue, s.Value, s.Labels...)
	}
}

// try reads, unless the read before still does. What it returns without ok was read
// before something failed.
func (r *reading) try() (samples []Sample, ok bool) {
	select {
	case r.turn <- struct{}{}:
	default:
		return nil, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), readWithin)
	type result struct {
		samples []Sample
		err     error
	}
	results := make(chan result, 1)
	// It ends with ctx or, where a library does not heed that, with its connection.
	go func() {
		defer cancel()
		samples, err := r.read(ctx)
		<-r.turn // before anybody who has the result can scrape again
		results <- result{samples, err}
	}()
	select {
	case got := <-results:
		return got.samples, got.err == nil
	case <-ctx.Done():
	}
	select {
	case got := <-results: // it ended together with ctx
		return got.samples, got.err == nil
	default:
		return nil, false
	}
}
