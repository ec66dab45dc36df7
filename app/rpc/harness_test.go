package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/opentracing/opentracing-go"
	microregistry "go-micro.dev/v4/registry"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"backbeat/app/registry"
	"backbeat/proto/user"
	"backbeat/test/harness"
)

// users is a handler made of functions; one that is missing panics.
type users struct {
	register         func(ctx context.Context, in *user.RegisterRequest, out *user.RegisterResponse) error
	login            func(ctx context.Context, in *user.LoginRequest, out *user.LoginResponse) error
	batchGet         func(ctx context.Context, in *user.BatchGetRequest, out *user.BatchGetResponse) error
	user.UserHandler // answers nothing else
}

func (u *users) Register(ctx context.Context, in *user.RegisterRequest, out *user.RegisterResponse) error {
	return u.register(ctx, in, out)
}

func (u *users) Login(ctx context.Context, in *user.LoginRequest, out *user.LoginResponse) error {
	return u.login(ctx, in, out)
}

func (u *users) BatchGet(ctx context.Context, in *user.BatchGetRequest, out *user.BatchGetResponse) error {
	return u.batchGet(ctx, in, out)
}

// loggingIn answers Login with id.
func loggingIn(id int64) *users {
	return &users{login: func(_ context.Context, _ *user.LoginRequest, out *user.LoginResponse) error {
		out.UserId = id
		return nil
	}}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// leaks fails the test if goroutines outlive it; go-micro's memory registry has
// one for the life of the process.
func leaks(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		goleak.VerifyNone(t, append(harness.LeakOptions(), before,
			goleak.IgnoreTopFunction("go-micro.dev/v4/registry.(*memRegistry).ttlPrune"))...)
	})
}

func serve(tb testing.TB, r microregistry.Registry, h user.UserHandler, set ...func(*ServerConfig, *ServerDeps)) *Server {
	tb.Helper()
	cfg := ServerConfig{Name: "user", Linger: 10 * time.Millisecond}
	deps := ServerDeps{Registry: r, Tracer: opentracing.NoopTracer{}, Log: harness.Logger(tb)}
	for _, f := range set {
		f(&cfg, &deps)
	}
	s, err := NewServer(cfg, deps)
	must(tb, err)
	must(tb, user.RegisterUserHandler(s, h))
	must(tb, s.Start())
	tb.Cleanup(func() { _ = s.Stop() })
	return s
}

func dial(tb testing.TB, r microregistry.Registry, set ...func(*ClientConfig, *ClientDeps)) (user.UserService, *Client) {
	tb.Helper()
	var cfg ClientConfig
	deps := ClientDeps{Registry: r, Log: harness.Logger(tb)}
	for _, f := range set {
		f(&cfg, &deps)
	}
	c, err := NewClient(cfg, deps)
	must(tb, err)
	tb.Cleanup(func() { _ = c.Close() })
	return user.NewUserService("user", c), c
}

func memory(tb testing.TB) *registry.Memory {
	tb.Helper()
	m := registry.NewMemory()
	tb.Cleanup(func() { _ = m.Close() })
	return m
}

func etcdRegistry(tb testing.TB, addr string, log *slog.Logger) *registry.Etcd {
	tb.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{addr}, DialTimeout: time.Second})
	must(tb, err)
	r := registry.NewEtcd(registry.Config{Prefix: "/test", Lease: 2 * time.Second}, registry.Deps{Client: client, Log: log})
	tb.Cleanup(func() {
		_ = r.Close()
		_ = client.Close()
	})
	return r
}

// envInstance makes this test program run as an instance of the service, so that
// it can be killed or frozen. It ends with its standard input.
const envInstance = "BACKBEAT_RPC_TEST_INSTANCE"

func TestMain(m *testing.M) {
	if id := os.Getenv(envInstance); id != "" {
		runInstance(id)
		return
	}
	os.Exit(m.Run())
}

func runInstance(id string) {
	var number int64
	fmt.Sscan(id, &number)
	h := &users{login: func(ctx context.Context, in *user.LoginRequest, out *user.LoginResponse) error {
		if in.Name == "slow" {
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		out.UserId = number
		return nil
	}}
	var here passedOn
	s, err := NewServer(ServerConfig{Name: "user"}, ServerDeps{Registry: &here, Tracer: opentracing.NoopTracer{}, Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		err = user.RegisterUserHandler(s, h)
	}
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// passedOn is a registry that prints registrations, for the parent to repeat.
type passedOn struct{ microregistry.Registry }

func (*passedOn) Register(s *microregistry.Service, _ ...microregistry.RegisterOption) error {
	return json.NewEncoder(os.Stdout).Encode(s)
}

// process starts a process that serves, and registers it.
func process(t *testing.T, r microregistry.Registry, id int64) *os.Process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", envInstance, id))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGCONT)
		_ = cmd.Process.Kill()
		_ = in.Close()
		_ = cmd.Wait()
	})
	var s microregistry.Service
	must(t, json.NewDecoder(out).Decode(&s))
	must(t, r.Register(&s))
	return cmd.Process
}
