// Package e2e drives the whole system over HTTP, as the app does, in both modes:
// embedded in one process, and as a cluster of separate processes on real servers
// with two instances of each service. Every test runs against both and must not
// mind what others do there.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"backbeat/deploy/local"
	"backbeat/test/harness"
)

// world is one running Backbeat.
type world struct {
	*harness.App
	mode    string
	cluster *local.Cluster // nil when embedded
	parts   []*local.Server
}

var worlds []*world

// patience is for a machine that runs two dozen processes under -race: what is
// tested here is what is answered, not how soon. And every trace is looked at.
var patience = []string{
	"BACKBEAT_RPC_READ_BUDGET=3s", "BACKBEAT_RPC_WRITE_BUDGET=5s",
	"BACKBEAT_JAEGER_SAMPLER=const", "BACKBEAT_JAEGER_SAMPLER_PARAM=1",
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	program, err := harness.Program()
	if err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "backbeat-e2e-")
	if err != nil {
		return 1, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	embedded, err := local.StartEmbedded(ctx, filepath.Join(dir, "embedded"), program, patience, local.Options{})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, harness.End(embedded)) }()
	cluster, err := local.StartCluster(ctx, filepath.Join(dir, "cluster"), local.ClusterOptions{Program: program, Instances: 2, Env: patience})
	if err != nil {
		return 1, err
	}
	defer func() {
		for _, part := range cluster.Parts {
			err = errors.Join(err, harness.End(part))
		}
		err = errors.Join(err, cluster.Stop())
	}()
	worlds = []*world{
		{App: harness.NewApp(embedded.URL), mode: "embedded", parts: []*local.Server{embedded}},
		{App: harness.NewApp(cluster.Base), mode: "cluster", cluster: cluster, parts: cluster.Parts},
	}
	return m.Run(), nil
}

// each runs the test in both modes.
func each(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	for _, w := range worlds {
		t.Run(w.mode, func(t *testing.T) {
			t.Parallel()
			test(t, w)
		})
	}
}

// soon waits for what follows a write within a second (DESIGN §5, promise 3),
// with patience for a machine that does everything at once under -race.
func soon(t *testing.T, what string, probe func() error) {
	t.Helper()
	harness.Eventually(t, 20*time.Second, probe, what)
}

// video returns a published video by an author of its own.
func (w *world) video(t *testing.T) (harness.Account, harness.Video) {
	t.Helper()
	author := w.Register(t)
	return author, w.PublishAndAwait(t, author, harness.Clip(t, harness.ClipOptions{Seconds: 1}), "作品 "+author.Name[:8])
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}
