package ship

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"backbeat/deploy/local"
	"backbeat/test/harness"
)

// prometheus is a real one with the configuration and rules of deploy/prometheus.
// Only addresses and times are others: it asks each second, and everything that the
// rules wait for takes a sixtieth of its time, though no less than rates need.
type prometheus struct{ *local.Server }

// leastWindow holds some scrapes, whatever else the machine does.
const leastWindow = 5 * time.Second

var waits = regexp.MustCompile(`(\[|for: )(\d+)([smhd])\b`)

// sooner shortens the windows and delays of rules.
func sooner(rules string) string {
	units := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}
	return waits.ReplaceAllStringFunc(rules, func(found string) string {
		part := waits.FindStringSubmatch(found)
		n, _ := strconv.Atoi(part[2]) // the pattern has only digits
		short := time.Duration(n) * units[part[3]] / 60
		if part[1] == "[" {
			short = max(short, leastWindow)
		}
		return fmt.Sprintf("%s%ds", part[1], max(1, int(short.Seconds())))
	})
}

var target = regexp.MustCompile(`\[([a-z-]+):\d+\]`)

// startPrometheus starts one that finds each target by its host's name at the server
// that at has for it.
func startPrometheus(t *testing.T, at map[string]*local.Server) prometheus {
	t.Helper()
	dir, port := harness.Folder(t), harness.FreePort(t)
	own := map[string]string{"prometheus": fmt.Sprint("127.0.0.1:", port)}
	for name, server := range at {
		own[name] = strings.TrimPrefix(server.Metrics, "http://")
	}
	config := target.ReplaceAllStringFunc(file(t, "prometheus/prometheus.yml"), func(found string) string {
		name := target.FindStringSubmatch(found)[1]
		if own[name] == "" {
			t.Errorf("prometheus.yml asks %s, which does not run here", name)
		}
		return "[" + own[name] + "]"
	})
	for path, content := range map[string]string{
		"prometheus.yml": strings.ReplaceAll(config, "_interval: 5s", "_interval: 1s"),
		"alerts.yml":     sooner(file(t, "prometheus/alerts.yml")),
	} {
		if err := os.WriteFile(filepath.Join(dir, path), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, err := local.StartPrometheus(t.Context(), dir, filepath.Join(dir, "prometheus.yml"), local.Options{Port: port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("Prometheus printed:\n%s", s.LogTail())
		}
	})
	return prometheus{s}
}

// ask puts a question to the API and decodes the data of its answer.
func (p prometheus) ask(path string, parameters url.Values, data any) error {
	answer, err := http.Get(p.URL + "/api/v1/" + path + "?" + parameters.Encode())
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	said := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(answer.Body).Decode(&said); err != nil {
		return err
	}
	if said.Status != "success" {
		return fmt.Errorf("%s: %s", said.Status, said.Error)
	}
	return nil
}

// query evaluates the expression now. It returns an error for one that is faulty, and
// for one without an answer: with no value at all, or none that is a number.
func (p prometheus) query(expr string) error {
	var found struct {
		Result []struct{ Value [2]any }
	}
	if err := p.ask("query", url.Values{"query": {expr}}, &found); err != nil {
		return err
	}
	for _, sample := range found.Result {
		text, _ := sample.Value[1].(string)
		if value, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(value) {
			return nil
		}
	}
	return fmt.Errorf("no answer, in %d series", len(found.Result))
}

// exemplars is query for the traces that lie behind an expression.
func (p prometheus) exemplars(expr string) error {
	var found []struct {
		Exemplars []struct {
			Labels struct {
				TraceID string `json:"trace_id"`
			}
		}
	}
	now := time.Now()
	window := url.Values{"query": {expr}, "start": {fmt.Sprint(now.Add(-time.Hour).Unix())}, "end": {fmt.Sprint(now.Unix())}}
	if err := p.ask("query_exemplars", window, &found); err != nil {
		return err
	}
	for _, series := range found {
		for _, exemplar := range series.Exemplars {
			if exemplar.Labels.TraceID != "" {
				return nil
			}
		}
	}
	return fmt.Errorf("no exemplar with a trace, in %d series", len(found))
}

// values are those of a label, of the series that match.
func (p prometheus) values(label, match string) (values []string, err error) {
	return values, p.ask("label/"+label+"/values", url.Values{"match[]": {match}}, &values)
}

// firing returns the names of the alerts that fire.
func (p prometheus) firing() (map[string]bool, error) {
	var found struct {
		Alerts []struct {
			State  string
			Labels map[string]string
		}
	}
	if err := p.ask("alerts", nil, &found); err != nil {
		return nil, err
	}
	firing := map[string]bool{}
	for _, alert := range found.Alerts {
		if alert.State == "firing" {
			firing[alert.Labels["alertname"]] = true
		}
	}
	return firing, nil
}

// promtool runs Prometheus's own checker.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
