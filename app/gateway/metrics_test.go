package gateway

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/uber/jaeger-client-go"

	"backbeat/app/errs"
	"backbeat/proto/comment"
	"backbeat/proto/user"
	"backbeat/test/harness"
)

// Each family changes by what it counts, and by nothing else.
func TestMetrics(t *testing.T) {
	const duration = "backbeat_gateway_request_duration_seconds_count"
	limited := func(c *Config, _ *Deps) { c.Limits.Exempt = nil }
	for _, row := range []struct {
		name   string
		change func(*Config, *Deps)
		act    func(*testing.T, *world)
		// want is by how much metrics rise.
		want map[string]float64
	}{
		{"an answer", nil, func(t *testing.T, w *world) { w.ask(t, "GET", "/douyin/feed/", 0) },
			map[string]float64{duration + `{code="0",method="GET",route="/douyin/feed/",status="200"}`: 1}},
		{"a failure", nil, func(t *testing.T, w *world) { w.ask(t, "GET", "/douyin/user/", 0) },
			map[string]float64{duration + `{code="1",method="GET",route="/douyin/user/",status="200"}`: 1}},
		{"a path of nobody's, by a method of nobody's", nil, func(t *testing.T, w *world) {
			w.do(t, httptest.NewRequest("BREW", "http://phone.test/pot/"+strings.Repeat("x", 40), nil))
		}, map[string]float64{duration + `{code="40400",method="OTHER",route="unknown",status="404"}`: 1}},
		{"an address that asks too often", func(c *Config, d *Deps) { limited(c, d); c.Limits.AddressRate, c.Limits.AddressBurst = 1, 1 },
			func(t *testing.T, w *world) {
				for range 3 {
					w.ask(t, "GET", "/douyin/feed/", 0)
				}
			}, map[string]float64{`backbeat_gateway_refusals_total{reason="address"}`: 2, `backbeat_gateway_refusals_total{reason="user"}`: 0,
				duration + `{code="42900",method="GET",route="/douyin/feed/",status="200"}`: 2}},
		{"a user who asks too often", func(c *Config, d *Deps) { limited(c, d); c.Limits.UserRate, c.Limits.UserBurst = 1, 1 },
			func(t *testing.T, w *world) {
				for range 3 {
					w.ask(t, "GET", "/douyin/feed/", bob)
				}
			}, map[string]float64{`backbeat_gateway_refusals_total{reason="user"}`: 2}},
		{"registrations", func(c *Config, d *Deps) { limited(c, d); c.Limits.Registrations = 1 },
			func(t *testing.T, w *world) {
				for _, name := range []string{"u1", "u2"} {
					w.ask(t, "POST", "/douyin/user/register/", 0, "username", name, "password", "secret")
				}
			}, map[string]float64{`backbeat_gateway_refusals_total{reason="registration"}`: 1}},
		{"guessed passwords", func(c *Config, d *Deps) { limited(c, d); c.Limits.LoginFailures = 1 },
			func(t *testing.T, w *world) {
				for range 3 {
					w.ask(t, "POST", "/douyin/user/login/", 0, "username", "alice", "password", "guess")
				}
			}, map[string]float64{`backbeat_gateway_refusals_total{reason="login"}`: 2}},
		{"a service that has no time for passwords is no refusal of ours", func(c *Config, d *Deps) { limited(c, d) },
			func(t *testing.T, w *world) {
				w.services.fail("user.Login", errs.New(errs.Exhausted, ""))
				w.ask(t, "POST", "/douyin/user/login/", 0, "username", "alice", "password", "secret")
			}, map[string]float64{`backbeat_gateway_refusals_total{reason="login"}`: 0, `backbeat_gateway_refusals_total{reason="hashing"}`: 0}},
		{"too many passwords", nil, func(t *testing.T, w *world) {
			jam(w.hashing)
			w.ask(t, "POST", "/douyin/user/login/", 0, "username", "alice", "password", "secret")
		}, map[string]float64{`backbeat_gateway_refusals_total{reason="hashing"}`: 1}},
		{"too many at once", nil, func(t *testing.T, w *world) {
			jam(w.concurrency)
			w.ask(t, "GET", "/douyin/feed/", 0)
		}, map[string]float64{`backbeat_gateway_refusals_total{reason="concurrency"}`: 1}},
		{"a connection too many", nil, func(t *testing.T, w *world) {
			r := httptest.NewRequest(http.MethodGet, "http://phone.test/douyin/feed/", nil)
			w.do(t, r.WithContext(context.WithValue(r.Context(), crowdedKey{}, true)))
		}, map[string]float64{`backbeat_gateway_refusals_total{reason="connection"}`: 1}},
		{"a fallback", nil, func(t *testing.T, w *world) {
			w.services.down("comment.Counts")
			w.ask(t, "GET", "/douyin/feed/", 0)
		}, map[string]float64{`backbeat_gateway_fallbacks_total{command="comment.Counts"}`: 1, `backbeat_gateway_fallbacks_total{command="video.Feed"}`: 0}},
		{"a command with no slot left", nil, func(t *testing.T, w *world) {
			for range cap(w.rpc.works.slots) {
				w.rpc.works.slots <- struct{}{}
			}
			w.ask(t, "GET", "/douyin/publish/list/", 0, "user_id", "101")
		}, map[string]float64{`backbeat_gateway_command_refusals_total{command="video.ListByAuthor"}`: 1}},
		{"caches", nil, func(t *testing.T, w *world) {
			for range 3 {
				w.ask(t, "GET", "/douyin/feed/", 0)
			}
		}, map[string]float64{`backbeat_cache_hits_total{cache="feeds",layer="process"}`: 2, `backbeat_cache_misses_total{cache="feeds",layer="process"}`: 1,
			`backbeat_cache_loads_total{cache="feeds",layer="process"}`: 1}},
	} {
		t.Run(row.name, func(t *testing.T) {
			metrics := prometheus.NewRegistry()
			w := newWorld(t, func(c *Config, d *Deps) {
				d.Metrics = metrics
				if row.change != nil {
					row.change(c, d)
				}
			})
			before := harness.Metrics(t, metrics)
			row.act(t, w)
			after := harness.Metrics(t, metrics)
			for name, want := range row.want {
				if got := after[name] - before[name]; got != want {
					t.Errorf("%s rose by %v, want %v", name, got, want)
				}
			}
			if n := after["backbeat_gateway_requests_in_flight"]; n != 0 {
				t.Errorf("%v requests in flight, want none", n)
			}
		})
	}
}

func TestRequestsInFlight(t *testing.T) {
	metrics := prometheus.NewRegistry()
	w := newWorld(t, func(_ *Config, d *Deps) { d.Metrics = metrics })
	seen := 0.0
	on(w.services, "comment.List", func(context.Context, *comment.ListRequest) (*comment.ListResponse, error) {
		seen = harness.Metrics(t, metrics)["backbeat_gateway_requests_in_flight"]
		return &comment.ListResponse{}, nil
	})
	w.ask(t, "GET", "/douyin/comment/list/", bob, "video_id", "501")
	if seen != 1 {
		t.Errorf("%v requests in flight within one, want 1", seen)
	}
}

// A request that somebody traces is the exemplar of its bucket; others have none.
func TestExemplars(t *testing.T) {
	for _, sampled := range []bool{true, false} {
		metrics := prometheus.NewRegistry()
		tracer, closer := jaeger.NewTracer("test", jaeger.NewConstSampler(sampled), jaeger.NewNullReporter())
		defer closer.Close()
		w := newWorld(t, func(_ *Config, d *Deps) { d.Metrics, d.Tracer = metrics, tracer })
		got := w.ask(t, "GET", "/douyin/feed/", 0)
		id := got.header.Get("Trace-Id")
		if found := strings.Contains(harness.OpenMetrics(t, metrics), `# {trace_id="`+id+`"}`); id == "" || found != sampled {
			t.Errorf("sampled %t: the trace %q is an exemplar: %t", sampled, id, found)
		}
	}
}

// Hystrix's own counts, and its circuit while it is open and when it has closed.
func TestCircuitMetrics(t *testing.T) {
	metrics := prometheus.NewRegistry()
	w := newWorld(t, func(_ *Config, d *Deps) { d.Metrics = metrics })
	event := func(name string) string {
		return `backbeat_hystrix_events_total{command="user.Login",event="` + name + `"}`
	}
	const open = `backbeat_hystrix_circuit_open{command="user.Login"}`
	login := func() error {
		_, err := w.rpc.login.do(t.Context(), &user.LoginRequest{Name: "alice", Password: "secret"})
		return err
	}
	reaches := func(name string, least float64) {
		t.Helper()
		harness.Eventually(t, 10*time.Second, func() error { // Hystrix counts in the background
			if got := harness.Metrics(t, metrics)[name]; got < least {
				return fmt.Errorf("%s is %v, want %v", name, got, least)
			}
			return nil
		}, name+" rises")
	}
	if err := login(); err != nil {
		t.Fatal(err)
	}
	reaches(event("success"), 1)
	if got := harness.Metrics(t, metrics)[open]; got != 0 {
		t.Errorf("the circuit is open: %v", got)
	}
	w.services.down("user.Login")
	harness.Eventually(t, 10*time.Second, func() error {
		if err := login(); !shortCircuited(err) {
			return fmt.Errorf("not short-circuited: %w", err)
		}
		return nil
	}, "the circuit opens")
	reaches(event("failure"), 2)
	reaches(event("short_circuit"), 1)
	reaches(event("fallback_success"), 3)
	reaches(open, 1)
	on(w.services, "user.Login", func(context.Context, *user.LoginRequest) (*user.LoginResponse, error) {
		return &user.LoginResponse{UserId: alice}, nil
	})
	harness.Eventually(t, 10*time.Second, func() error { return login() }, "the circuit closes")
	harness.Eventually(t, 10*time.Second, func() error {
		if got := harness.Metrics(t, metrics); got[open] != 0 || got[event("failure")] < 2 {
			return fmt.Errorf("open %v, %v failures counted", got[open], got[event("failure")])
		}
		return nil
	}, "the circuit is shown closed, and counters have not begun anew")
}

// Two gateways of a process count together.
func TestMetricsMayBeRegisteredTwice(t *testing.T) {
	metrics := prometheus.NewRegistry()
	for range 2 {
		w := newWorld(t, func(_ *Config, d *Deps) { d.Metrics = metrics })
		w.ask(t, http.MethodGet, "/douyin/feed/", 0)
	}
	if n := harness.Metrics(t, metrics)[`backbeat_gateway_request_duration_seconds_count{code="0",method="GET",route="/douyin/feed/",status="200"}`]; n != 2 {
		t.Errorf("%v requests counted, want 2", n)
	}
}
