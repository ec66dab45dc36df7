package ship

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"backbeat/test/harness"
)

// sign is what Prometheus may have seen for fifty minutes, with a sample each 15
// seconds: series and their values, as promtool writes them.
type sign struct {
	alert, name string
	fires       bool
	seen        map[string]string
}

// api is what the gateway counts of so many requests to the API, faults among them and
// slow ones, in each quarter of a minute.
func api(requests, faults, slow int) map[string]string {
	const family = `backbeat_gateway_request_duration_seconds`
	return map[string]string{
		family + `_count{route="/douyin/feed/",code="0",status="200"}`:     fmt.Sprintf("0+%dx200", requests-faults),
		family + `_count{route="/douyin/feed/",code="50300",status="200"}`: fmt.Sprintf("0+%dx200", faults),
		family + `_bucket{route="/douyin/feed/",le="0.4"}`:                 fmt.Sprintf("0+%dx200", requests-slow),
		// Neither of these counts: people download and upload as fast as they can.
		family + `_count{route="/media/",code="0",status="503"}`:                 "0+100x200",
		family + `_count{route="/douyin/publish/action/",code="0",status="200"}`: "0+0x200",
	}
}

// over is api with faults in the first two minutes alone.
func over() map[string]string {
	seen := api(100, 0, 0)
	seen[`backbeat_gateway_request_duration_seconds_count{route="/douyin/feed/",code="50300",status="200"}`] = "0+100x8 800x192"
	return seen
}

// one is a single series.
func one(series, values string) map[string]string { return map[string]string{series: values} }

// two are such a pair.
func two(first, values, second, others string) map[string]string {
	return map[string]string{first: values, second: others}
}

const (
	waiting  = `backbeat_queue_messages{queue="q",store="rabbitmq",state="waiting"}`
	spooled  = `backbeat_queue_messages{queue="q",store="table",state="waiting"}`
	consumed = `backbeat_queue_consumed_total{queue="q",store="rabbitmq"}`
	called   = `backbeat_rpc_client_duration_seconds_count{service="user",code="ok"}`
	uncalled = `backbeat_rpc_client_duration_seconds_count{service="user",code="unavailable"}`
	stated   = `backbeat_sql_duration_seconds_count{process="user",code="ok"}`
	unstated = `backbeat_sql_duration_seconds_count{process="user",code="error"}`
	copied   = `backbeat_db_replica_in_use{process="user",replica="replica-1"}`
	tripped  = `backbeat_redis_duration_seconds_count{process="comment",code="ok"}`
	broken   = `backbeat_redis_duration_seconds_count{process="comment",code="error"}`
	done     = `backbeat_video_jobs_total{outcome="published"}`
	failed   = `backbeat_video_jobs_total{outcome="failed"}`
	fallback = `backbeat_gateway_fallbacks_total{command="user.BatchGet"}`
	open     = `backbeat_hystrix_circuit_open{command="user.BatchGet"}`
	database = `backbeat_dependency_up{process="user",dependency="database"}`
	cpu      = `process_cpu_seconds_total{job="backbeat",process="user"}`
	procs    = `go_sched_gomaxprocs_threads{job="backbeat",process="user"}`
	resident = `process_resident_memory_bytes{job="backbeat",process="user"}`
	memory   = `go_gc_gomemlimit_bytes{job="backbeat",process="user"}`
	fds      = `process_open_fds{process="user"}`
	maxFDs   = `process_max_fds{process="user"}`
)

// with is seen and one more series.
func with(seen map[string]string, series, values string) map[string]string {
	seen[series] = values
	return seen
}

var signs = []sign{
	{"APIFaultsBurnFast", "two percent fail", true, api(100, 2, 0)},
	{"APIFaultsBurnFast", "all fail, from the beginning", true,
		one(`backbeat_gateway_request_duration_seconds_count{route="/douyin/feed/",code="50000",status="200"}`, "0+10x200")},
	{"APIFaultsBurnFast", "half a percent fails", false, api(1000, 5, 0)},
	{"APIFaultsBurnFast", "all failed, and it is over", false, over()},
	{"APIFaultsBurnSlow", "half a percent fails", true, api(1000, 5, 0)},
	{"APIFaultsBurnSlow", "as many fail as may", false, api(2000, 1, 0)},
	{"APISlownessBurnFast", "a fifth is slow", true, api(100, 0, 20)},
	{"APISlownessBurnFast", "five percent are slow", false, api(100, 0, 5)},
	{"APISlownessBurnSlow", "five percent are slow", true, api(100, 0, 5)},
	{"APISlownessBurnSlow", "few are slow", false, api(1000, 0, 5)},
	{"RoleDown", "both instances are gone", true, two(`up{job="backbeat",process="user",instance="a"}`, "0x200", `up{job="backbeat",process="user",instance="b"}`, "0x200")},
	{"RoleDown", "one of two is gone", false, two(`up{job="backbeat",process="user",instance="a"}`, "0x200", `up{job="backbeat",process="user",instance="b"}`, "1x200")},
	{"InstanceDown", "one of two is gone", true, two(`up{job="backbeat",process="user",instance="a"}`, "0x200", `up{job="backbeat",process="user",instance="b"}`, "1x200")},
	{"InstanceDown", "a single scrape failed", false, one(`up{job="etcd",process="etcd"}`, "1x198 0 1")},
	{"KeepsRestarting", "each minute", true, one(`process_start_time_seconds{process="user"}`, "0+15x200")},
	{"KeepsRestarting", "once", false, one(`process_start_time_seconds{process="user"}`, "1x190 5x10")},
	{"DependencyDown", "away", true, one(database, "0x200")},
	{"DependencyDown", "away for a moment", false, one(database, "1x197 0x3")},
	{"ProcessorFull", "nearly two of two", true, two(cpu, "0+29x200", procs, "2x200")},
	{"ProcessorFull", "one of two", false, two(cpu, "0+15x200", procs, "2x200")},
	{"MemoryNearLimit", "beyond it", true, two(resident, "120x200", memory, "100x200")},
	{"MemoryNearLimit", "half of it", false, two(resident, "50x200", memory, "100x200")},
	{"DescriptorsNearLimit", "nine of ten", true, two(fds, "90x200", maxFDs, "100x200")},
	{"DescriptorsNearLimit", "half", false, two(fds, "50x200", maxFDs, "100x200")},
	{"CircuitOpen", "open", true, one(open, "1x200")},
	{"CircuitOpen", "open now and then", false, one(open, "0 0 0 1 0 0 0 1x1 0x200")},
	{"ServiceFailing", "a tenth", true, two(called, "0+90x200", uncalled, "0+10x200")},
	{"ServiceFailing", "all, from the beginning", true, one(uncalled, "0+10x200")},
	{"ServiceFailing", "a hundredth", false, two(called, "0+99x200", uncalled, "0+1x200")},
	{"PagesDegraded", "a tenth", true, with(api(100, 0, 0), fallback, "0+10x200")},
	{"PagesDegraded", "a hundredth", false, with(api(100, 0, 0), fallback, "0+1x200")},
	{"Overloaded", "two a second", true, one(`backbeat_gateway_refusals_total{reason="concurrency"}`, "0+30x200")},
	{"Overloaded", "somebody sends too much", false, one(`backbeat_gateway_refusals_total{reason="user"}`, "0+30x200")},
	{"CommandOverloaded", "two a second", true, one(`backbeat_gateway_command_refusals_total{command="user.BatchGet"}`, "0+30x200")},
	{"CommandOverloaded", "hardly any", false, one(`backbeat_gateway_command_refusals_total{command="user.BatchGet"}`, "0+1x200")},
	{"LoginFlood", "two a second", true, one(`backbeat_gateway_refusals_total{reason="login"}`, "0+30x200")},
	{"LoginFlood", "somebody forgot theirs", false, one(`backbeat_gateway_refusals_total{reason="login"}`, "0x100 5x100")},
	{"QueueGrowing", "more and more", true, one(waiting, "0+10x200")},
	{"QueueGrowing", "many, but less and less", false, one(waiting, "9000-10x200")},
	{"QueueNotDrained", "nobody takes", true, two(waiting, "5x200", consumed, "7x200")},
	{"QueueNotDrained", "nobody ever took", true, one(waiting, "5x200")},
	{"QueueNotDrained", "somebody takes", false, two(waiting, "5x200", consumed, "0+1x200")},
	{"DeadLetters", "one", true, one(`backbeat_queue_messages{queue="q",store="table",state="dead"}`, "1x200")},
	{"DeadLetters", "none", false, one(`backbeat_queue_messages{queue="q",store="table",state="dead"}`, "0x200")},
	{"Spooling", "some", true, one(`backbeat_queue_spooled_total{queue="q"}`, "0+1x200")},
	{"Spooling", "some, long ago", false, one(`backbeat_queue_spooled_total{queue="q"}`, "0+1x100 100x100")},
	{"SpoolNotDraining", "they stay", true, one(spooled, "3x200")},
	{"SpoolNotDraining", "they come and go", false, one(spooled, "3 0 3 0 3 0 3 0x5 3x10 0x5 3x10 0x200")},
	{"BrokerBlocks", "its disk is full", true, two(`rabbitmq_alarms_memory_used_watermark`, "0x200", `rabbitmq_alarms_free_disk_space_watermark`, "1x200")},
	{"BrokerBlocks", "neither", false, two(`rabbitmq_alarms_memory_used_watermark`, "0x200", `rabbitmq_alarms_free_disk_space_watermark`, "0x200")},
	{"VideosStuck", "for long", true, one(`backbeat_video_oldest_upload_age_seconds`, "0+15x200")},
	{"VideosStuck", "each for ten minutes", false, one(`backbeat_video_oldest_upload_age_seconds`, "600x200")},
	{"VideosFailing", "half", true, two(done, "0+1x200", failed, "0+1x200")},
	{"VideosFailing", "a tenth", false, two(done, "0+9x200", failed, "0+1x200")},
	{"DatabasePoolExhausted", "two wait", true, one(`go_sql_wait_duration_seconds_total{process="user",db_name="primary"}`, "0+30x200")},
	{"DatabasePoolExhausted", "hardly anybody", false, one(`go_sql_wait_duration_seconds_total{process="user",db_name="primary"}`, "0+1x200")},
	{"DatabaseFailing", "a tenth", true, two(stated, "0+90x200", unstated, "0+10x200")},
	{"DatabaseFailing", "a hundredth", false, two(stated, "0+99x200", unstated, "0+1x200")},
	{"ReplicaUnused", "passed over", true, one(copied, "0x200")},
	{"ReplicaUnused", "now and then", false, one(copied, "1x180 0 0 1 1 1 0 1 1 1 0 0 1 1 1 1 0 1 1 1")},
	{"CacheFailing", "a tenth", true, two(tripped, "0+90x200", broken, "0+10x200")},
	{"CacheFailing", "all, from the beginning", true, one(broken, "0+10x200")},
	{"CacheFailing", "a hundredth", false, two(tripped, "0+99x200", broken, "0+1x200")},
	{"ReadingFails", "never", true, one(`backbeat_reading_up{process="video",name="video_uploads"}`, "0x200")},
	{"ReadingFails", "now and then", false, one(`backbeat_reading_up{process="video",name="video_uploads"}`, "1x180 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1")},
	{"ScrapeSlow", "four seconds", true, one(`scrape_duration_seconds{process="user"}`, "4x200")},
	{"ScrapeSlow", "a moment", false, one(`scrape_duration_seconds{process="user"}`, "0.01x200")},
	{"RulesFail", "some", true, one(`prometheus_rule_evaluation_failures_total{rule_group="queues"}`, "0+1x200")},
	{"RulesFail", "none", false, one(`prometheus_rule_evaluation_failures_total{rule_group="queues"}`, "3x200")},
	{"ConfigurationRefused", "refused", true, one(`prometheus_config_last_reload_successful`, "0x200")},
	{"ConfigurationRefused", "in force", false, one(`prometheus_config_last_reload_successful`, "1x200")},
}

// family is the name before a series' labels.
func family(series string) string {
	name, _, _ := strings.Cut(series, "{")
	return name
}

// together joins signs that have no family in common, and so do not touch each other:
// promtool takes a second or so for each test, whatever is in it.
func together(signs []sign) (groups [][]sign) {
	var families []map[string]bool
	for _, s := range signs {
		i := slices.IndexFunc(families, func(taken map[string]bool) bool {
			for series := range s.seen {
				if taken[family(series)] {
					return false
				}
			}
			return true
		})
		if i < 0 {
			i = len(groups)
			groups, families = append(groups, nil), append(families, map[string]bool{})
		}
		groups[i] = append(groups[i], s)
		for series := range s.seen {
			families[i][family(series)] = true
		}
	}
	return groups
}

// Every alert fires by its sign, in its own time, and not by what resembles it.
func TestAlertsFireByTheirSigns(t *testing.T) {
	alerts, err := filepath.Abs(filepath.Join(deploy, "prometheus/alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	covered := map[string]map[bool]bool{}
	var tests []any
	for _, group := range together(signs) {
		var input, expected []any
		var names []string
		for _, s := range group {
			if covered[s.alert] == nil {
				covered[s.alert] = map[bool]bool{}
			}
			covered[s.alert][s.fires] = true
			for series, values := range s.seen {
				input = append(input, map[string]string{"series": series, "values": values})
			}
			names = append(names, s.alert+": "+s.name)
			expected = append(expected, map[string]any{
				"expr":      fmt.Sprintf(`max(ALERTS{alertname=%q,alertstate="firing"}) or vector(0)`, s.alert),
				"eval_time": "50m", "exp_samples": []any{map[string]any{"labels": "{}", "value": map[bool]int{true: 1}[s.fires]}},
			})
		}
		tests = append(tests, map[string]any{
			"name": strings.Join(names, "; "), "interval": "15s", "input_series": input, "promql_expr_test": expected,
		})
	}
	for _, r := range rules(t) {
		if r.Alert != "" && len(covered[r.Alert]) != 2 {
			t.Errorf("%s lacks a sign by which it fires or one by which it does not", r.Alert)
		}
		delete(covered, r.Alert)
	}
	for alert := range covered {
		t.Errorf("there is no alert %s", alert)
	}
	written, err := json.Marshal(map[string]any{"rule_files": []string{alerts}, "evaluation_interval": "1m", "tests": tests})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(harness.Folder(t), "signs.yml")
	if err := os.WriteFile(path, written, 0o644); err != nil {
		t.Fatal(err)
	}
	promtool(t, "test", "rules", path)
}
