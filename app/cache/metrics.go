package cache

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"backbeat/app/metrics"
)

// Counters count what the caches of a role, or of a process, were asked for.
type Counters struct {
	hits, misses, loads *prometheus.CounterVec
}

// NewCounters registers the families; it is nil when nobody scrapes.
func NewCounters(to prometheus.Registerer) *Counters {
	if to == nil {
		return nil
	}
	labels := []string{"layer", "cache"}
	return &Counters{
		hits: metrics.Counters(to, "backbeat_cache_hits_total",
			"Keys that a cache had, by layer (process, or shared by instances) and name.", labels...),
		misses: metrics.Counters(to, "backbeat_cache_misses_total",
			"Keys that a cache did not have, by layer and name.", labels...),
		loads: metrics.Counters(to, "backbeat_cache_loads_total",
			"Times that a cache asked whoever knows for what it missed, for all who missed it at once, by layer and name.", labels...),
	}
}

// counts are those of one cache; a nil one counts nothing.
type counts struct{ hits, misses, loads prometheus.Counter }

func (c *Counters) of(layer, name string) *counts {
	return &counts{c.hits.WithLabelValues(layer, name), c.misses.WithLabelValues(layer, name), c.loads.WithLabelValues(layer, name)}
}

// lookedUp counts keys that were asked for, of which some were missed.
func (c *counts) lookedUp(keys, missed int) {
	if c == nil {
		return
	}
	if missed < keys {
		c.hits.Add(float64(keys - missed))
	}
	if missed > 0 {
		c.misses.Add(float64(missed))
	}
}

func (c *counts) loaded() {
	if c != nil {
		c.loads.Inc()
	}
}

// Counted has what the cache is asked for counted under its name. It returns the
// cache, and is called before that is used; counters may be nil.
func (h *Held[K, V]) Counted(counters *Counters, name string) *Held[K, V] {
	if counters != nil {
		h.counts = counters.of("process", name)
	}
	return h
}

// Counted returns c with what it is asked for counted, by the part of a key before
// its colon; counters may be nil.
func Counted(c Cache, counters *Counters) Cache {
	if counters == nil {
		return c
	}
	return &countedCache{c, metrics.NewSeries(func(name string) *counts { return counters.of("shared", name) })}
}

type countedCache struct {
	Cache
	names *metrics.Series[string, *counts]
}

// Get implements Cache. A call asks for keys of one name.
func (c *countedCache) Get(ctx context.Context, keys ...string) ([][]byte, error) {
	values, err := c.Cache.Get(ctx, keys...)
	if len(keys) == 0 {
		return values, err
	}
	missed := len(keys)
	for _, value := range values {
		if value != nil {
			missed--
		}
	}
	name, _, _ := strings.Cut(keys[0], ":")
	c.names.Of(name).lookedUp(len(keys), missed)
	return values, err
}

// Measure registers how long commands of the client take, and its pool. It is called
// before the client is used; to may be nil.
func Measure(client redis.UniversalClient, to prometheus.Registerer) {
	if to == nil {
		return
	}
	durations := metrics.NewDurations(to, "backbeat_redis_duration_seconds",
		"How long round trips to Redis took, by the first command of each and code: ok or error.",
		[]string{"command", "code"}, func(k roundTrip) []string { return []string{k.command, k.code} })
	client.AddHook(timed{durations})
	metrics.Register(to, prometheus.Collector(pools{client}))
}

// roundTrip is what round trips to Redis are told apart by.
type roundTrip struct{ command, code string }

// pools shows the pools of connections to Redis: the library has one for commands by
// themselves and one for those that travel together.
type pools struct{ client redis.UniversalClient }

var (
	poolConnections = prometheus.NewDesc("backbeat_redis_pool_connections", "Connections to Redis, by pool (command or pipeline) and state (idle or used).", []string{"pool", "state"}, nil)
	poolTimeouts    = prometheus.NewDesc("backbeat_redis_pool_timeouts_total", "Times that nobody gave back a connection to Redis in time, by pool.", []string{"pool"}, nil)
	poolMisses      = prometheus.NewDesc("backbeat_redis_pool_misses_total", "Times that no connection to Redis was idle, by pool.", []string{"pool"}, nil)
)

// Describe implements prometheus.Collector.
func (pools) Describe(descs chan<- *prometheus.Desc) {
	descs <- poolConnections
	descs <- poolTimeouts
	descs <- poolMisses
}

// Collect implements prometheus.Collector.
func (p pools) Collect(to chan<- prometheus.Metric) {
	stats := p.client.PoolStats()
	collect := func(pool string, total, idle, timeouts, misses uint32) {
		used := max(0, float64(total)-float64(idle)) // the two are not read at one instant
		to <- prometheus.MustNewConstMetric(poolConnections, prometheus.GaugeValue, float64(idle), pool, "idle")
		to <- prometheus.MustNewConstMetric(poolConnections, prometheus.GaugeValue, used, pool, "used")
		to <- prometheus.MustNewConstMetric(poolTimeouts, prometheus.CounterValue, float64(timeouts), pool)
		to <- prometheus.MustNewConstMetric(poolMisses, prometheus.CounterValue, float64(misses), pool)
	}
	collect("command", stats.TotalConns, stats.IdleConns, stats.Timeouts, stats.Misses)
	if s := stats.PipelineStats; s != nil {
		collect("pipeline", s.TotalConns, s.IdleConns, s.Timeouts, s.Misses)
	}
}

// timed observes round trips.
type timed struct{ durations *metrics.Durations[roundTrip] }

// DialHook leaves connecting as it is.
func (timed) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook observes a single command.
func (t timed) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, command redis.Cmder) error {
		start := time.Now()
		err := next(ctx, command)
		t.observe(ctx, command, start, err)
		return err
	}
}

// ProcessPipelineHook observes commands that travel together.
func (t timed) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		start := time.Now()
		err := next(ctx, commands)
		t.observe(ctx, commands[0], start, err)
		return err
	}
}

func (t timed) observe(ctx context.Context, command redis.Cmder, start time.Time, err error) {
	code := metrics.OK
	if err != nil && !errors.Is(err, redis.Nil) {
		code = "error"
	}
	t.durations.Since(ctx, roundTrip{command.Name(), code}, start)
}
