package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opentracing/opentracing-go"
	"go-micro.dev/v4/client"
	micro "go-micro.dev/v4/metadata"
	"go-micro.dev/v4/server"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"

	"backbeat/app/errs"
	"backbeat/app/trace"
	"backbeat/config"
	"backbeat/proto/entity"
	"backbeat/proto/user"
	"backbeat/test/harness"
)

func TestEveryKindCrossesTheWire(t *testing.T) {
	leaks(t)
	type failure struct {
		err   error
		kind  errs.Kind
		text  string
		level string // of its line in the log; "" for none
	}
	rows := map[string]failure{
		"plain":    {errors.New("secret"), errs.Internal, errs.Text(errors.New("")), "ERROR"},
		"deadline": {context.DeadlineExceeded, errs.Unavailable, errs.Text(context.Canceled), "ERROR"},
		"wrapped":  {fmt.Errorf("x: %w", errs.Wrap(errs.NotFound, errors.New("secret"), "reading %d", 1)), errs.NotFound, "", "DEBUG"},
	}
	for _, kind := range []errs.Kind{errs.Internal, errs.Invalid, errs.Unauthenticated, errs.Forbidden, errs.NotFound, errs.Conflict, errs.Exhausted, errs.Unavailable} {
		level := "DEBUG"
		if kind.Fault() {
			level = "ERROR"
		}
		rows[kind.String()] = failure{errs.New(kind, "文字 of "+kind.String()), kind, "文字 of " + kind.String(), level}
		rows[kind.String()+" without text"] = failure{errs.New(kind, ""), kind, errs.Text(errs.New(kind, "")), level}
	}
	var log harness.Buffer
	r := memory(t)
	serve(t, r, &users{login: func(_ context.Context, in *user.LoginRequest, _ *user.LoginResponse) error {
		return rows[in.Name].err
	}}, func(_ *ServerConfig, d *ServerDeps) {
		d.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	service, _ := dial(t, r)
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			log.Reset()
			_, err := service.Login(t.Context(), &user.LoginRequest{Name: name})
			if err == nil {
				t.Fatal("no error")
			}
			text := row.text
			if text == "" {
				text = errs.Text(row.err)
			}
			if errs.KindOf(err) != row.kind || errs.Text(err) != text || !errs.Remote(err) {
				t.Errorf("got %v %q, want %v %q", errs.KindOf(err), errs.Text(err), row.kind, text)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the cause crosses the wire: %v", err)
			}
			if lines := log.String(); strings.Count(lines, "call failed") != 1 || !strings.Contains(lines, "level="+row.level) {
				t.Errorf("logged %q, want one line at %s", lines, row.level)
			}
		})
	}
}

func TestAPanicIsInternalAndTheServerLives(t *testing.T) {
	var log harness.Buffer
	r := memory(t)
	serve(t, r, loggingIn(1), func(_ *ServerConfig, d *ServerDeps) { d.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	service, _ := dial(t, r)
	if _, err := service.Register(t.Context(), &user.RegisterRequest{}); !errs.Is(err, errs.Internal) {
		t.Errorf("a panic gives %v", err)
	}
	if !strings.Contains(log.String(), "panic") || !strings.Contains(log.String(), "rpc_test") && !strings.Contains(log.String(), "harness_test.go") {
		t.Errorf("the log lacks the stack: %s", log.String())
	}
	if _, err := service.Login(t.Context(), &user.LoginRequest{}); err != nil {
		t.Error(err)
	}
}

func TestDeadlineMetadataAndTraceCrossTheWire(t *testing.T) {
	leaks(t)
	tracer, err := trace.New(config.Jaeger{Agent: "127.0.0.1:9", Sampler: "const", SamplerParam: 1}, "test", harness.Logger(t))
	must(t, err)
	defer tracer.Close()
	r := memory(t)
	type seen struct {
		left   time.Duration
		md     micro.Metadata
		traced string
	}
	got := make(chan seen, 1)
	serve(t, r, &users{login: func(ctx context.Context, _ *user.LoginRequest, _ *user.LoginResponse) error {
		deadline, _ := ctx.Deadline()
		md, _ := micro.FromContext(ctx)
		got <- seen{time.Until(deadline), md, trace.ID(ctx)}
		return nil
	}}, func(_ *ServerConfig, d *ServerDeps) { d.Tracer = tracer })
	service, _ := dial(t, r)

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ctx = micro.NewContext(ctx, micro.Metadata{"Device": "phone", "Name": "王小明\n", ":path": "/evil", "grpc-timeout": "1n"})
	span := tracer.StartSpan("caller")
	ctx = opentracing.ContextWithSpan(ctx, span)
	_, err = service.Login(ctx, &user.LoginRequest{})
	must(t, err)
	first := <-got
	if first.left < 25*time.Second || first.left > 30*time.Second {
		t.Errorf("%v left of 30 s", first.left)
	}
	if device, _ := first.md.Get("Device"); device != "phone" {
		t.Errorf("metadata %v", first.md)
	}
	if name, _ := first.md.Get("Name"); name != "王小明\n" {
		t.Errorf("metadata %v", first.md)
	}
	if first.traced != trace.ID(ctx) || first.traced == "" {
		t.Errorf("trace %q, want %q", first.traced, trace.ID(ctx))
	}

	_, err = service.Login(t.Context(), &user.LoginRequest{}, client.WithRequestTimeout(3*time.Second))
	must(t, err)
	if second := <-got; second.left > 3*time.Second || second.left <= 0 || len(second.md) > 0 || second.traced != "" {
		t.Errorf("a bare call brings %+v", second)
	}
	_, err = service.Login(t.Context(), &user.LoginRequest{})
	must(t, err)
	if third := <-got; third.left <= 0 || third.left > 5*time.Second {
		t.Errorf("a call without deadline has %v", third.left)
	}
}

func TestADeadlineEndsTheCallOnBothSides(t *testing.T) {
	r := memory(t)
	ended, given := make(chan struct{}), make(chan struct{})
	serve(t, r, &users{login: func(ctx context.Context, _ *user.LoginRequest, _ *user.LoginResponse) error {
		<-ctx.Done()
		close(ended)
		<-given // an answer sent at the deadline may arrive before the caller's own clock strikes
		return ctx.Err()
	}})
	service, _ := dial(t, r)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := service.Login(ctx, &user.LoginRequest{}); !errs.Is(err, errs.Unavailable) || errs.Remote(err) {
		t.Errorf("got %v", err)
	}
	close(given)
	<-ended
}

func TestMoreCallsThanAllowedAreExhausted(t *testing.T) {
	r := memory(t)
	entered, leave := make(chan struct{}, 8), make(chan struct{})
	serve(t, r, &users{login: func(context.Context, *user.LoginRequest, *user.LoginResponse) error {
		entered <- struct{}{}
		<-leave
		return nil
	}}, func(c *ServerConfig, _ *ServerDeps) { c.MaxCalls = 2 })
	service, _ := dial(t, r)
	var calls sync.WaitGroup
	for range 2 {
		calls.Go(func() {
			if _, err := service.Login(t.Context(), &user.LoginRequest{}); err != nil {
				t.Error(err)
			}
		})
		<-entered
	}
	if _, err := service.Login(t.Context(), &user.LoginRequest{}); !errs.Is(err, errs.Exhausted) {
		t.Errorf("the third call gives %v", err)
	}
	close(leave)
	calls.Wait()
	if _, err := service.Login(t.Context(), &user.LoginRequest{}); err != nil {
		t.Error(err)
	}
}

func TestMessageSizes(t *testing.T) {
	r := memory(t)
	serve(t, r, &users{batchGet: func(_ context.Context, in *user.BatchGetRequest, out *user.BatchGetResponse) error {
		out.Users = []*entity.User{{Name: strings.Repeat("x", int(in.Ids[0]))}}
		return nil
	}})
	service, _ := dial(t, r)
	if got, err := service.BatchGet(t.Context(), &user.BatchGetRequest{Ids: []int64{15 << 20}}); err != nil || len(got.Users[0].Name) != 15<<20 {
		t.Errorf("15 MiB: %v", err)
	}
	if _, err := service.BatchGet(t.Context(), &user.BatchGetRequest{Ids: []int64{17 << 20}}); !errs.Is(err, errs.Exhausted) {
		t.Errorf("17 MiB: %v", err)
	}
}

func TestNoInstanceFailsFast(t *testing.T) {
	leaks(t)
	r := memory(t)
	service, c := dial(t, r)
	start := time.Now()
	for range 3 {
		if _, err := service.Login(t.Context(), &user.LoginRequest{}); !errs.Is(err, errs.Unavailable) {
			t.Fatalf("got %v", err)
		}
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v", took)
	}
	serve(t, r, loggingIn(7))
	harness.Eventually(t, 2*time.Second, func() error {
		_, err := service.Login(t.Context(), &user.LoginRequest{})
		return err
	}, "finding the first instance")
	must(t, c.Close())
	must(t, c.Close())
	if _, err := service.Login(t.Context(), &user.LoginRequest{}); !errs.Is(err, errs.Unavailable) {
		t.Errorf("a closed client gives %v", err)
	}
}

func TestToolsReachTheServer(t *testing.T) {
	s := serve(t, memory(t), loggingIn(7))
	conn, err := grpc.NewClient(s.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	defer conn.Close()
	var out user.LoginResponse
	must(t, conn.Invoke(t.Context(), "/user.User/Login", &user.LoginRequest{}, &out))
	if out.UserId != 7 {
		t.Errorf("user %d", out.UserId)
	}
	for _, name := range []string{"", "user.User"} {
		got, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: name})
		if err != nil || got.Status != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("health of %q: %v, %v", name, got, err)
		}
	}
	stream, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	must(t, err)
	must(t, stream.Send(&grpc_reflection_v1.ServerReflectionRequest{
		MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "user.User"}}))
	answer, err := stream.Recv()
	if err != nil || len(answer.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
		t.Errorf("reflection: %v, %v", answer, err)
	}
}

// wrong has a method that can't be served.
type wrong struct{}

func (*wrong) Login(context.Context, *user.LoginRequest) (*user.LoginResponse, error) {
	return nil, errUnsupported
}

func TestTheServerRefusesMisuse(t *testing.T) {
	leaks(t)
	r := memory(t)
	s := serve(t, r, loggingIn(1))
	if user.RegisterUserHandler(s, loggingIn(2)) == nil || s.Start() == nil {
		t.Error("a started server takes a handler or starts again")
	}
	deps := ServerDeps{Registry: r, Tracer: opentracing.NoopTracer{}, Log: harness.Logger(t)}
	if _, err := NewServer(ServerConfig{}, deps); err == nil {
		t.Error("a server without a name")
	}
	for name, cfg := range map[string]ServerConfig{
		"port taken":                         {Name: "x", Listen: s.Address()},
		"all interfaces and no word where":   {Name: "x", Listen: ":0"},
		"an address that is nobody's at all": {Name: "x", Listen: "203.0.113.1:0"},
	} {
		other, err := NewServer(cfg, deps)
		must(t, err)
		if other.Start() == nil {
			t.Errorf("%s: started", name)
		}
		must(t, other.Stop())
	}
	other, err := NewServer(ServerConfig{Name: "x", Listen: ":0", Advertise: "127.0.0.1"}, deps)
	must(t, err)
	must(t, user.RegisterUserHandler(other, loggingIn(1)))
	if user.RegisterUserHandler(other, loggingIn(2)) == nil || other.Handle(other.NewHandler(&wrong{})) == nil {
		t.Error("a second handler of one name, or one without messages, was taken")
	}
	must(t, other.Start())
	if address := other.Address(); !strings.HasPrefix(address, "127.0.0.1:") || strings.HasSuffix(address, ":0") {
		t.Errorf("advertises %s", address)
	}
	must(t, other.Stop())
	must(t, other.Stop())
	if err, open := <-other.Failed(); open || err != nil {
		t.Errorf("a stopped server failed: %v", err)
	}
	if other.Init(server.Name("y")) == nil || other.Subscribe(nil) == nil {
		t.Error("what isn't supported is accepted")
	}
}

func TestTheClientRefusesWhatItCannotDo(t *testing.T) {
	_, c := dial(t, memory(t))
	if _, err := c.Stream(t.Context(), c.NewRequest("user", "User.Login", nil)); err == nil {
		t.Error("a stream was opened")
	}
	if c.Publish(t.Context(), c.NewMessage("x", nil)) == nil || c.Init(client.PoolSize(1)) == nil {
		t.Error("what isn't supported is accepted")
	}
	if err := c.Call(t.Context(), c.NewRequest("user", "Login", &user.LoginRequest{}), &user.LoginResponse{}); !errs.Is(err, errs.Internal) {
		t.Errorf("an endpoint without a service gives %v", err)
	}
}
