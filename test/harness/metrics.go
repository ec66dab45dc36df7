package harness

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// Metrics returns what a scrape shows: values by name and labels, as they are
// written, such as `jobs_total{state="done"}`. It fails the test for metrics that
// are not named as Prometheus asks.
func Metrics(tb testing.TB, metrics prometheus.Gatherer) map[string]float64 {
	tb.Helper()
	families, err := metrics.Gather()
	check(tb, err)
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	check(tb, err)
	for _, p := range problems {
		tb.Errorf("metric %s: %s", p.Metric, p.Text)
	}
	return ParseMetrics(tb, scrape(metrics, "text/plain"))
}

// ParseMetrics reads what /metrics answers.
func ParseMetrics(tb testing.TB, text string) map[string]float64 {
	tb.Helper()
	found := map[string]float64{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		at := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || at < 0 {
			continue
		}
		value, err := strconv.ParseFloat(line[at+1:], 64)
		check(tb, err)
		found[line[:at]] = value
	}
	return found
}

// OpenMetrics returns a scrape in the format that has exemplars.
func OpenMetrics(tb testing.TB, metrics prometheus.Gatherer) string {
	tb.Helper()
	return scrape(metrics, "application/openmetrics-text; version=1.0.0")
}

func scrape(metrics prometheus.Gatherer, format string) string {
	handler := promhttp.HandlerFor(metrics, promhttp.HandlerOpts{EnableOpenMetrics: true})
	request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	request.Header.Set("Accept", format)
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, request)
	return answer.Body.String()
}
