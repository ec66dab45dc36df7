package rpc

import (
	"context"
	"strings"
	"testing"

	"github.com/opentracing/opentracing-go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/uber/jaeger-client-go"

	"backbeat/app/errs"
	"backbeat/proto/user"
	"backbeat/test/harness"
)

// Both ends count each call by what became of it, and name its trace.
func TestCallsAreMeasured(t *testing.T) {
	ends := map[string]*prometheus.Registry{"client": prometheus.NewRegistry(), "server": prometheus.NewRegistry()}
	tracer, closer := jaeger.NewTracer("test", jaeger.NewConstSampler(true), jaeger.NewNullReporter())
	defer closer.Close()
	r := memory(t)
	h := &users{login: func(_ context.Context, in *user.LoginRequest, _ *user.LoginResponse) error {
		switch in.Name {
		case "stranger":
			return errs.New(errs.Unauthenticated, "")
		case "panic":
			panic("at the disco")
		}
		return nil
	}}
	serve(t, r, h, func(_ *ServerConfig, d *ServerDeps) { d.Tracer, d.Metrics = tracer, ends["server"] })
	service, _ := dial(t, r, func(_ *ClientConfig, d *ClientDeps) { d.Metrics = ends["client"] })
	span := tracer.StartSpan("request")
	defer span.Finish()
	ctx := opentracing.ContextWithSpan(t.Context(), span)
	for _, name := range []string{"alice", "stranger", "panic", "bob"} {
		_, _ = service.Login(ctx, &user.LoginRequest{Name: name})
	}
	for end, metrics := range ends {
		found := harness.Metrics(t, metrics)
		for code, want := range map[string]float64{"ok": 2, "unauthenticated": 1, "internal": 1} {
			name := "backbeat_rpc_" + end + `_duration_seconds_count{code="` + code + `",method="Login",service="user"}`
			if got := found[name]; got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		if want := `{trace_id="` + span.Context().(jaeger.SpanContext).TraceID().String() + `"}`; !strings.Contains(harness.OpenMetrics(t, metrics), want) {
			t.Errorf("%s: no exemplar %s", end, want)
		}
	}
}
