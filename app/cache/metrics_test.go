package cache_test

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"backbeat/app/cache"
	"backbeat/test/harness"
)

func rises(t *testing.T, metrics prometheus.Gatherer, want map[string]float64) {
	t.Helper()
	found := harness.Metrics(t, metrics)
	for name, n := range want {
		if found[name] != n {
			t.Errorf("%s is %v, want %v", name, found[name], n)
		}
	}
}

// Keys are counted one by one, loads as often as there was one.
func TestHeldIsCounted(t *testing.T) {
	metrics := prometheus.NewRegistry()
	h := cache.NewHeld(100, time.Hour, time.Now, func(_ context.Context, keys []int) (map[int]int, error) {
		found := map[int]int{}
		for _, key := range keys {
			found[key] = key
		}
		return found, nil
	}).Counted(cache.NewCounters(metrics), "numbers")
	for _, keys := range [][]int{{1, 2, 3}, {2, 3, 4}, {1, 2, 3, 4}} {
		if _, err := h.Get(t.Context(), keys...); err != nil {
			t.Fatal(err)
		}
	}
	h.Peek(1)
	h.Peek(9)
	const labels = `{cache="numbers",layer="process"}`
	rises(t, metrics, map[string]float64{
		"backbeat_cache_hits_total" + labels: 7, "backbeat_cache_misses_total" + labels: 5, "backbeat_cache_loads_total" + labels: 2,
	})
}

// The shared cache is counted by the names its keys begin with.
func TestSharedIsCounted(t *testing.T) {
	metrics := prometheus.NewRegistry()
	c := cache.Counted(newMemory(t), cache.NewCounters(metrics))
	set(t, c, time.Minute, map[string]string{"card:1": "a", "list:1": "b"})
	for _, keys := range [][]string{{"card:1", "card:2"}, {"list:1"}, nil} {
		if _, err := c.Get(t.Context(), keys...); err != nil {
			t.Fatal(err)
		}
	}
	rises(t, metrics, map[string]float64{
		`backbeat_cache_hits_total{cache="card",layer="shared"}`: 1, `backbeat_cache_misses_total{cache="card",layer="shared"}`: 1,
		`backbeat_cache_hits_total{cache="list",layer="shared"}`: 1, `backbeat_cache_misses_total{cache="list",layer="shared"}`: 0,
	})
}

// Round trips to Redis are observed by command and outcome, and its pool is shown.
func TestRedisIsMeasured(t *testing.T) {
	server := harness.Redis(t)
	client := dial(t, server.URL)
	metrics := prometheus.NewRegistry()
	cache.Measure(client, metrics)
	c := cache.NewRedis(client)
	set(t, c, time.Minute, map[string]string{"a": "1"})
	get(t, c, "a")
	get(t, c, "miss")
	rises(t, metrics, map[string]float64{
		`backbeat_redis_duration_seconds_count{code="ok",command="set"}`: 1,
		`backbeat_redis_duration_seconds_count{code="ok",command="get"}`: 2,
		`backbeat_redis_pool_connections{pool="pipeline",state="idle"}`:  1,
		`backbeat_redis_pool_connections{pool="pipeline",state="used"}`:  0,
	})
	must(t, server.Kill())
	if _, err := c.Get(t.Context(), "a"); err == nil {
		t.Error("a dead server answers")
	}
	if found := harness.Metrics(t, metrics); found[`backbeat_redis_duration_seconds_count{code="error",command="get"}`] != 1 {
		t.Error("the failure is not observed")
	}
}
