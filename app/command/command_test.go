package command

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opentracing/opentracing-go"

	"backbeat/app/favorite"
	"backbeat/model"
	"backbeat/mq"
	"backbeat/test/harness"
)

func execute(t *testing.T, environ []string, args ...string) (string, error) {
	t.Helper()
	var out, errOut bytes.Buffer
	err := Execute(t.Context(), args, environ, &out, &errOut)
	return out.String() + errOut.String(), err
}

func TestCommands(t *testing.T) {
	for _, row := range []struct {
		name    string
		environ []string
		args    []string
		shows   string
		fails   string
	}{
		{"help", nil, []string{"help"}, "favorite-worker", ""},
		{"nothing", nil, nil, "commands:", ""},
		{"unknown role", nil, []string{"gatway"}, "", `no role "gatway"`},
		{"sound configuration", nil, []string{"config", "check"}, "sound", ""},
		{"all faults", []string{"BACKBEAT_HTTP_LISTEN=x", "BACKBEAT_LOG_LEVEL=loud"}, []string{"config", "check"}, "", "log.level"},
		{"masked", []string{"BACKBEAT_REDIS_PASSWORD=hush"}, []string{"config", "show"}, "******", ""},
		{"config of nothing", nil, []string{"config"}, "", "config takes"},
		{"run with arguments", nil, []string{"run", "user"}, "", "takes no arguments"},
		{"dead without a verb", nil, []string{"dead"}, "", "dead takes"},
		{"a role named like a command", nil, []string{"user"}, "", "role user runs apart"},
		{"two of them", nil, []string{"video", "user"}, "", "role video runs apart"},
		{"user without a name", nil, []string{"user", "show"}, "", "user takes"},
		{"video without an id", nil, []string{"video", "hide"}, "", "video takes"},
		{"video of no number", nil, []string{"video", "hide", "x"}, "", "no id"},
		{"doctor with an argument", nil, []string{"doctor", "now"}, "", "doctor -help"},
		{"snapshot to nowhere", nil, []string{"snapshot"}, "", "snapshot takes"},
		{"demo without users", nil, []string{"demo", "-users", "0"}, "", "-users"},
		{"demo against nobody", nil, []string{"demo", "-url", "http://127.0.0.1:1"}, "", "does not answer"},
		{"version", nil, []string{"version"}, "backbeat", ""},
		{"missing file", nil, []string{"-config", "/nonexistent.yaml", "config", "check"}, "", "nonexistent"},
	} {
		t.Run(row.name, func(t *testing.T) {
			shown, err := execute(t, row.environ, row.args...)
			if (err != nil) != (row.fails != "") || err != nil && !strings.Contains(err.Error(), row.fails) {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(shown, row.shows) || strings.Contains(shown, "hush") {
				t.Errorf("got %s", shown)
			}
		})
	}
}

// A message that can never be applied is listed, shown and put back.
func TestDead(t *testing.T) {
	dir := t.TempDir()
	environ := []string{"BACKBEAT_DATA_DIR=" + dir}
	db, err := model.Open(t.Context(), "sqlite:"+filepath.Join(dir, "backbeat.db"), 1, harness.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := model.Migrate(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	table := mq.NewTable(db, mq.Deps{Tracer: opentracing.NoopTracer{}, Log: harness.Logger(t), Now: time.Now})
	bury := func() {
		ctx, cancel := context.WithCancel(t.Context())
		worker := favorite.NewWorker(favorite.WorkerDeps{DB: db, Queue: table, Pending: favorite.NewMemoryPending(time.Now), Log: harness.Logger(t)})
		ended := make(chan error, 1)
		go func() { ended <- worker.Run(ctx) }()
		harness.Eventually(t, 20*time.Second, func() error {
			dead, err := table.Dead(t.Context(), favorite.Queue, 10)
			if err == nil && len(dead) != 1 {
				err = errors.New("not dead yet")
			}
			return err
		}, "burying the message")
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if err := table.Publish(t.Context(), favorite.Queue, mq.Message{ID: "poison-1", Type: "favorite.write/99", Body: []byte("坏")}); err != nil {
		t.Fatal(err)
	}
	bury()
	for _, row := range []struct {
		name  string
		args  []string
		shows string
		fails string
	}{
		{"list", []string{"dead", "list"}, "poison-1", ""},
		{"show", []string{"dead", "show", "poison-1"}, `"坏"`, ""},
		{"show an unknown one", []string{"dead", "show", "poison-2"}, "", "poison-2"},
		{"replay an unknown one", []string{"dead", "replay", "poison-2"}, "", "poison-2"},
		{"replay", []string{"dead", "replay", "poison-1"}, "back in favorite.write", ""},
		{"list after the replay", []string{"dead", "list"}, "0 dead", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			shown, err := execute(t, environ, row.args...)
			if (err != nil) != (row.fails != "") || err != nil && !strings.Contains(err.Error(), row.fails) {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(shown, row.shows) {
				t.Errorf("got %s", shown)
			}
		})
	}
	bury() // it was really put back
}

func TestReachable(t *testing.T) {
	for _, row := range []struct{ name, address, want string }{
		{"a host", "192.168.1.7:8080", "192.168.1.7"},
		{"a name", "video.example.org:80", "video.example.org"},
		{"loopback", "127.0.0.1:8080", "127.0.0.1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := reachable(row.address); got != row.want {
				t.Errorf("got %s", got)
			}
		})
	}
	if reachable("[::]:8080") == "::" {
		t.Error("nobody can type [::]")
	}
}
