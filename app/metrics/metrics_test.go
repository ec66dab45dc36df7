package metrics_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"backbeat/app/metrics"
	"backbeat/model"
	"backbeat/test/harness"
)

func TestSeriesAreMadeOnce(t *testing.T) {
	var made atomic.Int64
	series := metrics.NewSeries(func(int) *int64 {
		n := made.Add(1)
		return &n
	})
	var asking sync.WaitGroup
	for range 8 {
		asking.Go(func() {
			for i := range 100 {
				series.Of(i % 10)
			}
		})
	}
	asking.Wait()
	if first, again := series.Of(3), series.Of(3); made.Load() != 10 || first != again {
		t.Errorf("%d values for 10 keys", made.Load())
	}
}

// Roles of one process share a registry, and two of the same role their metrics.
func TestRegisterTwice(t *testing.T) {
	registry := prometheus.NewRegistry()
	for _, role := range []string{"a", "b", "a"} {
		of := prometheus.WrapRegistererWith(prometheus.Labels{"role": role}, registry)
		metrics.Counters(of, "test_total", "Test.", "kind").WithLabelValues("x").Inc()
		metrics.NewDurations(of, "test_duration_seconds", "Test.", []string{"kind"}, func(kind string) []string { return []string{kind} }).
			Since(t.Context(), "x", time.Now())
	}
	found := harness.Metrics(t, registry)
	for name, want := range map[string]float64{
		`test_total{kind="x",role="a"}`: 2, `test_total{kind="x",role="b"}`: 1,
		`test_duration_seconds_count{kind="x",role="a"}`: 2, `test_duration_seconds_count{kind="x",role="b"}`: 1,
	} {
		if found[name] != want {
			t.Errorf("%s is %v, want %v", name, found[name], want)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("one name stands for two families")
		}
	}()
	metrics.Counters(registry, "test_total", "Another.")
}

// Where nobody scrapes everything works and counts for nobody.
func TestNobodyScrapes(t *testing.T) {
	metrics.Counters(nil, "test_total", "Test.", "kind").WithLabelValues("x").Inc()
	durations := metrics.NewDurations(nil, "test_duration_seconds", "Test.", nil, func(int) []string { return nil })
	if n := testing.AllocsPerRun(100, func() { durations.Since(t.Context(), 1, time.Time{}) }); n != 0 {
		t.Errorf("%v allocations for nobody", n)
	}
	metrics.Read(nil, "test", nil)
}

func TestReading(t *testing.T) {
	gauge := metrics.NewGauge("test_things", "Test.", nil, "kind")
	sample := []metrics.Sample{{Gauge: gauge, Value: 7, Labels: []string{"x"}}}
	hung := make(chan struct{})
	defer close(hung)
	var reads atomic.Int64
	for _, row := range []struct {
		name string
		read func(context.Context) ([]metrics.Sample, error)
		up   float64
		// value is -1 for none.
		value float64
	}{
		{"answers", func(context.Context) ([]metrics.Sample, error) { return sample, nil }, 1, 7},
		{"fails", func(context.Context) ([]metrics.Sample, error) { return nil, errors.New("away") }, 0, -1},
		{"fails halfway", func(context.Context) ([]metrics.Sample, error) { return sample, errors.New("away") }, 0, 7},
		{"waits for the bound", func(ctx context.Context) ([]metrics.Sample, error) { <-ctx.Done(); return nil, ctx.Err() }, 0, -1},
		{"hangs beyond the bound", func(context.Context) ([]metrics.Sample, error) { reads.Add(1); <-hung; return sample, nil }, 0, -1},
	} {
		t.Run(row.name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			metrics.Read(registry, "test", row.read, gauge)
			for range 3 {
				found := harness.Metrics(t, registry)
				value, there := found[`test_things{kind="x"}`]
				if !there {
					value = -1
				}
				if up := found[`backbeat_reading_up{name="test"}`]; up != row.up || value != row.value {
					t.Errorf("up %v, value %v, want %v and %v", up, value, row.up, row.value)
				}
			}
		})
	}
	if n := reads.Load(); n != 1 {
		t.Errorf("a hanging server is asked by %d at once, want 1", n)
	}
}

// Statements are told apart by what they do, on what and how they end; none holds
// a value.
func TestSQL(t *testing.T) {
	registry := prometheus.NewRegistry()
	db, err := model.Open(t.Context(), harness.SQLite(t), 2, harness.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	defer model.Close(db)
	if err := errors.Join(model.Migrate(t.Context(), db), model.Measure(db, registry), model.Ping(t.Context(), db)); err != nil {
		t.Fatal(err)
	}
	row := model.QueueLease{Queue: "secret", Owner: "o"}
	db.Create(&row)
	db.Create(&row)
	db.First(&model.QueueLease{}, "queue = ?", "nothing")
	db.Find(&[]model.QueueLease{})
	db.Model(&row).Update("owner", "p")
	db.Delete(&row)
	db.Exec("UPDATE nothing SET x = 'secret'")
	db.Raw("SELECT 1").Scan(new(int))
	found := harness.Metrics(t, registry)
	for labels, want := range map[string]float64{
		`code="ok",operation="insert",table="queue_leases"`:        1,
		`code="conflict",operation="insert",table="queue_leases"`:  1,
		`code="not_found",operation="select",table="queue_leases"`: 1,
		`code="ok",operation="select",table="queue_leases"`:        1,
		`code="ok",operation="update",table="queue_leases"`:        1,
		`code="ok",operation="delete",table="queue_leases"`:        1,
		`code="error",operation="raw",table=""`:                    1,
		`code="ok",operation="row",table=""`:                       1,
	} {
		if got := found["backbeat_sql_duration_seconds_count{"+labels+"}"]; got != want {
			t.Errorf("%s: %v, want %v", labels, got, want)
		}
	}
	for _, pool := range []string{"primary", "readers"} {
		if found[`go_sql_max_open_connections{db_name="`+pool+`"}`] == 0 {
			t.Errorf("nothing of the pool %s", pool)
		}
	}
	for name := range found {
		if strings.Contains(name, "secret") {
			t.Errorf("%s holds a value", name)
		}
	}
}
