package gateway

import (
	"net/http"
	"strconv"
	"time"

	"github.com/opentracing/opentracing-go"
	"github.com/prometheus/client_golang/prometheus"

	"backbeat/app/cache"
	"backbeat/app/errs"
	"backbeat/app/metrics"
)

// instruments are what the gateway counts.
type instruments struct {
	requests  *metrics.Durations[answered]
	inFlight  prometheus.Gauge
	refusals  refusals
	fallbacks *prometheus.CounterVec
	full      *prometheus.CounterVec
	caches    *cache.Counters
}

// answered is what requests are told apart by.
type answered struct {
	// route is a pattern, method one of HTTP's or OTHER.
	route, method string
	// status is HTTP's, code the envelope's status_code.
	status, code int
}

// refusals count requests that were refused unasked, by what refused them.
type refusals struct {
	connection, address, user, registration, login, concurrency, hashing, upload prometheus.Counter
}

// newInstruments registers what the gateway counts; to may be nil.
func newInstruments(to prometheus.Registerer, bounds func() (limit float64, waiting int)) *instruments {
	refused := metrics.Counters(to, "backbeat_gateway_refusals_total",
		"Requests refused by a bound of the gateway: connection (too many), address, user, registration and login (rate limits), concurrency (the adaptive bound), hashing and upload (too many at once).", "reason")
	metrics.Register(to, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "backbeat_gateway_concurrency_limit",
		Help: "How many requests the adaptive bound lets in at present.",
	}, func() float64 { limit, _ := bounds(); return limit }))
	metrics.Register(to, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "backbeat_gateway_requests_waiting",
		Help: "Requests in the line of those that the adaptive bound has not let in yet.",
	}, func() float64 { _, waiting := bounds(); return float64(waiting) }))
	return &instruments{
		requests: metrics.NewDurations(to, "backbeat_gateway_request_duration_seconds",
			"How long requests took, by pattern of the route, method, HTTP status and the status_code of the answer: 0 is a success, and what brings none.",
			[]string{"route", "method", "status", "code"}, func(a answered) []string {
				return []string{a.route, a.method, strconv.Itoa(a.status), strconv.Itoa(a.code)}
			}),
		inFlight: metrics.Register(to, prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "backbeat_gateway_requests_in_flight",
			Help: "Requests that are being read or answered.",
		})),
		refusals: refusals{
			connection: refused.WithLabelValues("connection"), address: refused.WithLabelValues("address"),
			user: refused.WithLabelValues("user"), registration: refused.WithLabelValues("registration"),
			login: refused.WithLabelValues("login"), concurrency: refused.WithLabelValues("concurrency"),
			hashing: refused.WithLabelValues("hashing"), upload: refused.WithLabelValues("upload"),
		},
		fallbacks: metrics.Counters(to, "backbeat_gateway_fallbacks_total",
			"Replies that a fallback made up for a command.", "command"),
		full: metrics.Counters(to, "backbeat_gateway_command_refusals_total",
			"Calls refused before Hystrix saw them, since the command had as many in progress as it may.", "command"),
		caches: cache.NewCounters(to),
	}
}

// observe notes an answer. Methods that are none of the API's are one.
func (i *instruments) observe(span opentracing.Span, method, pattern string, rec *recorder, start time.Time) {
	if i.requests == nil {
		return
	}
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodHead, http.MethodOptions:
	default:
		method = "OTHER"
	}
	i.requests.Observe(span, answered{pattern, method, rec.status, rec.code}, time.Since(start))
}

// counted counts a refusal, if err is one.
func counted(by prometheus.Counter, err error) error {
	if errs.Is(err, errs.Exhausted) {
		by.Inc()
	}
	return err
}
