// Package e2e drives the whole system over HTTP, as the app does, in both modes:
// embedded in one process, and as a cluster of separate processes on real servers
// with two instances of each service and a replica of the database that is late. Every test runs against both and must not
// mind what others do there. Every answer is held against idl/openapi.yaml. Tests that
// a reverse proxy could spoil run once more against the cluster behind nginx, with the
// configuration that deploy/ ships.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	// The program that these tests run is built of this: without it go test would show,
	// from its cache, how they went with another one.
	_ "backbeat/app/command"
	"backbeat/deploy/local"
	"backbeat/test/contract"
	"backbeat/test/harness"
)

// world is one running Backbeat.
type world struct {
	*harness.App
	mode    string
	cluster *local.Cluster // nil when embedded
	parts   []*local.Server
}

// worlds are the two modes; behindNginx is the second one with nginx in front.
var (
	worlds      []*world
	behindNginx *world
)

// databases are the cluster's: what may be late comes from a replica that applies
// everything a second after it was committed, so that no test passes by luck which needs
// to see a write.
var databases harness.Replicated

// checked holds every answer against the OpenAPI document.
var checked *contract.Transport

// strangers are parameters that no operation has; tests send them to see that nobody
// heeds them.
var strangers = []string{"actor_id", "viewer_id", "from_user_id", "uid", "x", "[]", ""}

// newApp returns an app whose every answer is checked.
func newApp(base string) *harness.App {
	app := harness.NewApp(base)
	app.HTTP.Transport = checked
	return app
}

// patience is for a machine that runs two dozen processes under -race: what is
// tested here is what is answered, not how soon. And every trace is looked at.
var patience = []string{
	"BACKBEAT_RPC_READ_BUDGET=3s", "BACKBEAT_RPC_WRITE_BUDGET=5s",
	"BACKBEAT_JAEGER_SAMPLER=const", "BACKBEAT_JAEGER_SAMPLER_PARAM=1",
}

// trusting makes a gateway believe the nginx of this machine.
const trusting = "BACKBEAT_HTTP_TRUSTED_PROXIES=127.0.0.1/32"

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
	document, err := contract.Load()
	if err != nil {
		return 1, err
	}
	checked = document.Transport(http.DefaultTransport, strangers...)
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
	if databases, err = harness.StartReplicatedMariaDB(ctx, filepath.Join(dir, "databases")); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, databases.Kill()) }()
	if err := errors.Join(databases.Delay(ctx, 1), databases.Watch(ctx)); err != nil {
		return 1, err
	}
	cluster, err := local.StartCluster(ctx, filepath.Join(dir, "cluster"), local.ClusterOptions{Program: program, Instances: 2, Env: slices.Concat(patience, []string{
		"BACKBEAT_DB_DSN=" + databases.Primary.URL, "BACKBEAT_DB_REPLICAS=" + databases.Replica.URL, "BACKBEAT_DB_REPLICA_LAG=5s",
	})})
	if err != nil {
		return 1, err
	}
	defer func() {
		for _, part := range cluster.Parts {
			err = errors.Join(err, harness.End(part))
		}
		err = errors.Join(err, cluster.Stop())
	}()
	// Its own gateway stands behind nginx: the other one believes nobody.
	proxied, err := cluster.StartPart(ctx, filepath.Join(dir, "cluster", "gateway-2"), "gateway-2", program,
		[]string{"BACKBEAT_HTTP_LISTEN=127.0.0.1:0", trusting}, local.Options{})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, harness.End(proxied)) }()
	nginx, err := local.StartNginx(ctx, filepath.Join(dir, "nginx"), proxied.Addr, local.Options{})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, nginx.Stop()) }()
	worlds = []*world{
		{App: newApp(embedded.URL), mode: "embedded", parts: []*local.Server{embedded}},
		{App: newApp(cluster.Base), mode: "cluster", cluster: cluster, parts: cluster.Parts},
	}
	behindNginx = &world{App: harness.NewApp(nginx.URL), mode: "nginx", cluster: cluster, parts: append(slices.Clone(cluster.Parts), proxied)}
	code = m.Run()
	fmt.Printf("%d answers held against idl/openapi.yaml\n", checked.Checked())
	if err := errors.Join(errors.Join(checked.Breaches()...), onlyLateReads(ctx)); err != nil {
		return 1, err
	}
	return code, nil
}

// each runs the test in both modes.
func each(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	in(t, worlds, test)
}

// eachAndNginx runs it behind nginx too.
func eachAndNginx(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	in(t, append(slices.Clone(worlds), behindNginx), test)
}

func in(t *testing.T, worlds []*world, test func(t *testing.T, w *world)) {
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

// operate runs the program as the cluster's operator and returns what it prints.
func (w *world) operate(ctx context.Context, t *testing.T, args ...string) string {
	t.Helper()
	program, err := harness.Program()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(ctx, program, args...)
	command.Env = w.cluster.Env
	said, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	return string(said)
}
