package rpc

import (
	"github.com/prometheus/client_golang/prometheus"

	"backbeat/app/metrics"
)

// served is what calls are told apart by.
type served struct{ service, method, code string }

// newDurations makes the histogram of one end. Both ends see the same calls, but for
// those that never arrived.
func newDurations(to prometheus.Registerer, name, help string) *metrics.Durations[served] {
	return metrics.NewDurations(to, name, help, []string{"service", "method", "code"},
		func(s served) []string { return []string{s.service, s.method, s.code} })
}

func clientDurations(to prometheus.Registerer) *metrics.Durations[served] {
	return newDurations(to, "backbeat_rpc_client_duration_seconds",
		"How long calls took for their callers, by service, method and code: ok, or the kind of the error.")
}

func serverDurations(to prometheus.Registerer) *metrics.Durations[served] {
	return newDurations(to, "backbeat_rpc_server_duration_seconds",
		"How long calls took in the service that answered them, by service, method and code: ok, or the kind of the error.")
}
