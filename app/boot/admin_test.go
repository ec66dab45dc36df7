package boot

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"backbeat/config"
	"backbeat/test/harness"
)

// operated runs everything in this process, with an open admin port, and returns
// the addresses of that and of the gateway.
func operated(t *testing.T, change func(*config.Config)) (admin, gateway string) {
	t.Helper()
	cfg := config.Default()
	cfg.Data.Dir, cfg.HTTP.Listen, cfg.Admin.Listen = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0"
	change(cfg)
	said := &harness.Buffer{}
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- Run(ctx, Process{Config: cfg, Log: slog.New(slog.NewTextHandler(said, nil)), Level: new(slog.LevelVar)}, nil, func(parts []Part) {
			ready <- parts[len(parts)-1].Address
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case gateway = <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	found := regexp.MustCompile(`msg="metrics and profiles" address=(\S+)`).FindStringSubmatch(said.String())
	if found == nil {
		t.Fatal("it does not say where the admin port is")
	}
	return "http://" + found[1], "http://" + gateway
}

func fetch(t *testing.T, url string) (status int, body string) {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(content)
}

// needs returns what /readyz says of each role's needs.
func needs(t *testing.T, admin string) (status int, of map[string]map[string]string) {
	t.Helper()
	start := time.Now()
	status, body := fetch(t, admin+"/readyz")
	if took := time.Since(start); took > 3*time.Second { // a third of that, on a machine with time
		t.Errorf("/readyz took %v", took)
	}
	var got struct {
		Roles []struct {
			Role  string
			Needs map[string]string
		}
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	of = map[string]map[string]string{}
	for _, r := range got.Roles {
		of[r.Role] = r.Needs
	}
	return status, of
}

// Each dependency is named with its fault, and only a vital one costs the readiness.
func TestReadyz(t *testing.T) {
	redis := harness.Redis(t)
	folder := filepath.Join(t.TempDir(), "media")
	admin, _ := operated(t, func(cfg *config.Config) { cfg.Redis.Addr, cfg.Media.Dir = redis.URL, folder })
	status, found := needs(t, admin)
	if status != http.StatusOK || len(found) != len(roles) {
		t.Fatalf("HTTP %d, %d roles", status, len(found))
	}
	for _, r := range roles {
		for _, n := range r.needs {
			if said := found[r.name][n.name]; said != "ok" {
				t.Errorf("%s: %s is %q", r.name, n.name, said)
			}
		}
	}
	if err := redis.Kill(); err != nil {
		t.Fatal(err)
	}
	status, found = needs(t, admin)
	if status != http.StatusOK || !strings.Contains(found["comment"]["shared-cache"], "refused") || !strings.Contains(found["favorite"]["pending-likes"], "refused") {
		t.Errorf("without Redis: HTTP %d, %v", status, found)
	}
	if said := found["comment"]["database"]; said != "ok" {
		t.Errorf("without Redis the database is %q", said)
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	status, found = needs(t, admin)
	if status != http.StatusServiceUnavailable || found["video-worker"]["media"] == "ok" {
		t.Errorf("without media: HTTP %d, %v", status, found)
	}
}

// What a process with every role shows after it has been used: all families are
// there, named as Prometheus asks, each with the role that counted.
func TestMetricsOfAProcess(t *testing.T) {
	admin, gateway := operated(t, func(*config.Config) {})
	app := harness.NewApp(gateway)
	alice := app.Register(t)
	clip := harness.Clip(t, harness.ClipOptions{})
	v := app.PublishAndAwait(t, alice, clip, "clip")
	if answer := app.Post(t, "/douyin/favorite/action/", "token", alice.Token, "video_id", v.ID, "action_type", 1); answer.StatusCode != 0 {
		t.Fatal(answer.Raw)
	}
	app.Get(t, "/douyin/comment/list/", "token", alice.Token, "video_id", v.ID)
	for name, least := range map[string]float64{
		`backbeat_gateway_request_duration_seconds_count{code="0",method="POST",role="gateway",route="/douyin/favorite/action/",status="200"}`: 1,
		`backbeat_rpc_client_duration_seconds_count{code="ok",method="Act",role="gateway",service="favorite"}`:                                 1,
		`backbeat_rpc_server_duration_seconds_count{code="ok",method="Act",role="favorite",service="favorite"}`:                                1,
		`backbeat_hystrix_events_total{command="favorite.Act",event="success",role="gateway"}`:                                                 1,
		`backbeat_queue_publish_duration_seconds_count{code="ok",queue="favorite.write",role="favorite",store="table"}`:                        1,
		`backbeat_queue_consumed_total{queue="favorite.write",role="favorite-worker",store="table"}`:                                           1,
		`backbeat_queue_consumed_total{queue="video.publish",role="video-worker",store="table"}`:                                               1,
		`backbeat_video_jobs_total{outcome="published",role="video-worker"}`:                                                                   1,
		`backbeat_sql_duration_seconds_count{code="ok",operation="insert",role="shared",table="videos"}`:                                       1,
		`backbeat_cache_misses_total{cache="comments",layer="process",role="comment"}`:                                                         1,
		`backbeat_cache_misses_total{cache="comment",layer="shared",role="shared"}`:                                                            1,
		`go_sql_open_connections{db_name="primary",role="shared"}`:                                                                             1,
		`backbeat_reading_up{name="video_uploads",role="video"}`:                                                                               1,
		`backbeat_dependency_up{dependency="database",role="shared"}`:                                                                          1,
		`go_goroutines`: 1,
		`backbeat_queue_messages{queue="favorite.write",role="shared",state="waiting",store="table"}`: 0,
		`backbeat_video_uploads{role="video",state="queued"}`:                                         0,
		`backbeat_video_oldest_upload_age_seconds{role="video"}`:                                      0,
	} {
		harness.Eventually(t, 30*time.Second, func() error {
			_, text := fetch(t, admin+"/metrics")
			if got, there := harness.ParseMetrics(t, text)[name]; !there || got < least {
				return fmt.Errorf("%v, there %t, want %v", got, there, least)
			}
			return nil
		}, name)
	}
	if _, text := fetch(t, admin+"/metrics"); strings.Contains(text, alice.Name) || strings.Contains(text, fmt.Sprint(alice.ID)) || strings.Contains(text, fmt.Sprint(v.ID)) {
		t.Error("a metric names somebody or something")
	}
}
