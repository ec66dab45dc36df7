package gateway

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/afex/hystrix-go/hystrix"
	"github.com/afex/hystrix-go/hystrix/metric_collector"
	"github.com/prometheus/client_golang/prometheus"

	"backbeat/app/metrics"
)

// circuits are the metrics of Hystrix. Like its circuits, Hystrix's registry of
// collectors belongs to the process and forgets nothing: it gets one of ours, which
// serves whatever circuits were last asked for.
type circuits struct {
	events *prometheus.CounterVec
	open   *prometheus.Desc

	mu    sync.Mutex
	names []string // of circuits that exist
}

var (
	watched    atomic.Pointer[circuits]
	registered sync.Once
)

// watchCircuits has circuits that come into being from now on counted. It is not
// called in a process that nobody scrapes, since it costs Hystrix a goroutine for
// each command executed, beside its own.
func watchCircuits(to prometheus.Registerer) {
	c := metrics.Register(to, &circuits{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "backbeat_hystrix_events_total",
			Help: "What became of commands, as Hystrix counts for its circuits: success, failure, reject, short_circuit, timeout, canceled or expired; and fallback_success or fallback_failure of its fallback function, which passes errors on without failing (backbeat_gateway_fallbacks_total counts replies made up).",
		}, []string{"command", "event"}),
		open: prometheus.NewDesc("backbeat_hystrix_circuit_open", "Whether the command's circuit is open: 1 or 0.", []string{"command"}, nil),
	})
	watched.Store(c)
	registered.Do(func() { metricCollector.Registry.Register(collectorOf) })
}

func collectorOf(command string) metricCollector.MetricCollector { return watched.Load().of(command) }

// Describe implements prometheus.Collector.
func (c *circuits) Describe(descs chan<- *prometheus.Desc) {
	c.events.Describe(descs)
	descs <- c.open
}

// Collect implements prometheus.Collector.
func (c *circuits) Collect(to chan<- prometheus.Metric) {
	c.events.Collect(to)
	c.mu.Lock()
	names := slices.Clone(c.names)
	c.mu.Unlock() // Hystrix makes circuits, and so calls of, under a lock that GetCircuit takes
	for _, name := range names {
		circuit, _, err := hystrix.GetCircuit(name)
		if err != nil {
			continue
		}
		open := 0.0
		if circuit.IsOpen() {
			open = 1
		}
		to <- prometheus.MustNewConstMetric(c.open, prometheus.GaugeValue, open, name)
	}
}

// of returns what counts the events of a new circuit.
func (c *circuits) of(command string) *circuitEvents {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.names, command) {
		c.names = append(c.names, command)
	}
	event := func(name string) prometheus.Counter { return c.events.WithLabelValues(command, name) }
	return &circuitEvents{
		success: event("success"), failure: event("failure"), reject: event("reject"), shortCircuit: event("short_circuit"),
		timeout: event("timeout"), canceled: event("canceled"), expired: event("expired"),
		fallbackSuccess: event("fallback_success"), fallbackFailure: event("fallback_failure"),
	}
}

// circuitEvents counts the events of one circuit.
type circuitEvents struct {
	success, failure, reject, shortCircuit, timeout, canceled, expired, fallbackSuccess, fallbackFailure prometheus.Counter
}

// Update implements Hystrix's collector: r is one execution, where each number is 0
// or 1.
func (e *circuitEvents) Update(r metricCollector.MetricResult) {
	e.success.Add(r.Successes)
	e.failure.Add(r.Failures)
	e.reject.Add(r.Rejects)
	e.shortCircuit.Add(r.ShortCircuits)
	e.timeout.Add(r.Timeouts)
	e.canceled.Add(r.ContextCanceled)
	e.expired.Add(r.ContextDeadlineExceeded)
	e.fallbackSuccess.Add(r.FallbackSuccesses)
	e.fallbackFailure.Add(r.FallbackFailures)
}

// Reset does nothing: Hystrix begins anew when a circuit closes, Prometheus's
// counters never do.
func (e *circuitEvents) Reset() {}
