package rpc

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opentracing/opentracing-go"
	"github.com/prometheus/client_golang/prometheus"
	"go-micro.dev/v4/registry"
	"go-micro.dev/v4/server"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"backbeat/app/metrics"
)

// ServerConfig is one instance of one service.
type ServerConfig struct {
	// Name is the service's: what it is registered as and the first part of its
	// gRPC methods.
	Name string
	// Version is registered; empty is "latest".
	Version string
	// Metadata is registered with the instance.
	Metadata map[string]string
	// Listen is host:port; empty is a free port of 127.0.0.1. Callers are
	// trusted, so anything but loopback wants TLS or a closed network.
	Listen string
	// Advertise is the host or host:port where others reach the instance; empty
	// is where it listens. It is needed to listen on all interfaces.
	Advertise string
	TLS       TLS
	// MaxCalls bounds the calls in progress; more are Exhausted. 0 is 4096.
	MaxCalls int
	// Linger is how long a stopping server goes on serving after it has
	// deregistered, so that callers hear of it. 0 is 200 ms.
	Linger time.Duration
	// Drain bounds how long Stop waits for calls in progress. 0 is 10 s.
	Drain time.Duration
}

// ServerDeps are what a server works with.
type ServerDeps struct {
	Registry registry.Registry
	Tracer   opentracing.Tracer
	Log      *slog.Logger
	// Metrics may be nil.
	Metrics prometheus.Registerer
}

// Server is a go-micro server. Handlers are given to Handle before Start.
type Server struct {
	cfg      ServerConfig
	registry registry.Registry
	tracer   opentracing.Tracer
	log      *slog.Logger
	id       string
	// durations are those of calls.
	durations *metrics.Durations[served]

	grpc     *grpc.Server
	health   *health.Server
	calls    atomic.Int64 // in progress
	maxCalls int64

	mu       sync.Mutex
	state    state
	services map[string]bool // by full gRPC name
	address  string          // advertised, once started
	serving  sync.WaitGroup
	failed   chan error
}

// state is how far a server has come.
type state int

const (
	made state = iota
	started
	stopped
)

// NewServer returns a server that doesn't listen yet.
func NewServer(cfg ServerConfig, deps ServerDeps) (*Server, error) {
	if cfg.Name == "" {
		return nil, errors.New("rpc: a server needs a name")
	}
	cfg.Version = cmp.Or(cfg.Version, "latest")
	cfg.Listen = cmp.Or(cfg.Listen, "127.0.0.1:0")
	cfg.Linger = cmp.Or(cfg.Linger, 200*time.Millisecond)
	cfg.Drain = cmp.Or(cfg.Drain, 10*time.Second)
	creds, err := cfg.TLS.server()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, registry: deps.Registry, tracer: deps.Tracer, log: deps.Log,
		id:        cfg.Name + "-" + rand.Text(),
		durations: serverDurations(deps.Metrics),
		maxCalls:  int64(cmp.Or(cfg.MaxCalls, 4096)),
		health:    health.NewServer(),
		services:  map[string]bool{},
		failed:    make(chan error, 1),
	}
	s.grpc = grpc.NewServer(
		grpc.Creds(creds),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.NumStreamWorkers(uint32(runtime.GOMAXPROCS(0))),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingEvery, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingEvery / 2, PermitWithoutStream: true}),
	)
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	return s, nil
}

// NewHandler makes a handler of a generated one; Handle takes it.
func (s *Server) NewHandler(h any, opts ...server.HandlerOption) server.Handler {
	return server.NewRpcHandler(h, opts...)
}

// Handle serves the handler's methods. It fails after Start, for a second
// handler of the same name, and for methods that don't serve protobuf messages.
func (s *Server) Handle(h server.Handler) error {
	list, err := methods(h.Handler())
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := s.cfg.Name + "." + h.Name()
	if s.state != made {
		return fmt.Errorf("rpc: %s comes after Start", name)
	}
	if s.services[name] {
		return fmt.Errorf("rpc: %s is handled already", name)
	}
	s.services[name] = true
	desc := grpc.ServiceDesc{ServiceName: name, HandlerType: (*any)(nil)}
	for _, m := range list {
		m.call = s.wrap(name, m.name, m.call)
		desc.Methods = append(desc.Methods, m.desc())
	}
	s.grpc.RegisterService(&desc, h.Handler())
	s.health.SetServingStatus(name, grpc_health_v1.HealthCheckResponse_SERVING)
	return nil
}

// Start listens, serves and registers, in this order. When it fails nothing is
// left running.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != made {
		return fmt.Errorf("rpc: %s was started before", s.cfg.Name)
	}
	listener, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("rpc: %w", err)
	}
	address, err := advertised(s.cfg.Advertise, listener.Addr().(*net.TCPAddr))
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	s.address, s.state = address, started
	s.serving.Go(func() {
		if err := s.grpc.Serve(listener); err != nil {
			s.failed <- fmt.Errorf("rpc: serving %s: %w", s.cfg.Name, err)
		}
		close(s.failed)
	})
	if err := s.registry.Register(s.registration()); err != nil {
		s.state = stopped
		s.grpc.Stop()
		s.serving.Wait()
		return fmt.Errorf("rpc: registering %s: %w", s.cfg.Name, err)
	}
	return nil
}

// advertised returns host:port for others.
func advertised(host string, listening *net.TCPAddr) (string, error) {
	if host == "" {
		if listening.IP.IsUnspecified() {
			return "", errors.New("rpc: listening on all interfaces needs an advertised host")
		}
		return listening.String(), nil
	}
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host, nil
	}
	return net.JoinHostPort(host, fmt.Sprint(listening.Port)), nil
}

// registration is this instance as the registry knows it, once started.
func (s *Server) registration() *registry.Service {
	return &registry.Service{Name: s.cfg.Name, Version: s.cfg.Version,
		Nodes: []*registry.Node{{Id: s.id, Address: s.address, Metadata: s.cfg.Metadata}}}
}

// Stop drains the server: it deregisters, lingers until callers have heard,
// reports NOT_SERVING, finishes the calls in progress within Drain, and ends by
// force what isn't done by then, which it logs. A second Stop does nothing.
func (s *Server) Stop() error {
	s.mu.Lock()
	before := s.state
	s.state = stopped
	s.mu.Unlock()
	switch before {
	case stopped:
		return nil
	case made:
		s.grpc.Stop()
		close(s.failed)
		return nil
	}
	err := s.registry.Deregister(s.registration())
	time.Sleep(s.cfg.Linger)
	s.health.Shutdown()
	force := time.AfterFunc(s.cfg.Drain, func() {
		s.log.Warn("calls in progress are cut off", "service", s.cfg.Name, "calls", s.calls.Load())
		s.grpc.Stop()
	})
	s.grpc.GracefulStop()
	force.Stop()
	s.serving.Wait()
	if err != nil {
		return fmt.Errorf("rpc: deregistering %s: %w", s.cfg.Name, err)
	}
	return nil
}

// Failed delivers the error that ended the server by itself, if one did, and is
// closed when the server no longer serves.
func (s *Server) Failed() <-chan error { return s.failed }

// Address returns the advertised host:port; it is empty before Start.
func (s *Server) Address() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.address
}

// Options returns what the server was made with and its address.
func (s *Server) Options() server.Options {
	return server.Options{
		Name: s.cfg.Name, Id: s.id, Version: s.cfg.Version, Metadata: s.cfg.Metadata, Registry: s.registry,
		Address: s.cfg.Listen, Advertise: s.Address(), Context: context.Background(),
	}
}

// Init takes no options: everything is given to NewServer.
func (s *Server) Init(opts ...server.Option) error {
	if len(opts) > 0 {
		return errFixed
	}
	return nil
}

// NewSubscriber returns nil: subscribers are not supported.
func (s *Server) NewSubscriber(string, any, ...server.SubscriberOption) server.Subscriber { return nil }

// Subscribe always fails: subscribers are not supported.
func (s *Server) Subscribe(server.Subscriber) error { return errUnsupported }

// String returns "grpc".
func (s *Server) String() string { return "grpc" }
