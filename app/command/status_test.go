package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/afex/hystrix-go/hystrix"
	microregistry "go-micro.dev/v4/registry"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"backbeat/app/boot"
	"backbeat/app/registry"
	"backbeat/app/status"
	"backbeat/test/harness"
)

// everything runs all roles in this process, with what it prints in the buffer that it
// returns, and how it is reached: the gateway and the admin port.
func everything(t *testing.T, environ ...string) (printed *harness.Buffer, gateway, admin string) {
	t.Helper()
	gateway, admin = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)), fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	environ = append(environ, "BACKBEAT_DATA_DIR="+t.TempDir(), "BACKBEAT_HTTP_LISTEN="+gateway, "BACKBEAT_ADMIN_LISTEN="+admin)
	printed = &harness.Buffer{}
	hystrix.Flush() // circuits that are older than a gateway are not among its metrics
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Execute(ctx, []string{"run"}, environ, printed, &harness.Buffer{}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	harness.Eventually(t, time.Minute, func() error {
		if !strings.Contains(printed.String(), "Ctrl-C") {
			return errors.New("not up yet")
		}
		return nil
	}, "starting everything")
	answer := harness.NewApp("http://"+gateway).Get(t, "/douyin/feed/") // so that there are circuits
	if answer.StatusCode != 0 {
		t.Fatal(answer.Raw)
	}
	return printed, gateway, admin
}

// line matches a row of a table.
func line(cells ...string) *regexp.Regexp {
	for n, cell := range cells {
		cells[n] = regexp.QuoteMeta(cell)
	}
	return regexp.MustCompile(`(?m)^` + strings.Join(cells, ` {2,}(\S+ {2,})*`) + `$`)
}

func TestStatusOfACluster(t *testing.T) {
	const lease = time.Minute
	etcd := harness.Etcd(t)
	environ := "BACKBEAT_ETCD_ENDPOINTS=" + etcd.URL
	if shown, err := execute(t, []string{environ}, "status"); err != nil || !strings.Contains(shown, "nothing is registered") {
		t.Errorf("of an empty etcd: %s, %v", shown, err)
	}
	// The leases outlast a moment in which nothing here gets its turn.
	printed, gateway, admin := everything(t, environ, "BACKBEAT_ETCD_LEASE="+lease.String())
	if !line("gateway", gateway, "HTTP: the app's API, media and the web page").MatchString(printed.String()) || strings.Contains(printed.String(), "\x1b") {
		t.Errorf("it starts with\n%s", printed)
	}

	// Beside what runs there are instances in every kind of trouble.
	hanging, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hanging.Close()
	sick := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			http.Error(w, "later", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"state": "serving", "roles": [{"role": "user", "ready": false, "needs": {"database": "refused", "discovery": "ok"}}]}`)
	}))
	defer sick.Close()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{etcd.URL}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	others := registry.NewEtcd(registry.Config{Prefix: "backbeat", Lease: lease}, registry.Deps{Client: client, Log: harness.Logger(t)})
	defer others.Close()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for address, about := range map[string]map[string]string{
		"10.0.0.1:1": {status.AdminKey: "127.0.0.1:1", status.HostKey: host},
		"10.0.0.2:1": {status.AdminKey: hanging.Addr().String(), status.HostKey: host},
		"10.0.0.3:1": {status.AdminKey: sick.Listener.Addr().String(), status.HostKey: host},
		"10.0.0.4:1": {},
		"10.0.0.5:1": {status.AdminKey: "127.0.0.1:9000", status.HostKey: "elsewhere"},
		"10.0.0.6:1": {status.AdminKey: "no address", status.HostKey: host},
	} {
		if err := others.Register(&microregistry.Service{Name: "user", Version: "v9", Nodes: []*microregistry.Node{{Id: address, Address: address, Metadata: about}}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := others.Register(&microregistry.Service{Name: "oracle", Version: "v9", Nodes: []*microregistry.Node{
		{Id: "o", Address: "10.0.0.7:1", Metadata: map[string]string{status.AdminKey: admin, status.HostKey: host}},
	}}); err != nil {
		t.Fatal(err)
	}

	start := time.Now()
	shown, err := execute(t, []string{environ}, "status")
	if took := time.Since(start); err != nil || took > 6*time.Second { // two, on a machine with time
		t.Errorf("after %v: %v", took, err)
	}
	for _, row := range []struct {
		name string
		want *regexp.Regexp
	}{
		{"titles", line("ROLE", "ADDRESS", "VERSION", "UP", "HEALTH")},
		{"the gateway", line("gateway", gateway, "ready")},
		{"a worker, where its process is", line("favorite-worker", admin, "ready")},
		{"a service", regexp.MustCompile(`(?m)^comment +127\.0\.0\.1:\d+ .* \d+s +ready$`)},
		{"one that is gone", regexp.MustCompile(`(?m)^user +10\.0\.0\.1:1 +v9 +- +unknown: .*refused$`)},
		{"one that hangs", line("user", "10.0.0.2:1", "v9", "-", "unknown: no answer within 1.2s")},
		{"one that lacks something vital", regexp.MustCompile(`(?m)^user +10\.0\.0\.3:1 .* not ready, without database: refused; metrics: .*503`)},
		{"one without an admin port", line("user", "10.0.0.4:1", "v9", "-", "unknown: it has no admin port (admin.listen)")},
		{"one that is elsewhere", line("user", "10.0.0.5:1", "v9", "-", "unknown: its admin port 127.0.0.1:9000 is on loopback of elsewhere")},
		{"one that registered nonsense", regexp.MustCompile(`(?m)^user +10\.0\.0\.6:1 .* unknown: .*no address`)},
		{"one whose process is another", line("oracle", "10.0.0.7:1", "v9", "-", "unknown: the process at "+admin+" does not have this role")},
		{"a queue", line("favorite.write", "table", "0", "0", "0")},
		{"circuits", regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(gateway) + ` +\d+ +none$`)},
	} {
		if !row.want.MatchString(shown) {
			t.Errorf("%s is not shown (%v)", row.name, row.want)
		}
	}
	for _, r := range boot.Roles() {
		if !line(r.Role, "ready").MatchString(shown) {
			t.Errorf("%s is not shown", r.Role)
		}
	}
	if strings.Contains(shown, "\x1b") {
		t.Error("there are escape codes, though nobody looks at a terminal")
	}
	if t.Failed() {
		t.Log(shown)
	}

	// Those who watch go on with what they knew when etcd is lost.
	ctx, cancel := context.WithCancel(t.Context())
	out, ended := &harness.Buffer{}, make(chan error, 1)
	go func() { ended <- Execute(ctx, []string{"status", "-watch"}, []string{environ}, out, out) }()
	seen := func(what string, times int) {
		t.Helper()
		harness.Eventually(t, 30*time.Second, func() error {
			if strings.Count(out.String(), what) < times {
				return fmt.Errorf("it shows\n%s", out)
			}
			return nil
		}, what)
	}
	seen("GATEWAY", 2)
	if err := etcd.Kill(); err != nil {
		t.Fatal(err)
	}
	seen("etcd does not answer", 1)
	known := strings.Count(out.String(), "GATEWAY")
	seen("GATEWAY", known+1)
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Ctrl-C ends it with %v", err)
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("there are escape codes, though nobody looks at a terminal")
	}

	start = time.Now()
	if _, err := execute(t, []string{environ}, "status"); err == nil || !strings.Contains(err.Error(), "etcd") || time.Since(start) > 6*time.Second {
		t.Errorf("without etcd, after %v: %v", time.Since(start), err)
	}
	if err := etcd.Start(context.Background()); err != nil { // for all to leave in order
		t.Fatal(err)
	}
}

func TestStatusOfOneProcess(t *testing.T) {
	_, gateway, admin := everything(t)
	shown, err := execute(t, []string{"BACKBEAT_ADMIN_LISTEN=" + admin}, "status")
	if err != nil || !line("gateway", gateway, "ready").MatchString(shown) || !line("message-worker", "-", "ready").MatchString(shown) ||
		!line("video.publish", "table", "0", "0", "0").MatchString(shown) {
		t.Errorf("%v\n%s", err, shown)
	}
	shown, err = execute(t, []string{"BACKBEAT_ADMIN_LISTEN=127.0.0.1:1"}, "status")
	if err != nil || !strings.Contains(shown, "unknown: ") || !strings.Contains(shown, "refused") {
		t.Errorf("of what does not run: %v\n%s", err, shown)
	}
	if _, err := execute(t, nil, "status"); err == nil || !strings.Contains(err.Error(), "admin.listen") {
		t.Errorf("with nobody to ask: %v", err)
	}
	if _, err := execute(t, nil, "status", "now"); err == nil || !strings.Contains(err.Error(), "status -help") {
		t.Errorf("of now: %v", err)
	}
}

// On a terminal what is well is green, what works without something yellow, and what
// does not red.
func TestStatusInColours(t *testing.T) {
	const green, yellow, red = "\x1b[32m", "\x1b[33m", "\x1b[31m"
	now := time.Now()
	lack := []status.Lack{{Need: "database", Fault: "refused"}}
	report := status.Report{
		Discovery: errors.New("away"),
		Instances: []status.Instance{
			{Role: "a", Ready: true, State: "serving", Started: now.Add(-26 * time.Hour)},
			{Role: "b", Ready: true, State: "serving", Lacks: lack, Started: now.Add(-61 * time.Minute)},
			{Role: "c", State: "serving", Lacks: lack, Started: now.Add(-61 * time.Second)},
			{Role: "d", State: "stopping"},
			{Role: "e", Fault: errors.New("gone")},
		},
		Queues:   []status.Queue{{Name: "q", Store: "table", Waiting: 1, Delayed: 2, Dead: 3}},
		Circuits: []status.Circuits{{Address: "g", Open: []string{"x.Y"}, Closed: []string{"z"}}},
	}
	var out strings.Builder
	if err := writeStatus(&out, report, now, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		red + "etcd does not answer", green + "ready", yellow + "ready, without database: refused", red + "not ready, without database",
		yellow + "stopping", red + "unknown: gone", red + "3\x1b", red + "x.Y", "1d2h", "1h1m", "1m1s",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q", want)
		}
	}
}
