package ship

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opentracing/opentracing-go"
	"go.yaml.in/yaml/v3"

	"backbeat/app/favorite"
	"backbeat/deploy/local"
	"backbeat/mq"
	"backbeat/test/harness"
)

// dashboard is what is looked at of a file in deploy/grafana/dashboards.
type dashboard struct {
	UID, Title, Description string
	Templating              struct {
		List []struct{ Name, Definition string }
	}
	Panels []panel
}

type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	Datasource               struct{ UID string }
	FieldConfig              struct {
		Defaults struct {
			Unit       string
			Thresholds *struct{ Steps []json.RawMessage }
		}
	}
	Targets []struct {
		Expr     string
		Exemplar bool
	}
}

// dashboards returns them by the names of their files.
func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(deploy, "grafana/dashboards/*"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("there are %d dashboards (%v)", len(paths), err)
	}
	all := map[string]dashboard{}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(content, &d); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all[strings.TrimSuffix(filepath.Base(path), ".json")] = d
	}
	return all
}

// ruleFile is alerts.yml.
type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []rule
	}
}

type rule struct {
	Record, Alert, Expr string
	Labels, Annotations map[string]string
}

func rules(t *testing.T) (all []rule) {
	t.Helper()
	var read ruleFile
	if err := yaml.Unmarshal([]byte(file(t, "prometheus/alerts.yml")), &read); err != nil {
		t.Fatal(err)
	}
	for _, group := range read.Groups {
		all = append(all, group.Rules...)
	}
	return all
}

// What each file of those who watch says of another one.
func TestWatchingFilesAgree(t *testing.T) {
	project := compose(t)
	mounted := map[string]string{}
	for _, name := range []string{"grafana", "prometheus"} {
		for _, volume := range project.Services[name].Volumes {
			mounted[volume.Target] = filepath.Base(filepath.Dir(volume.Source)) + "/" + filepath.Base(volume.Source)
		}
	}
	var provider struct {
		Providers []struct{ Options struct{ Path string } }
	}
	if err := yaml.Unmarshal([]byte(file(t, "grafana/provisioning/dashboards/backbeat.yaml")), &provider); err != nil {
		t.Fatal(err)
	}
	equal(t, "the folder of dashboards", mounted[provider.Providers[0].Options.Path], "grafana/dashboards")
	equal(t, "the folder of provisioning", mounted["/etc/grafana/provisioning"], "grafana/provisioning")
	equal(t, "the folder of rules", mounted["/etc/prometheus"], "deploy/prometheus")
	if !slices.Contains(project.Services["prometheus"].Command, "--enable-feature=exemplar-storage") {
		t.Error("Prometheus drops exemplars")
	}

	var config struct {
		RuleFiles []string `yaml:"rule_files"`
		Jobs      []struct {
			Name   string `yaml:"job_name"`
			Static []struct {
				Targets []string
				Labels  map[string]string
			} `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(file(t, "prometheus/prometheus.yml")), &config); err != nil {
		t.Fatal(err)
	}
	equal(t, "rule_files", strings.Join(config.RuleFiles, " "), "alerts.yml")
	for _, job := range config.Jobs {
		for _, static := range job.Static {
			host, _, _ := strings.Cut(static.Targets[0], ":")
			if _, started := project.Services[host]; !started || len(static.Targets) != 1 {
				t.Errorf("job %s asks %v, of which compose.yaml starts no service", job.Name, static.Targets)
			}
			equal(t, "the label process of "+host, static.Labels["process"], host)
		}
	}

	var sources struct {
		Datasources []struct {
			UID  string
			URL  string
			JSON struct {
				Exemplars []struct{ Name, DatasourceUID string } `yaml:"exemplarTraceIdDestinations"`
			} `yaml:"jsonData"`
		}
	}
	if err := yaml.Unmarshal([]byte(file(t, "grafana/provisioning/datasources/backbeat.yaml")), &sources); err != nil {
		t.Fatal(err)
	}
	for _, source := range sources.Datasources {
		host, _, _ := strings.Cut(strings.TrimPrefix(source.URL, "http://"), ":")
		equal(t, "the data source at "+host, source.UID, host)
		if _, started := project.Services[host]; !started {
			t.Errorf("compose.yaml does not start %s", host)
		}
	}
}

// Dashboards have what makes them readable, and no two panels lie on each other.
func TestDashboardsAreComplete(t *testing.T) {
	for name, d := range dashboards(t) {
		t.Run(name, func(t *testing.T) {
			equal(t, "uid", d.UID, "backbeat-"+name)
			if d.Description == "" {
				t.Error("it does not say what it answers")
			}
			ids, taken := map[int]bool{}, map[[2]int]string{}
			for _, p := range d.Panels {
				if ids[p.ID] {
					t.Errorf("%s: id %d is another's", p.Title, p.ID)
				}
				ids[p.ID] = true
				for x := range p.GridPos.W {
					for y := range p.GridPos.H {
						at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
						if at[0] >= 24 || taken[at] != "" {
							t.Fatalf("%s lies on %q or beyond the edge", p.Title, taken[at])
						}
						taken[at] = p.Title
					}
				}
				if p.Type == "row" {
					continue
				}
				if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || p.Datasource.UID != "prometheus" || len(p.Targets) == 0 {
					t.Errorf("panel %d, %q, lacks a title, a description, a unit, its data source or a query", p.ID, p.Title)
				}
				if p.Type == "state-timeline" && p.FieldConfig.Defaults.Thresholds == nil {
					t.Errorf("%s has no thresholds, which colour it", p.Title)
				}
				for _, query := range p.Targets {
					if histogram := strings.Contains(query.Expr, "histogram_quantile"); histogram != query.Exemplar {
						t.Errorf("%s: exemplars are on: %t, of a histogram: %t", p.Title, query.Exemplar, histogram)
					}
				}
			}
		})
	}
}

// Every alert says what whoever it wakes needs, and has a page; every page has alerts.
func TestAlertsHaveRunbooks(t *testing.T) {
	pages := map[string]bool{}
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		for _, annotation := range []string{"summary", "description", "runbook_url"} {
			if r.Annotations[annotation] == "" {
				t.Errorf("%s has no %s", r.Alert, annotation)
			}
		}
		if severity := r.Labels["severity"]; severity != "page" && severity != "ticket" {
			t.Errorf("%s has severity %q", r.Alert, severity)
		}
		path := r.Annotations["runbook_url"]
		page, err := os.ReadFile(filepath.Join(deploy, "..", path))
		if err != nil {
			t.Errorf("%s: %v", r.Alert, err)
		}
		if !strings.Contains(string(page), r.Alert) {
			t.Errorf("%s does not speak of %s", path, r.Alert)
		}
		for _, heading := range []string{"\n## What it means\n", "\n## How to look\n", "\n## How to mend\n"} {
			if !strings.Contains(string(page), heading) {
				t.Errorf("%s has no %q", path, heading)
			}
		}
		pages[filepath.Base(path)] = true
	}
	written, err := filepath.Glob(filepath.Join(deploy, "runbooks/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range written {
		if !pages[filepath.Base(path)] {
			t.Errorf("%s belongs to no alert", path)
		}
	}
}

// watched is a cluster that is used, and a Prometheus that watches it.
type watched struct {
	*local.Cluster
	prometheus
	databases harness.Replicated
}

// newWatched starts both and uses the cluster until the test ends.
func newWatched(t *testing.T) watched {
	t.Helper()
	program, err := harness.Program()
	if err != nil {
		t.Fatal(err)
	}
	databases := harness.Replications()[0].Start(t)
	// Budgets for a machine that runs all of this at once; and every trace is sampled.
	env := []string{
		"BACKBEAT_DB_DSN=" + databases.Primary.URL, "BACKBEAT_DB_REPLICAS=" + databases.Replica.URL, "BACKBEAT_DB_REPLICA_LAG=5s",
		"BACKBEAT_RPC_READ_BUDGET=3s", "BACKBEAT_RPC_WRITE_BUDGET=5s",
		"BACKBEAT_JAEGER_SAMPLER=const", "BACKBEAT_JAEGER_SAMPLER_PARAM=1",
	}
	cluster, err := local.StartCluster(t.Context(), harness.Folder(t), local.ClusterOptions{Program: program, Instances: 1, Env: env})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, part := range slices.Backward(cluster.Parts) {
			if err := harness.End(part); err != nil {
				t.Error(err)
			}
		}
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	at := map[string]*local.Server{}
	for _, part := range cluster.Parts {
		at[strings.TrimSuffix(part.Name, "-1")] = part
	}
	for _, server := range cluster.Servers {
		at[server.Name] = server
	}
	w := watched{cluster, startPrometheus(t, at), databases}
	w.use(t)
	return w
}

// use does everything the app can, again and again until the test ends, whatever is
// answered.
func (w watched) use(t *testing.T) {
	t.Helper()
	app := harness.NewApp(w.Base)
	author, fan := app.Register(t), app.Register(t)
	clip := harness.Clip(t, harness.ClipOptions{Seconds: 1})
	video := app.PublishAndAwait(t, author, clip, "first")
	content, err := os.ReadFile(clip)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(harness.Clip(t, harness.ClipOptions{Codec: "vp9", Seconds: 1})) // has to be transcoded
	if err != nil {
		t.Fatal(err)
	}
	upload := func(name string, content []byte) func() error {
		return func() error {
			_, err := app.Upload(harness.NewForm().File("data", name, content).Field("token", fan.Token).Field("title", name))
			return err
		}
	}
	get := func(path string, pairs ...any) func() error {
		return func() error {
			_, err := app.Try(http.MethodGet, path, harness.Query(append(pairs, "token", fan.Token)...))
			return err
		}
	}
	post := func(path string, pairs ...any) func() error {
		return func() error {
			_, err := app.Try(http.MethodPost, path, harness.Query(append(pairs, "token", fan.Token)...))
			return err
		}
	}
	often := []func() error{
		get("/douyin/feed/"), get("/douyin/user/", "user_id", author.ID), get("/douyin/publish/list/", "user_id", author.ID),
		get("/douyin/comment/list/", "video_id", video.ID), get("/douyin/favorite/list/", "user_id", fan.ID),
		get("/douyin/relation/follow/list/", "user_id", fan.ID), get("/douyin/relation/friend/list/", "user_id", fan.ID),
		get("/douyin/message/chat/", "to_user_id", author.ID),
		post("/douyin/favorite/action/", "video_id", video.ID, "action_type", 1), post("/douyin/favorite/action/", "video_id", video.ID, "action_type", 2),
		post("/douyin/comment/action/", "video_id", video.ID, "action_type", 1, "comment_text", "好"),
		post("/douyin/comment/action/", "video_id", 1, "action_type", 1, "comment_text", "of nothing"),
		post("/douyin/relation/action/", "to_user_id", author.ID, "action_type", 1),
		post("/douyin/message/action/", "to_user_id", author.ID, "action_type", 1, "content", "hi"),
		func() error {
			answer, err := app.HTTP.Get(video.PlayURL)
			if err == nil {
				err = answer.Body.Close()
			}
			return err
		},
	}
	seldom := []func() error{
		upload("clip.mp4", content), upload("clip.webm", foreign), upload("broken.mp4", content[:len(content)/2]),
		post("/douyin/user/login/", "username", fan.Name, "password", fan.Password),
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var using sync.WaitGroup
	repeat := func(every time.Duration, acts []func() error) {
		using.Go(func() {
			ticker := time.NewTicker(every)
			defer ticker.Stop()
			for n := 0; ; n++ {
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
					_ = acts[n%len(acts)]() // answers are nobody's concern here
				}
			}
		})
	}
	repeat(15*time.Millisecond, often)
	repeat(time.Second, seldom) // a slow machine keeps up with the transcoding
	t.Cleanup(func() { cancel(); using.Wait() })
}

// comparison is one with a number, as alerts end in.
var comparison = regexp.MustCompile(` (==|!=|<=|>=|<|>) [\d.]+( \* [\d.]+)?`)

// A cluster under load answers every query of every dashboard and every rule; nothing
// fires while it is well, and what should does when it is hurt.
func TestWatching(t *testing.T) {
	promtool(t, "check", "config", filepath.Join(deploy, "prometheus/prometheus.yml"))
	w := newWatched(t)
	w.answers(t)
	t.Run("nothing goes on firing in health", func(t *testing.T) {
		harness.Eventually(t, time.Minute, func() error {
			firing, err := w.firing()
			for name := range firing {
				if !strings.HasPrefix(name, "APISlowness") && name != "ProcessorFull" { // this machine may be busy
					err = errors.Join(err, fmt.Errorf("%s fires", name))
				}
			}
			return err
		}, "no alert")
	})
	for _, row := range faults {
		t.Run(row.name, func(t *testing.T) {
			row.hurt(t, w)
			harness.Eventually(t, time.Minute, func() error {
				firing, err := w.firing()
				for _, alert := range row.fires {
					if !firing[alert] {
						err = errors.Join(err, fmt.Errorf("%s does not fire", alert))
					}
				}
				return err
			}, "alerts")
		})
	}
}

// faults are what the cluster is hurt by, one after the other, and what fires then.
var faults = []struct {
	name  string
	hurt  func(*testing.T, watched)
	fires []string
}{
	{"a message that nobody understands", poison, []string{"DeadLetters"}},
	{"comment is killed", func(t *testing.T, w watched) { kill(t, w.Part("comment-1")) },
		[]string{"RoleDown", "InstanceDown", "CircuitOpen", "ServiceFailing", "PagesDegraded", "APIFaultsBurnFast"}},
	{"RabbitMQ is killed", func(t *testing.T, w watched) { kill(t, w.server("rabbitmq")) },
		[]string{"DependencyDown", "Spooling", "ReadingFails"}},
	{"the replica is killed", func(t *testing.T, w watched) { kill(t, w.databases.Replica) }, []string{"ReplicaUnused"}},
	{"Redis is killed", func(t *testing.T, w watched) { kill(t, w.server("redis")) }, []string{"CacheFailing"}},
}

func (w watched) server(name string) *local.Server {
	return w.Servers[slices.IndexFunc(w.Servers, func(s *local.Server) bool { return s.Name == name })]
}

func kill(t *testing.T, s *local.Server) {
	t.Helper()
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
}

// poison puts a message of no known type among the likes.
func poison(t *testing.T, w watched) {
	broker, err := mq.NewRabbit(mq.RabbitConfig{URL: w.server("rabbitmq").URL, Confirm: 5 * time.Second},
		mq.Deps{Tracer: opentracing.NoopTracer{}, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	}()
	harness.Eventually(t, 10*time.Second, func() error {
		return broker.Publish(t.Context(), favorite.Queue, mq.Message{ID: rand.Text(), Type: "nonsense/1"})
	}, "publishing nonsense")
}

// question is one query and where it stands.
type question struct {
	where string
	ask   func() error
}

// answers asks everything that dashboards and rules ask until there is an answer.
func (w watched) answers(t *testing.T) {
	t.Helper()
	var open []question
	for name, d := range dashboards(t) {
		for _, p := range d.Panels {
			where := name + "/" + p.Title
			for _, query := range p.Targets {
				open = append(open, question{where + ": " + query.Expr, func() error {
					return w.anyOf(d, query.Expr, w.query)
				}})
				if query.Exemplar {
					open = append(open, question{where + ", exemplars: " + query.Expr, func() error {
						return w.anyOf(d, query.Expr, w.exemplars)
					}})
				}
			}
		}
	}
	for _, r := range rules(t) {
		expr := sooner(comparison.ReplaceAllString(r.Expr, ""))
		if r.Alert != "" && (expr == r.Expr || strings.ContainsAny(expr, "<>")) {
			t.Errorf("%s does not end in comparisons with numbers: %s", r.Alert, expr)
		}
		open = append(open, question{r.Alert + r.Record + ": " + expr, func() error { return w.query(expr) }})
	}
	asked := len(open)
	harness.Eventually(t, 40*time.Second, func() error {
		var faults []error
		open = slices.DeleteFunc(open, func(q question) bool {
			err := q.ask()
			if err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", q.where, err))
			}
			return err == nil
		})
		return errors.Join(faults...)
	}, "an answer to every query")
	fmt.Printf("%d queries of dashboards and rules answered by Prometheus\n", asked)
}

var labelValues = regexp.MustCompile(`^label_values\((.+), ([a-z]+)\)$`)

// anyOf asks a dashboard's expression for each value of its variables, and returns nil
// if one of them has an answer: not every service asks every server.
func (w watched) anyOf(d dashboard, expr string, ask func(string) error) error {
	exprs := []string{strings.ReplaceAll(expr, "$__rate_interval", leastWindow.String())}
	for _, variable := range d.Templating.List {
		definition := labelValues.FindStringSubmatch(variable.Definition)
		if definition == nil {
			return fmt.Errorf("the variable %s is defined by %q", variable.Name, variable.Definition)
		}
		values, err := w.values(definition[2], definition[1])
		if err != nil || len(values) == 0 {
			return errors.Join(err, fmt.Errorf("the variable %s has %d values", variable.Name, len(values)))
		}
		var each []string
		for _, value := range values {
			for _, expr := range exprs {
				each = append(each, strings.ReplaceAll(expr, "$"+variable.Name, value))
			}
		}
		exprs = each
	}
	var faults []error
	for _, expr := range exprs {
		err := ask(expr)
		if err == nil {
			return nil
		}
		faults = append(faults, err)
	}
	return faults[0]
}
