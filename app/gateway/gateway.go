package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opentracing/opentracing-go"
	"github.com/prometheus/client_golang/prometheus"
	"go-micro.dev/v4/client"

	"backbeat/app/cache"
	"backbeat/app/changes"
	"backbeat/app/errs"
	"backbeat/app/media"
	"backbeat/app/token"
	"backbeat/config"
)

// Bounds of the HTTP server.
const (
	readHeaderTimeout = 5 * time.Second
	idleTimeout       = 2 * time.Minute
	// farewell is how long a gateway that ends still answers over connections that
	// it asks to be closed. Who has been silent for so long hardly sends at the very
	// instant in which the connection is closed.
	farewell = 3 * time.Second
	// maxHeader holds a query with the longest comment there may be, each of its
	// runes as twelve characters.
	maxHeader = 64 << 10
	// maxUploads bounds the uploads in progress; each may have a temporary file.
	maxUploads = 64
	// maxHashing bounds the requests that ask for a password to be hashed: they
	// must be answered before those who asked give up.
	maxHashing = 64
	// commandShare is how much of the requests in progress one command may have.
	commandShare = 4
)

// Config is what can be set from outside.
type Config struct {
	HTTP     config.HTTP
	Media    config.Media
	Limits   config.Limits
	Time     config.Time
	RPC      config.RPC
	Circuit  config.Circuit
	Cache    config.Cache
	Features config.Features
	// StagingDir holds uploads while they arrive.
	StagingDir string
}

// Deps are what the gateway works with.
type Deps struct {
	// Client calls the services user, video, favorite, comment, relation and message.
	Client client.Client
	Keys   *token.Keys
	Media  media.Store
	Cache  Cache
	// Journal tells whose counts have changed.
	Journal cache.Journal
	Tracer  opentracing.Tracer
	Log     *slog.Logger
	Now     func() time.Time
	// Metrics may be nil.
	Metrics prometheus.Registerer
}

// Gateway answers the app over HTTP. Build it with New.
type Gateway struct {
	cfg     Config
	keys    *token.Keys
	media   media.Store
	tracer  opentracing.Tracer
	log     *slog.Logger
	now     func() time.Time
	zone    *time.Location
	proxies []netip.Prefix
	limits  *limits
	stager  *stager
	files   http.Handler
	// pages are what browsers are shown, by path.
	pages   map[string]http.Handler
	memory  *memory
	revoked revocations
	held    holdings
	journal cache.Journal
	rpc     *commands
	metrics *instruments
	// concurrency and hashing let requests in, by their load.
	concurrency, hashing *concurrency
	// registering is false while new accounts are refused.
	registering atomic.Bool
	// leaving is set when clients shall connect to another gateway.
	leaving atomic.Bool
	paths   map[string]*resource
}

// New builds a gateway and configures its circuits, which belong to the process:
// a process has one gateway.
func New(cfg Config, deps Deps) (*Gateway, error) {
	zone, err := time.LoadLocation(cfg.Time.Zone)
	if err != nil {
		return nil, fmt.Errorf("time zone of the gateway: %w", err)
	}
	stager, err := newStager(cfg.StagingDir, cfg.Media.MaxBytes, cfg.Media.StagingBytes, maxUploads)
	if err != nil {
		return nil, fmt.Errorf("staging folder of the gateway: %w", err)
	}
	g := &Gateway{
		cfg: cfg, keys: deps.Keys, media: deps.Media, tracer: deps.Tracer, log: deps.Log, now: deps.Now, zone: zone,
		stager:      stager,
		files:       newFiles(deps.Media, deps.Log),
		pages:       pages(),
		memory:      newMemory(),
		journal:     deps.Journal,
		concurrency: newConcurrency(cfg.Limits.Concurrency, deps.Now),
		hashing:     fixedConcurrency(maxHashing, hashingLine, "登录人数过多，请稍后再试", deps.Now),
	}
	if g.proxies, err = networks(cfg.HTTP.TrustedProxies); err != nil {
		return nil, fmt.Errorf("trusted proxies of the gateway: %w", err)
	}
	if g.limits, err = newLimits(cfg.Limits, deps.Now); err != nil {
		return nil, fmt.Errorf("limits of the gateway: %w", err)
	}
	if deps.Metrics != nil {
		watchCircuits(deps.Metrics)
	}
	g.metrics = newInstruments(deps.Metrics, g.concurrency.bounds)
	page := &heldPage{cache: deps.Cache, now: deps.Now, log: deps.Log}
	g.rpc = newCommands(deps.Client, g.memory, page, max(1, cfg.Limits.Concurrency/commandShare), g.metrics, deps.Log)
	g.held = g.newHoldings()
	g.paths = g.register(routes())
	return g, g.Set(cfg)
}

// Set changes what of the configuration may change while requests are answered: its
// live keys. Requests in progress end by the old ones. It must not be called by two
// at once.
func (g *Gateway) Set(cfg Config) error {
	if err := g.limits.set(cfg.Limits); err != nil {
		return fmt.Errorf("limits of the gateway: %w", err)
	}
	g.rpc.set(cfg.RPC, cfg.Circuit)
	g.held.set(cfg.Cache)
	g.registering.Store(cfg.Features.Registration)
	g.stager.closed.Store(!cfg.Features.Upload)
	return nil
}

// Handler serves the API, media and the pages for browsers.
func (g *Gateway) Handler() http.Handler { return http.HandlerFunc(g.serve) }

// Serve answers on listener until ctx ends. Then it goes on for a moment in which
// it tells its clients to connect anew, since one who sends a request over a
// connection while that is closed doesn't know whether it was answered; and lets
// requests in progress end for as long as http.drain says. It returns nil after an
// orderly end.
func (g *Gateway) Serve(ctx context.Context, listener net.Listener) error {
	open := newConnections(mostConnections(descriptors()))
	server := &http.Server{
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return open.accept(withConn(ctx, conn), conn)
		},
		ConnState:         open.note,
		Handler:           g.Handler(),
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
	var followers sync.WaitGroup
	defer followers.Wait()
	following, stop := context.WithCancel(ctx)
	defer stop()
	ticker := time.NewTicker(revocationsEvery)
	defer ticker.Stop()
	followers.Go(func() { g.followRevocations(following, ticker.C) })
	looks := time.NewTicker(changes.FollowEvery)
	defer looks.Stop()
	counting := changes.NewFollower(g.journal, heldCounts{g.held.counts}, g.now, g.log)
	followers.Go(func() { counting.Follow(following, looks.C) })
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(gathering{listener}) }()
	select {
	case err := <-ended:
		return errs.Wrap(errs.Internal, err, "serving HTTP on %s", listener.Addr())
	case <-ctx.Done():
	}
	g.leaving.Store(true)
	open.leave(farewell)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.cfg.HTTP.Drain)
	defer cancel()
	open.asked(drain)
	err := server.Shutdown(drain)
	if err != nil {
		g.log.Warn("requests were cut off", "error", err)
		err = server.Close()
	}
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
