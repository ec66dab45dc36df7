package rpc

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go-micro.dev/v4/client"
	"go-micro.dev/v4/codec"
	"go-micro.dev/v4/registry"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/health" // connections ask the servers' health service
	"google.golang.org/grpc/keepalive"

	"backbeat/app/errs"
	"backbeat/app/metrics"
)

// ClientConfig is how a client calls.
type ClientConfig struct {
	TLS TLS
	// Timeout bounds a call whose context has no deadline. 0 is 5 s.
	Timeout time.Duration
}

// ClientDeps are what a client works with.
type ClientDeps struct {
	Registry registry.Registry
	Log      *slog.Logger
	// Metrics may be nil.
	Metrics prometheus.Registerer
}

// Client is a go-micro client for any number of services.
type Client struct {
	cfg      ClientConfig
	registry registry.Registry
	log      *slog.Logger
	creds    credentials.TransportCredentials
	// durations are those of calls.
	durations *metrics.Durations[served]

	routes sync.Map // "<service> <endpoint>" → route

	mu     sync.Mutex
	conns  map[string]*grpc.ClientConn // by service
	closed bool
}

// route is where an endpoint is, found once.
type route struct {
	conn   *grpc.ClientConn
	method string
	// name is the last part of method.
	name string
}

// endpoint is what a route is known by.
type endpoint struct{ service, name string }

// NewClient returns a client. It connects to a service with the first call.
func NewClient(cfg ClientConfig, deps ClientDeps) (*Client, error) {
	creds, err := cfg.TLS.client()
	if err != nil {
		return nil, err
	}
	cfg.Timeout = cmp.Or(cfg.Timeout, 5*time.Second)
	return &Client{cfg: cfg, registry: deps.Registry, log: deps.Log, creds: creds,
		durations: clientDurations(deps.Metrics), conns: map[string]*grpc.ClientConn{}}, nil
}

// NewRequest names a call: service "user", endpoint "User.BatchGet".
func (c *Client) NewRequest(service, endpoint string, body any, _ ...client.RequestOption) client.Request {
	return &request{service: service, endpoint: endpoint, body: body}
}

// Call sends the request's body, a protobuf message, and fills answer. Of the
// options it heeds RequestTimeout. Errors have kinds: the handler's own; Exhausted
// for a message over 16 MiB; Unavailable when no instance is known or reached, or
// the deadline passed, in which case a write may have taken effect.
//
// A call that reached no server is repeated on another instance, any other is
// not: only the caller knows what may be done twice.
func (c *Client) Call(ctx context.Context, req client.Request, answer any, opts ...client.CallOption) error {
	to, err := c.route(endpoint{req.Service(), req.Endpoint()})
	if err != nil {
		return err
	}
	ctx, cancel := c.bounded(ctx, opts)
	defer cancel()
	start := time.Now()
	if err = to.conn.Invoke(withOutgoing(ctx), to.method, req.Body(), answer); err != nil {
		err = errs.FromStatus(err)
	}
	c.durations.Since(ctx, served{req.Service(), to.name, metrics.Code(err)}, start)
	return err
}

// bounded gives ctx the deadline of the options, or the client's if it has none.
func (c *Client) bounded(ctx context.Context, opts []client.CallOption) (context.Context, context.CancelFunc) {
	var options client.CallOptions
	for _, o := range opts {
		o(&options)
	}
	if options.RequestTimeout > 0 {
		return context.WithTimeout(ctx, options.RequestTimeout)
	}
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.cfg.Timeout)
}

func (c *Client) route(e endpoint) (route, error) {
	if known, ok := c.routes.Load(e); ok {
		return known.(route), nil
	}
	service, method, ok := strings.Cut(e.name, ".")
	if !ok || e.service == "" {
		return route{}, errs.Wrap(errs.Internal, errors.New("an endpoint is Service.Method"), "calling %q of %q", e.name, e.service)
	}
	conn, err := c.conn(e.service)
	if err != nil {
		return route{}, err
	}
	to := route{conn: conn, method: "/" + e.service + "." + service + "/" + method, name: method}
	c.routes.Store(e, to)
	return to, nil
}

// errClosed is what calls after Close meet.
var errClosed = errors.New("the client is closed")

// conn returns the service's connection, which holds one to each instance.
func (c *Client) conn(service string) (*grpc.ClientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errs.Wrap(errs.Unavailable, errClosed, "calling %s", service)
	}
	if conn, ok := c.conns[service]; ok {
		return conn, nil
	}
	conn, err := grpc.NewClient(scheme+":///"+service,
		grpc.WithResolvers(&resolverBuilder{registry: c.registry, log: c.log}),
		grpc.WithTransportCredentials(c.creds), grpc.WithNoProxy(),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"`+balancerName+`":{}}],"healthCheckConfig":{"serviceName":""}}`),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingEvery, Timeout: pingTimeout, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: 2 * time.Second,
			Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second}}),
		grpc.WithIdleTimeout(0), grpc.WithDisableServiceConfig())
	if err != nil {
		return nil, errs.Wrap(errs.Internal, err, "connecting to %s", service)
	}
	c.conns[service] = conn
	return conn, nil
}

// Close ends all connections; calls in progress fail as Unavailable.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	var faults []error
	for service, conn := range c.conns {
		faults = append(faults, conn.Close())
		delete(c.conns, service)
	}
	return errors.Join(faults...)
}

// Init takes no options: everything is given to NewClient.
func (c *Client) Init(opts ...client.Option) error {
	if len(opts) > 0 {
		return errFixed
	}
	return nil
}

// Options returns what the client was made with.
func (c *Client) Options() client.Options {
	return client.Options{Registry: c.registry, Context: context.Background(), ContentType: contentType,
		CallOptions: client.CallOptions{RequestTimeout: c.cfg.Timeout}}
}

// Stream always fails: streams are not supported.
func (c *Client) Stream(context.Context, client.Request, ...client.CallOption) (client.Stream, error) {
	return nil, errUnsupported
}

// NewMessage returns nil: messages are not supported.
func (c *Client) NewMessage(string, any, ...client.MessageOption) client.Message { return nil }

// Publish always fails: messages are not supported.
func (c *Client) Publish(context.Context, client.Message, ...client.PublishOption) error {
	return errUnsupported
}

// String returns "grpc".
func (c *Client) String() string { return "grpc" }

const contentType = "application/grpc+proto"

// request is a client.Request that hasn't been encoded.
type request struct {
	service, endpoint string
	body              any
}

func (r *request) Service() string     { return r.service }
func (r *request) Method() string      { return r.endpoint }
func (r *request) Endpoint() string    { return r.endpoint }
func (r *request) ContentType() string { return contentType }
func (r *request) Body() any           { return r.body }
func (r *request) Codec() codec.Writer { return nil }
func (r *request) Stream() bool        { return false }
