// Package metrics is what all metrics have in common. It owns how a duration is
// observed with the trace it belongs to, how the series of a family are found
// without cost, and how values that lie in a server are read at a scrape without
// hanging it.
//
// A package that counts has one file metrics.go with a struct of its instruments,
// made from the prometheus.Registerer of its Deps. A process has one registry, and
// each of its roles registers through one that adds the label role; what the roles
// share has role="shared". A nil Registerer is a process nobody scrapes: counters
// then count for nobody, and everything that costs more does nothing.
//
// Labels have few values, all of them ours: patterns of routes, names of methods,
// kinds of errors. No label holds an id, a name or a path that somebody sent.
package metrics

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opentracing/opentracing-go"
	"github.com/prometheus/client_golang/prometheus"

	"backbeat/app/errs"
	"backbeat/app/trace"
)

// Register registers c, or returns what is registered in its place: two servers of one
// role in a process share their metrics. It panics for a family that is declared in
// two ways, which is a fault of the program. To may be nil.
func Register[C prometheus.Collector](to prometheus.Registerer, c C) C {
	if to == nil {
		return c
	}
	err := to.Register(c)
	var known prometheus.AlreadyRegisteredError
	if errors.As(err, &known) {
		return known.ExistingCollector.(C)
	}
	if err != nil {
		panic(err)
	}
	return c
}

// Counters registers a family of counters; to may be nil.
func Counters(to prometheus.Registerer, name, help string, labels ...string) *prometheus.CounterVec {
	return Register(to, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels))
}

// Seconds are the buckets of durations: from a hit in memory to an upload over a
// poor network, fine around the budgets of an RPC.
var Seconds = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .2, .4, 1, 2.5, 5, 10, 30}

// OK is the code of what did not fail.
const OK = "ok"

// Code names the outcome of a call: OK, or the error's kind.
func Code(err error) string {
	if err == nil {
		return OK
	}
	return errs.KindOf(err).String()
}

// Series finds what belongs to a key without allocating, and makes it the first
// time. Nothing is ever forgotten, so keys must be few.
type Series[K comparable, V any] struct {
	make  func(K) V
	known atomic.Pointer[map[K]V]
	mu    sync.Mutex
}

// NewSeries returns a Series whose values make makes, at most one for each key.
func NewSeries[K comparable, V any](make func(K) V) *Series[K, V] {
	s := &Series[K, V]{make: make}
	s.known.Store(&map[K]V{})
	return s
}

// Of returns what belongs to key.
func (s *Series[K, V]) Of(key K) V {
	if value, ok := (*s.known.Load())[key]; ok {
		return value
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := *s.known.Load()
	if value, ok := known[key]; ok {
		return value
	}
	value := s.make(key)
	grown := maps.Clone(known)
	grown[key] = value
	s.known.Store(&grown)
	return value
}

// Durations is a histogram in seconds whose series have keys of their user's type.
// A nil one observes nothing.
type Durations[K comparable] struct {
	series *Series[K, prometheus.Observer]
}

// NewDurations registers a histogram of Seconds with labels, whose values are those
// that of returns for a key, in order. It is nil when nobody scrapes.
func NewDurations[K comparable](to prometheus.Registerer, name, help string, labels []string, of func(K) []string) *Durations[K] {
	if to == nil {
		return nil
	}
	vec := Register(to, prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: Seconds}, labels))
	return &Durations[K]{NewSeries(func(key K) prometheus.Observer { return vec.WithLabelValues(of(key)...) })}
}

// Observe notes one duration. When its span, which may be nil, is sampled, the trace
// becomes the exemplar of its bucket.
func (d *Durations[K]) Observe(span opentracing.Span, key K, took time.Duration) {
	if d == nil {
		return
	}
	observer := d.series.Of(key)
	if id := trace.SampledID(span); id != "" {
		observer.(prometheus.ExemplarObserver).ObserveWithExemplar(took.Seconds(), prometheus.Labels{"trace_id": id})
		return
	}
	observer.Observe(took.Seconds())
}

// Since observes the time from start to now, for the span in ctx.
func (d *Durations[K]) Since(ctx context.Context, key K, start time.Time) {
	if d == nil {
		return
	}
	d.Observe(opentracing.SpanFromContext(ctx), key, time.Since(start))
}
