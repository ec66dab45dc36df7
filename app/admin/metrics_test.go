package admin

import (
	"context"
	"errors"
	"maps"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"backbeat/test/harness"
)

// Each dependency is told by itself, also when one of them hangs and hears nothing.
func TestMeasure(t *testing.T) {
	well := func(context.Context) error { return nil }
	away := func(context.Context) error { return errors.New("connection refused") }
	forever := make(chan struct{})
	defer close(forever)
	deaf := func(context.Context) error { <-forever; return nil }

	r := NewReadiness()
	r.Add("user", "", []Dependency{{"database", true, well}, {"discovery", false, deaf}})
	r.Add("comment", "", []Dependency{{"database", true, well}, {"cache", false, away}, {"keys", true, nil}})
	registry := prometheus.NewRegistry()
	r.Measure(registry)
	r.Measure(nil)
	want := map[string]float64{
		`backbeat_dependency_up{dependency="database"}`:  1,
		`backbeat_dependency_up{dependency="discovery"}`: 0,
		`backbeat_dependency_up{dependency="cache"}`:     0,
		`backbeat_dependency_up{dependency="keys"}`:      1,
		`backbeat_reading_up{name="dependencies"}`:       1,
	}
	if got := harness.Metrics(t, registry); !maps.Equal(got, want) {
		t.Errorf("a scrape shows %v, want %v", got, want)
	}
}
