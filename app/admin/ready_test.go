package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestReady(t *testing.T) {
	well := func(context.Context) error { return nil }
	away := func(context.Context) error { return errors.New("connection refused") }
	slow := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	forever := make(chan struct{})
	defer close(forever)
	deaf := func(context.Context) error { <-forever; return nil }
	for _, row := range []struct {
		name   string
		needs  []Dependency
		state  func(*Readiness)
		status int
		says   map[string]string
	}{
		{"all there", []Dependency{{"database", true, well}, {"keys", true, nil}}, (*Readiness).Serve, 200,
			map[string]string{"database": "ok", "keys": "ok"}},
		{"something vital is away", []Dependency{{"database", true, away}, {"keys", true, nil}}, (*Readiness).Serve, 503,
			map[string]string{"database": "connection refused", "keys": "ok"}},
		{"something else is away", []Dependency{{"database", true, well}, {"cache", false, away}}, (*Readiness).Serve, 200,
			map[string]string{"database": "ok", "cache": "connection refused"}},
		{"something vital hangs", []Dependency{{"database", true, slow}, {"cache", false, well}}, (*Readiness).Serve, 503,
			map[string]string{"database": context.DeadlineExceeded.Error(), "cache": "ok"}},
		{"something vital hangs and does not hear", []Dependency{{"database", true, deaf}, {"cache", false, well}}, (*Readiness).Serve, 503,
			map[string]string{"database": "no answer within 900ms", "cache": "ok"}},
		{"not yet", nil, func(*Readiness) {}, 503, nil},
		{"no longer", []Dependency{{"database", true, well}}, (*Readiness).Stop, 503, map[string]string{"database": "ok"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := NewReadiness()
			if row.needs != nil {
				r.Add("user", "127.0.0.1:7001", row.needs)
			}
			row.state(r)
			w := httptest.NewRecorder()
			start := time.Now()
			r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("answered in %v", took)
			}
			var got Report
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if w.Code != row.status || got.Ready != (row.status == 200) {
				t.Errorf("HTTP %d: %s", w.Code, w.Body)
			}
			if row.needs != nil && got.Roles[0].Address != "127.0.0.1:7001" {
				t.Errorf("it listens at %q", got.Roles[0].Address)
			}
			for name, want := range row.says {
				said := got.Roles[0].Needs[name]
				if said != want && (want != context.DeadlineExceeded.Error() || said != "no answer within 900ms") {
					t.Errorf("%s: %q, want %q", name, said, want)
				}
			}
		})
	}
}

// Roles that share something have it asked once.
func TestReadyAsksOnce(t *testing.T) {
	asked := 0
	database := Dependency{"database", true, func(context.Context) error { asked++; return nil }}
	r := NewReadiness()
	r.Add("user", "", []Dependency{database})
	r.Add("video", "", []Dependency{database})
	r.Serve()
	r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/readyz", nil))
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}
