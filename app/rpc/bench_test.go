package rpc

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/opentracing/opentracing-go"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"backbeat/proto/entity"
	"backbeat/proto/user"
)

// BenchmarkCall compares a call of the size of a feed's users, by grpc-go alone
// and by this package, both ends in one process.
func BenchmarkCall(b *testing.B) {
	answer := &user.BatchGetResponse{}
	request := &user.BatchGetRequest{}
	for id := range int64(30) {
		request.Ids = append(request.Ids, 1<<50+id)
		answer.Users = append(answer.Users, &entity.User{Id: 1<<50 + id, Name: strings.Repeat("名", 8), Signature: strings.Repeat("签", 20)})
	}
	batchGet := func(_ context.Context, _ *user.BatchGetRequest, out *user.BatchGetResponse) error {
		out.Users = answer.Users
		return nil
	}
	b.Run("grpc", func(b *testing.B) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		must(b, err)
		s := grpc.NewServer()
		defer s.Stop()
		s.RegisterService(&grpc.ServiceDesc{ServiceName: "user.User", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
			MethodName: "BatchGet",
			Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				in, out := new(user.BatchGetRequest), new(user.BatchGetResponse)
				if err := decode(in); err != nil {
					return nil, err
				}
				return out, batchGet(ctx, in, out)
			}}}}, struct{}{})
		go func() { _ = s.Serve(listener) }()
		conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		must(b, err)
		defer conn.Close()
		benchmark(b, func(ctx context.Context) error {
			return conn.Invoke(ctx, "/user.User/BatchGet", request, new(user.BatchGetResponse))
		})
	})
	for name, metrics := range map[string]prometheus.Registerer{"backbeat": nil, "backbeat, measured": prometheus.NewRegistry()} {
		b.Run(name, func(b *testing.B) {
			r := memory(b)
			serve(b, r, &users{batchGet: batchGet}, func(_ *ServerConfig, d *ServerDeps) {
				d.Tracer, d.Log, d.Metrics = opentracing.NoopTracer{}, slog.New(slog.DiscardHandler), metrics
			})
			service, _ := dial(b, r, func(_ *ClientConfig, d *ClientDeps) { d.Metrics = metrics })
			benchmark(b, func(ctx context.Context) error {
				_, err := service.BatchGet(ctx, request)
				return err
			})
		})
	}
}

func benchmark(b *testing.B, call func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	must(b, call(ctx))
	b.ReportAllocs()
	for b.Loop() {
		// As every caller has one, both sides get a deadline.
		bounded, cancel := context.WithTimeout(ctx, time.Second)
		if err := call(bounded); err != nil {
			b.Fatal(err)
		}
		cancel()
	}
}
