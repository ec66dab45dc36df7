// Package admin is what a process tells those who operate it, on a port of its
// own that is closed unless configured:
//
//	/metrics         metrics for Prometheus, with exemplars as OpenMetrics
//	/livez           200 as long as the process answers
//	/readyz          200 when each role has what it can't do without, else 503; each
//	                 dependency with "ok" or its fault, in a second at most
//	/version         what was built, as JSON
//	/log-level       the log's level; PUT debug, info, warn or error changes it
//	/hystrix.stream  circuits, for the Hystrix dashboard
//	/debug/pprof/    Go's profiles
//
// The families of metrics are declared in the metrics.go of the packages that count
// (see package metrics), each with its help text, which /metrics shows.
//
// It knows nobody's name or token, but a profile can slow the process down: the
// port belongs on loopback or behind a firewall.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// NewMetrics returns a registry of metrics that holds those of the Go runtime and
// of the process.
func NewMetrics() *prometheus.Registry {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		ReadBuild().metric(),
	)
	return metrics
}

// scrapeWithin bounds a scrape beyond what its collectors bound themselves: it is what
// Prometheus waits by default.
const scrapeWithin = 10 * time.Second

// Handler answers all of the above. What one collector can't tell leaves the others'
// metrics as they are.
func Handler(metrics prometheus.Gatherer, ready *Readiness, level *slog.LevelVar) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
		EnableOpenMetrics: true, ErrorHandling: promhttp.ContinueOnError, Timeout: scrapeWithin, MaxRequestsInFlight: 4,
	}))
	mux.Handle("GET /readyz", ready)
	mux.HandleFunc("GET /version", serveVersion)
	mux.HandleFunc("GET /log-level", levelOf(level))
	mux.HandleFunc("PUT /log-level", levelOf(level))
	mux.Handle("GET /hystrix.stream", newWatchers())
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// Serve answers on the listener, which it closes, until ctx ends.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, log *slog.Logger) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // nobody's request is worth a wait here
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
