package status

import (
	"io"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// measured is what the metrics of a process tell of the cluster.
type measured struct {
	started time.Time
	version string
	queues  []Queue
	// circuits are commands by role and by whether their circuit is open.
	circuits map[string]map[bool][]string
}

// measure reads what /metrics answers.
func measure(from io.Reader) (measured, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(from)
	if err != nil {
		return measured{}, err
	}
	m := measured{circuits: map[string]map[bool][]string{}}
	for _, metric := range families["process_start_time_seconds"].GetMetric() {
		m.started = time.UnixMilli(int64(value(metric) * 1000))
	}
	for _, metric := range families["backbeat_build_info"].GetMetric() {
		m.version = label(metric, "version")
	}
	held := map[Queue]*Queue{} // by name and store
	var order []*Queue
	for _, metric := range families["backbeat_queue_messages"].GetMetric() {
		name := Queue{Name: label(metric, "queue"), Store: label(metric, "store")}
		q := held[name]
		if q == nil {
			q = &Queue{Name: name.Name, Store: name.Store}
			held[name] = q
			order = append(order, q)
		}
		switch n := int64(value(metric)); label(metric, "state") {
		case "waiting":
			q.Waiting = n
		case "delayed":
			q.Delayed = n
		case "dead":
			q.Dead = n
		}
	}
	for _, q := range order {
		m.queues = append(m.queues, *q)
	}
	for _, metric := range families["backbeat_hystrix_circuit_open"].GetMetric() {
		role, open := label(metric, "role"), value(metric) > 0
		if m.circuits[role] == nil {
			m.circuits[role] = map[bool][]string{}
		}
		m.circuits[role][open] = append(m.circuits[role][open], label(metric, "command"))
	}
	return m, nil
}

func label(metric *dto.Metric, name string) string {
	for _, l := range metric.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// value returns a gauge's value; what has no type in its text is untyped.
func value(metric *dto.Metric) float64 {
	if metric.GetUntyped() != nil {
		return metric.GetUntyped().GetValue()
	}
	return metric.GetGauge().GetValue()
}
