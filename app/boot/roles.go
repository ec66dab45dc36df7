package boot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"time"

	"go-micro.dev/v4/server"

	"backbeat/app/admin"
	"backbeat/app/comment"
	"backbeat/app/favorite"
	"backbeat/app/gateway"
	"backbeat/app/message"
	"backbeat/app/password"
	"backbeat/app/relation"
	"backbeat/app/rpc"
	"backbeat/app/user"
	"backbeat/app/video"
	"backbeat/config"
	pbcomment "backbeat/proto/comment"
	pbfavorite "backbeat/proto/favorite"
	pbmessage "backbeat/proto/message"
	pbrelation "backbeat/proto/relation"
	pbuser "backbeat/proto/user"
	pbvideo "backbeat/proto/video"
)

// role is one row of the architecture.
type role struct {
	name string
	does string
	// needs are opened before start, in this order.
	needs []need
	start func(ctx context.Context, s *site) (part, error)
}

// need is something outside the role. Roles of one process share it; a role that
// runs apart from others shares it with them through a server, which the
// configuration must name then.
type need struct {
	name string
	// vital is set when no role that needs it can do its work while it is away. What
	// is not vital something stands in for: instances known last, the table beside
	// RabbitMQ, the database behind what Redis holds.
	vital bool
	open  func(s *site) error
	// missing returns what to set for a role that runs apart, "" when it is set.
	missing func(cfg *config.Config) string
}

var (
	discovery = need{
		discoveryName, false,
		func(s *site) (err error) { s.registry, err = s.openRegistry(); return err },
		func(cfg *config.Config) string {
			return unless(len(cfg.Etcd.Endpoints) > 0, "set etcd.endpoints, or nobody finds anybody")
		},
	}
	// announcing is what a role needs that is found by nobody but who operates it.
	announcing = need{discoveryName, false, discovery.open, func(*config.Config) string { return "" }}
	database   = need{
		databaseName, true,
		func(s *site) (err error) { s.db, err = s.openDB(); return err },
		func(cfg *config.Config) string {
			return unless(cfg.DB.DSN != "", "set db.dsn, the database it shares with the other instances")
		},
	}
	queue = need{ // RabbitMQ, or the database's table alone
		queueName, false,
		func(s *site) (err error) { s.queue, err = s.openBroker(); return err },
		func(cfg *config.Config) string { return database.missing(cfg) },
	}
	pendingLikes = need{
		pendingLikesName, false,
		func(s *site) (err error) { s.pending, err = s.openPending(); return err },
		func(cfg *config.Config) string {
			return unless(cfg.Redis.Addr != "", "set redis.addr, where it shares pending likes")
		},
	}
	sharedCache = need{
		sharedCacheName, false,
		func(s *site) (err error) {
			if s.cache, err = s.openCache(); err == nil {
				s.journal, err = s.openJournal()
			}
			if err == nil {
				s.changes, err = s.openChanges()
			}
			return err
		},
		func(cfg *config.Config) string {
			return unless(cfg.Redis.Addr != "", "set redis.addr, the cache it shares with the other instances")
		},
	}
	blobs = need{
		mediaName, true,
		func(s *site) (err error) { s.media, err = s.openMedia(); return err },
		func(cfg *config.Config) string {
			return unless(cfg.S3.Endpoint != "" || cfg.Media.Dir != "", "set s3.endpoint, or media.dir to a folder all share")
		},
	}
	// gatewayBlobs are not vital: without media there is still everything else.
	gatewayBlobs = need{mediaName, false, blobs.open, blobs.missing}
	tokenKeys    = need{
		tokenKeysName, true,
		func(s *site) (err error) { s.keys, err = s.openKeys(); return err },
		func(cfg *config.Config) string {
			return unless(cfg.Token.Keys != "", "set token.keys, which all gateways share")
		},
	}
)

func unless(ok bool, fault string) string {
	if ok {
		return ""
	}
	return fault
}

// roles is the architecture: services, then the workers behind them, then the
// gateway in front. Services never call each other; the gateway composes.
var roles = []role{
	{"user", "accounts and passwords", []need{discovery, database}, startUser},
	{"video", "uploads, feed and works", []need{discovery, database, queue}, startVideo},
	{"favorite", "likes and their counts", []need{discovery, database, queue, pendingLikes, sharedCache}, startFavorite},
	{"comment", "comments and their counts", []need{discovery, database, sharedCache}, startComment},
	{"relation", "who follows whom", []need{discovery, database, sharedCache}, startRelation},
	{"message", "chats", []need{discovery, database}, startMessage},
	{"video-worker", "probes, covers, remuxes and transcodes uploads", []need{announcing, database, queue, blobs, sharedCache}, startVideoWorker},
	{"favorite-worker", "applies queued likes", []need{announcing, database, queue, pendingLikes, sharedCache}, startFavoriteWorker},
	{"message-worker", "writes the system account's notices", []need{announcing, database, queue}, startMessageWorker},
	{"gateway", "HTTP: the app's API, media and the web page", []need{discovery, sharedCache, gatewayBlobs, tokenKeys}, startGateway},
}

func startUser(_ context.Context, s *site) (part, error) {
	passwords := password.New(password.Config{AtOnce: cmp.Or(s.cfg.Limits.Hashes, runtime.GOMAXPROCS(0))}, password.Deps{Log: s.log})
	s.closeLast(func() error { passwords.Close(); return nil })
	service := user.New(user.Deps{DB: s.db, Passwords: passwords, IDs: s.ids, Now: time.Now})
	return s.serve(func(to server.Server) error { return pbuser.RegisterUserHandler(to, service) })
}

func startVideo(_ context.Context, s *site) (part, error) {
	service := video.New(video.Deps{DB: s.db, Queue: s.queue, IDs: s.ids, Now: time.Now, Log: s.log, Metrics: s.metricsOf(s.name)})
	return s.serve(func(to server.Server) error { return pbvideo.RegisterVideoHandler(to, service) })
}

func startFavorite(_ context.Context, s *site) (part, error) {
	service := favorite.New(favorite.Deps{DB: s.db, Queue: s.queue, Pending: s.pending, Changes: s.changes, Now: time.Now, Log: s.log, Metrics: s.metricsOf(s.name)})
	if err := s.live.Follow(func(cfg *config.Config) error { service.Spread(cfg.Likes.Shards); return nil }); err != nil {
		return part{}, err
	}
	return s.serve(func(to server.Server) error { return pbfavorite.RegisterFavoriteHandler(to, service) })
}

func startComment(_ context.Context, s *site) (part, error) {
	service := comment.New(comment.Deps{DB: s.db, IDs: s.ids, Cache: s.cache, Changes: s.changes, Now: time.Now, Log: s.log, Metrics: s.metricsOf(s.name)})
	return s.serve(func(to server.Server) error { return pbcomment.RegisterCommentHandler(to, service) })
}

func startRelation(_ context.Context, s *site) (part, error) {
	service := relation.New(relation.Deps{DB: s.db, IDs: s.ids, Cache: s.cache, Changes: s.changes, Now: time.Now, Log: s.log, Metrics: s.metricsOf(s.name)})
	return s.serve(func(to server.Server) error { return pbrelation.RegisterRelationHandler(to, service) })
}

func startMessage(_ context.Context, s *site) (part, error) {
	service := message.New(message.Deps{DB: s.db, IDs: s.ids, Now: time.Now})
	return s.serve(func(to server.Server) error { return pbmessage.RegisterMessageHandler(to, service) })
}

func startVideoWorker(ctx context.Context, s *site) (part, error) {
	worker := video.NewWorker(video.WorkerConfig{
		FFmpeg: s.cfg.Media.FFmpeg, FFprobe: s.cfg.Media.FFprobe, MaxDuration: s.cfg.Media.MaxDuration,
		Transcodes: s.cfg.Limits.Transcodes, Notices: message.NoticeQueue,
	}, video.WorkerDeps{DB: s.db, Publisher: s.queue, Consumer: s.queue, Media: s.media, Changes: s.changes, Now: time.Now, Log: s.log, Metrics: s.metricsOf(s.name)})
	return s.announced(ctx, work(ctx, worker.Run))
}

func startFavoriteWorker(ctx context.Context, s *site) (part, error) {
	worker := favorite.NewWorker(favorite.WorkerDeps{DB: s.db, Queue: s.queue, Pending: s.pending, Changes: s.changes, Log: s.log})
	return s.announced(ctx, work(ctx, worker.Run))
}

func startMessageWorker(ctx context.Context, s *site) (part, error) {
	worker := message.NewWorker(message.WorkerDeps{DB: s.db, Consumer: s.queue, Now: time.Now})
	return s.announced(ctx, work(ctx, worker.Run))
}

func startGateway(ctx context.Context, s *site) (part, error) {
	services, err := rpc.NewClient(rpc.ClientConfig{TLS: s.rpcTLS()}, rpc.ClientDeps{Registry: s.registry, Log: s.log, Metrics: s.metricsOf(s.name)})
	if err != nil {
		return part{}, err
	}
	s.closeLast(services.Close)
	g, err := gateway.New(gatewayConfig(s.cfg), gateway.Deps{
		Client: services, Keys: s.keys, Media: s.media, Cache: s.cache, Journal: s.journal, Tracer: s.tracer, Log: s.log, Now: time.Now,
		Metrics: s.metricsOf(s.name),
	})
	if err != nil {
		return part{}, err
	}
	if err := s.live.Follow(func(cfg *config.Config) error { return g.Set(gatewayConfig(cfg)) }); err != nil {
		return part{}, err
	}
	listener, err := net.Listen("tcp", s.cfg.HTTP.Listen)
	if err != nil {
		return part{}, fmt.Errorf("http.listen: %w", err)
	}
	p := work(ctx, func(ctx context.Context) error { return g.Serve(ctx, listener) })
	p.address = listener.Addr().String()
	return s.announced(ctx, p)
}

func gatewayConfig(cfg *config.Config) gateway.Config {
	return gateway.Config{
		HTTP: cfg.HTTP, Media: cfg.Media, Limits: cfg.Limits, Time: cfg.Time, RPC: cfg.RPC,
		Circuit: cfg.Circuit, Cache: cfg.Cache, Features: cfg.Features,
		StagingDir: filepath.Join(cfg.Data.Dir, "staging"),
	}
}

// serve starts the role's gRPC server with the handler registered on it.
func (s *site) serve(register func(server.Server) error) (part, error) {
	srv, err := rpc.NewServer(rpc.ServerConfig{
		Name: s.name, Version: admin.ReadBuild().Version, Metadata: s.about(),
		Listen: s.cfg.RPC.Listen, Advertise: s.cfg.RPC.Advertise, TLS: s.rpcTLS(),
	}, rpc.ServerDeps{Registry: s.registry, Tracer: s.tracer, Log: s.log, Metrics: s.metricsOf(s.name)})
	if err != nil {
		return part{}, err
	}
	if err := register(srv); err != nil {
		return part{}, errors.Join(err, srv.Stop())
	}
	if err := srv.Start(); err != nil {
		return part{}, errors.Join(err, srv.Stop())
	}
	return part{address: srv.Address(), stop: func(context.Context) error { return srv.Stop() }, failed: srv.Failed()}, nil
}

func (s *site) rpcTLS() rpc.TLS {
	files := s.cfg.RPC.TLS
	return rpc.TLS{Cert: files.Cert, Key: files.Key, CA: files.CA}
}

// work runs a worker beside the role that starts it. The worker does not see the
// process's signal: it is stopped in its turn.
func work(ctx context.Context, run func(context.Context) error) part {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		defer close(ended)
		defer close(failed)
		failed <- run(ctx)
	}()
	stop := func(stopping context.Context) error {
		cancel()
		select {
		case <-ended:
			return nil
		case <-stopping.Done():
			return stopping.Err()
		}
	}
	return part{stop: stop, failed: failed}
}
