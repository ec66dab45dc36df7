package boot

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/opentracing/opentracing-go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	microregistry "go-micro.dev/v4/registry"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"gorm.io/gorm"

	"backbeat/app/admin"
	"backbeat/app/cache"
	"backbeat/app/changes"
	"backbeat/app/favorite"
	"backbeat/app/id"
	"backbeat/app/live"
	"backbeat/app/media"
	"backbeat/app/registry"
	"backbeat/app/token"
	"backbeat/config"
	"backbeat/model"
	"backbeat/mq"
)

// openTimeout bounds the wait for a server that is not up yet.
const openTimeout = time.Minute

// localCacheBytes bounds the shared cache of a process that has no Redis.
const localCacheBytes = 64 << 20

// resources are what the roles of a process share. Each is opened by the first
// role that needs it, and which implementation that is the configuration says:
// with a server named it is that server, else what the process has by itself.
type resources struct {
	cfg *config.Config
	log *slog.Logger
	ids *id.Generator
	// live is what of cfg changes while the process runs.
	live *live.Values

	openDB       func() (*gorm.DB, error)
	openRedis    func() (redis.UniversalClient, error)
	openCache    func() (cache.Cache, error)
	openJournal  func() (cache.Journal, error)
	openChanges  func() (*changes.Announcer, error)
	openPending  func() (favorite.Pending, error)
	openMedia    func() (media.Store, error)
	openEtcd     func() (*clientv3.Client, error)
	openRegistry func() (microregistry.Registry, error)
	openKeys     func() (*token.Keys, error)

	// metrics are the process's; nil when nobody can see them.
	metrics *prometheus.Registry
	// adminAddress is where others reach the admin port; "" while there is none.
	adminAddress string
	// patience bounds the wait for a server that is not up yet.
	patience time.Duration
	checks   checks

	mu      sync.Mutex
	closers []func() error
}

// site is what one role gets: what bears its name, and what it needs, opened.
type site struct {
	*resources
	name   string
	tracer opentracing.Tracer
	log    *slog.Logger

	db       *gorm.DB
	queue    mq.Broker
	pending  favorite.Pending
	cache    cache.Cache
	journal  cache.Journal
	changes  *changes.Announcer
	media    media.Store
	registry microregistry.Registry
	keys     *token.Keys
}

func newResources(cfg *config.Config, log *slog.Logger) *resources {
	r := &resources{cfg: cfg, log: log, ids: id.NewGenerator(time.Now), live: live.New(cfg, log), patience: openTimeout}
	if cfg.Admin.Listen != "" {
		r.metrics = admin.NewMetrics()
	}
	r.openDB = sync.OnceValues(r.connectDB)
	r.openRedis = sync.OnceValues(r.connectRedis)
	r.openCache = sync.OnceValues(r.newCache)
	r.openJournal = sync.OnceValues(r.newJournal)
	r.openChanges = sync.OnceValues(r.newChanges)
	r.openPending = sync.OnceValues(r.newPending)
	r.openMedia = sync.OnceValues(r.newMedia)
	r.openEtcd = sync.OnceValues(r.connectEtcd)
	r.openRegistry = sync.OnceValues(r.newRegistry)
	r.openKeys = sync.OnceValues(r.readKeys)
	return r
}

// sharedRole is the label role of what the roles of a process share.
const sharedRole = "shared"

// metricsOf returns where a role registers its metrics, nil when nobody can see them.
func (r *resources) metricsOf(role string) prometheus.Registerer {
	if r.metrics == nil {
		return nil
	}
	return prometheus.WrapRegistererWith(prometheus.Labels{"role": role}, r.metrics)
}

// closeLast has what was just opened closed after everything opened later.
func (r *resources) closeLast(closer func() error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closers = append(r.closers, closer)
}

func (r *resources) close() error {
	var faults []error
	for _, closer := range slices.Backward(r.closers) {
		faults = append(faults, closer())
	}
	return errors.Join(faults...)
}

func (r *resources) connectDB() (*gorm.DB, error) {
	ctx, cancel := context.WithTimeout(context.Background(), r.patience)
	defer cancel()
	db, err := r.dialDB(ctx)
	if err != nil {
		return nil, err
	}
	if err := model.Measure(db, r.metricsOf(sharedRole)); err != nil {
		return nil, err
	}
	r.checks.add(databaseName, func(ctx context.Context) error { return model.Ping(ctx, db) })
	if err := model.Migrate(ctx, db); err != nil {
		return nil, err
	}
	return db, model.Replicate(db, model.ReplicaConfig{
		DSNs: r.cfg.DB.Replicas, MaxOpen: r.cfg.DB.MaxOpen, Lag: r.cfg.DB.ReplicaLag,
	}, model.ReplicaDeps{Log: r.log, Metrics: r.metricsOf(sharedRole)})
}

// dialDB returns the database as it is; what it lacks is left to the caller.
func (r *resources) dialDB(ctx context.Context) (*gorm.DB, error) {
	dsn := r.cfg.DB.DSN
	if dsn == "" {
		dsn = "sqlite:" + filepath.Join(r.cfg.Data.Dir, "backbeat.db")
	}
	db, err := model.Open(ctx, dsn, r.cfg.DB.MaxOpen, r.log)
	if err != nil {
		return nil, err
	}
	r.closeLast(func() error { return model.Close(db) })
	return db, nil
}

func (r *resources) connectRedis() (redis.UniversalClient, error) {
	cache.LogTo(r.log)
	client, err := cache.Dial(r.cfg.Redis)
	if err != nil {
		return nil, err
	}
	r.closeLast(client.Close)
	cache.Measure(client, r.metricsOf(sharedRole))
	ping := func(ctx context.Context) error { return client.Ping(ctx).Err() }
	r.checks.add(sharedCacheName, ping)
	r.checks.add(pendingLikesName, ping)
	return client, nil
}

func (r *resources) newCache() (cache.Cache, error) {
	counters := cache.NewCounters(r.metricsOf(sharedRole))
	if r.cfg.Redis.Addr == "" {
		memory, err := cache.NewMemory(localCacheBytes)
		if err != nil {
			return nil, err
		}
		r.closeLast(memory.Close)
		return cache.Counted(memory, counters), nil
	}
	client, err := r.openRedis()
	if err != nil {
		return nil, err
	}
	return cache.Counted(cache.NewRedis(client), counters), nil
}

// newJournal returns the journal, over a client of its own: an announcement that is
// given up closes its connection, and to those who share that client it would be a
// lapse, after which they take nothing they hold (cache.Lapses).
func (r *resources) newJournal() (cache.Journal, error) {
	if r.cfg.Redis.Addr == "" {
		return cache.NewMemoryJournal(), nil
	}
	client, err := cache.Dial(r.cfg.Redis)
	if err != nil {
		return nil, err
	}
	r.closeLast(client.Close)
	return cache.NewRedisJournal(client, changes.Journal), nil
}

func (r *resources) newChanges() (*changes.Announcer, error) {
	announcer, err := r.newAnnouncer()
	if err == nil && r.cfg.Redis.Addr != "" { // else commands change counts, too, and can't tell this process
		announcer.Start()
	}
	return announcer, err
}

func (r *resources) newAnnouncer() (*changes.Announcer, error) {
	journal, err := r.openJournal()
	if err != nil {
		return nil, err
	}
	announcer := changes.NewAnnouncer(journal, r.log)
	r.closeLast(announcer.Close)
	return announcer, nil
}

func (r *resources) newPending() (favorite.Pending, error) {
	if r.cfg.Redis.Addr == "" {
		return favorite.NewMemoryPending(time.Now), nil
	}
	client, err := r.openRedis()
	if err != nil {
		return nil, err
	}
	return favorite.NewRedisPending(client), nil
}

func (r *resources) newMedia() (media.Store, error) {
	if r.cfg.S3.Endpoint == "" {
		dir := r.cfg.Media.Dir
		if dir == "" {
			dir = filepath.Join(r.cfg.Data.Dir, "media")
		}
		disk, err := media.NewDisk(dir)
		if err != nil {
			return nil, err
		}
		r.checks.add(mediaName, disk.Check)
		return disk, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.patience)
	defer cancel()
	s3, err := media.NewS3(ctx, media.S3Config(r.cfg.S3))
	if err != nil {
		return nil, err
	}
	r.checks.add(mediaName, s3.Check)
	return s3, nil
}

func (r *resources) newRegistry() (microregistry.Registry, error) {
	if len(r.cfg.Etcd.Endpoints) == 0 {
		return registry.NewMemory(), nil
	}
	etcd, err := r.openDiscovery()
	if err != nil {
		return nil, err
	}
	r.checks.add(discoveryName, etcd.Check)
	return etcd, nil
}

// openDiscovery returns the registry of a cluster.
func (r *resources) openDiscovery() (*registry.Etcd, error) {
	client, err := r.openEtcd()
	if err != nil {
		return nil, err
	}
	etcd := registry.NewEtcd(registry.Config{Prefix: r.cfg.Etcd.Prefix, Lease: r.cfg.Etcd.Lease}, registry.Deps{Client: client, Log: r.log})
	r.closeLast(etcd.Close)
	return etcd, nil
}

func (r *resources) connectEtcd() (*clientv3.Client, error) {
	secure, err := r.cfg.Etcd.TLS.Client()
	if err != nil {
		return nil, fmt.Errorf("etcd.tls: %w", err)
	}
	client, err := r.dialEtcd(clientv3.Config{
		Endpoints:   r.cfg.Etcd.Endpoints,
		Username:    r.cfg.Etcd.User,
		Password:    r.cfg.Etcd.Password,
		TLS:         secure,
		DialTimeout: min(3*time.Second, r.patience),
		// A silent network must be noticed; gRPC allows no less.
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		// gRPC would wait up to two minutes before it tries an etcd again that was away.
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 3 * time.Second,
		})},
		Logger: zap.NewNop(), // what fails is returned to us, who log it
	})
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	r.closeLast(client.Close)
	return client, nil
}

// dialEtcd returns a client. Without a user that needs no server; to log one in
// it waits for etcd to be up.
func (r *resources) dialEtcd(cfg clientv3.Config) (*clientv3.Client, error) {
	deadline := time.Now().Add(r.patience)
	for {
		client, err := clientv3.New(cfg)
		if err == nil || time.Now().After(deadline) {
			return client, err
		}
		r.log.Warn("waiting for etcd", "error", err)
		time.Sleep(time.Second)
	}
}

// openBroker returns the role's queues: RabbitMQ with the table as its spool, or
// the table alone. Each role has its own, since its spans bear the role's name.
func (s *site) openBroker() (mq.Broker, error) {
	db, err := s.openDB()
	if err != nil {
		return nil, err
	}
	deps := mq.Deps{Tracer: s.tracer, Log: s.log, Now: time.Now, Metrics: s.metricsOf(s.name)}
	table := mq.NewTable(db, deps)
	if s.cfg.AMQP.URL == "" {
		s.closeLast(table.Close)
		mq.MeasureDepth(s.metricsOf(sharedRole), table, Queues())
		return table, nil
	}
	var secure *tls.Config
	if secure, err = s.cfg.AMQP.TLS.Client(); err != nil {
		return nil, fmt.Errorf("amqp.tls: %w", err)
	}
	rabbit, err := mq.NewRabbit(mq.RabbitConfig{
		URL: s.cfg.AMQP.URL, User: s.cfg.AMQP.User, Password: s.cfg.AMQP.Password, TLS: secure, Confirm: s.cfg.AMQP.Confirm,
	}, deps)
	if err != nil {
		return nil, err
	}
	spooled := mq.NewSpooled(rabbit, table, s.cfg.AMQP.Confirm, s.log)
	s.closeLast(spooled.Close)
	s.checks.add(queueName, rabbit.Check)
	mq.MeasureDepth(s.metricsOf(sharedRole), spooled, Queues())
	return spooled, nil
}

// keyFile is where a process that runs everything keeps the token key it made.
const keyFile = "token.keys"

func (r *resources) readKeys() (*token.Keys, error) {
	list := r.cfg.Token.Keys
	if list == "" {
		var err error
		if list, err = ownKey(filepath.Join(r.cfg.Data.Dir, keyFile)); err != nil {
			return nil, fmt.Errorf("token key: %w", err)
		}
	}
	return token.ParseKeys(list, r.cfg.Token.Life, time.Now)
}

// ownKey returns the key in the file, which it makes the first time.
func ownKey(path string) (string, error) {
	kept, err := os.ReadFile(path)
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return string(kept), err
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails, says its documentation
	made := "k1:" + base64.StdEncoding.EncodeToString(secret)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return "", err
	}
	return made, os.WriteFile(path, []byte(made), 0o600)
}
