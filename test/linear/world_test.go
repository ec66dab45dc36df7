package linear

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opentracing/opentracing-go"
	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"
	"gorm.io/gorm"

	"backbeat/app/batch"
	"backbeat/app/cache"
	"backbeat/app/comment"
	"backbeat/app/favorite"
	"backbeat/app/id"
	"backbeat/app/message"
	"backbeat/app/relation"
	"backbeat/app/video"
	"backbeat/config"
	"backbeat/model"
	"backbeat/mq"
	pbcomment "backbeat/proto/comment"
	"backbeat/proto/entity"
	"backbeat/proto/event"
	pbfavorite "backbeat/proto/favorite"
	pbmessage "backbeat/proto/message"
	pbrelation "backbeat/proto/relation"
	pbvideo "backbeat/proto/video"
	"backbeat/test/harness"
	"backbeat/test/harness/tables"
)

// confirm is how long a publish waits for the broker: longer than a loaded
// machine needs, since the faults here are wanted ones.
const confirm = 5 * time.Second

// services are what calls go to, as the gateway sees them.
type services struct {
	// favorites are instances that share what their configuration makes them share.
	favorites []pbfavorite.FavoriteHandler
	relation  pbrelation.RelationHandler
	comment   pbcomment.CommentHandler
	message   pbmessage.MessageHandler
	video     pbvideo.VideoHandler
}

// world is a system that histories happen in, one after the other, each with
// users and videos of its own.
type world struct {
	services
	db      *gorm.DB
	traffic *traffic
	// queues are the databases that hold table queues.
	queues []*gorm.DB
	// remote is whether messages also wait where nobody can count them.
	remote bool
	// redis counts calls of Redis that failed.
	redis *failures

	ids atomic.Int64
	// jobs are the videos whose jobs arrived.
	jobs sync.Map
}

// kind is what a world is built from.
type kind struct {
	name string
	// share is how many of 40 histories happen in it.
	share    int
	database func(testing.TB) (dsn string)
	// broker returns what publishes go to first.
	broker func(testing.TB, mq.Deps) (mq.Broker, []*gorm.DB)
	redis  bool
	// cancels is whether callers may go away in the middle. A server may still
	// commit what its client gave up, after everything was counted.
	cancels bool
	// shards are how many queues the first instance spreads likes over; the other one
	// knows of one.
	shards int
}

var kinds = []kind{
	{"sqlite, table queues", 6, harness.SQLite, tableBroker, false, true, 1},
	{"mariadb, table queues", 14, harness.MariaDB, tableBroker, false, false, 1},
	{"mariadb, rabbitmq, redis", 10, harness.MariaDB, rabbitBroker, true, false, 1},
	{"mariadb, rabbitmq, redis, four shards", 10, harness.MariaDB, rabbitBroker, true, false, 4},
}

// tableBroker is a table in a file of its own.
func tableBroker(tb testing.TB, deps mq.Deps) (mq.Broker, []*gorm.DB) {
	db := tables.Open(tb, "sqlite:"+filepath.Join(tb.TempDir(), "broker.db"))
	return mq.NewTable(db, deps), []*gorm.DB{db}
}

func rabbitBroker(tb testing.TB, deps mq.Deps) (mq.Broker, []*gorm.DB) {
	rabbit, err := mq.NewRabbit(mq.RabbitConfig{URL: harness.RabbitMQ(tb), Confirm: confirm}, deps)
	must(tb, err)
	return rabbit, nil
}

// newWorld builds a world, broken as b says.
func newWorld(tb testing.TB, k kind, b breakage) *world {
	w := &world{db: tables.Open(tb, k.database(tb)), traffic: newTraffic(), redis: &failures{}}
	w.ids.Store(model.SystemUserID + 1000)
	must(tb, conflict(w.db))
	if b.tables != nil {
		must(tb, b.tables(w.db))
	}
	db := w.db
	if b.database != nil {
		db = b.database(tb, db)
	}

	log := slog.New(slog.DiscardHandler) // a fault is what histories say it is
	deps := mq.Deps{Tracer: opentracing.NoopTracer{}, Log: log, Now: time.Now}
	primary, at := k.broker(tb, deps)
	w.queues, w.remote = append(at, w.db), len(at) == 0
	primary = &fickle{primary, w.traffic}
	if b.broker != nil {
		primary = b.broker(primary)
	}
	queue := mq.NewSpooled(primary, mq.NewTable(w.db, deps), confirm, log)
	var publisher mq.Publisher = &shaky{queue, w.traffic}
	if b.publisher != nil {
		publisher = b.publisher(publisher)
	}

	versions, pending := w.shared(tb, k, b)
	worked := pending()
	instance := func(now func() time.Time, shards int) pbfavorite.FavoriteHandler {
		service := favorite.New(favorite.Deps{DB: db, Queue: publisher, Pending: pending(), Now: now, Log: log})
		service.Spread(shards)
		return liked(service)
	}
	ids := id.NewGenerator(time.Now)
	w.services = services{
		favorites: []pbfavorite.FavoriteHandler{instance(time.Now, k.shards), instance(slow, 1)},
		relation:  relation.New(relation.Deps{DB: db, IDs: ids, Cache: versions, Now: time.Now, Log: log}),
		comment:   remarked(comment.New(comment.Deps{DB: db, IDs: ids, Cache: versions, Now: time.Now, Log: log})),
		message:   message.New(message.Deps{DB: db, IDs: ids, Now: wobbly}),
		video:     video.New(video.Deps{DB: db, Queue: publisher, IDs: ids, Now: time.Now, Log: log}),
	}
	if b.services != nil {
		b.services(&w.services)
	}

	consumer := &watchedConsumer{queue, w.traffic, b.handler}
	worker := favorite.NewWorker(favorite.WorkerDeps{DB: db, Queue: consumer, Pending: worked, Log: log})
	w.start(tb, worker.Run)
	w.start(tb, func(ctx context.Context) error { return consumer.Consume(ctx, video.PublishQueue, w.job) })
	tb.Cleanup(func() { must(tb, queue.Close()) })
	return w
}

// liking is an instance as a gateway asks it: what is liked at the same time travels
// together.
type liking struct {
	pbfavorite.FavoriteHandler
	acts *batch.Group[*pbfavorite.ActRequest_Act, bool]
}

func liked(of pbfavorite.FavoriteHandler) *liking {
	return &liking{of, batch.NewGroup(batch.MaxViewers, func(ctx context.Context, acts []*pbfavorite.ActRequest_Act) ([]bool, error) {
		var out pbfavorite.ActResponse
		err := of.Act(ctx, &pbfavorite.ActRequest{Acts: acts}, &out)
		return out.Already, err
	})}
}

func (l *liking) Act(ctx context.Context, in *pbfavorite.ActRequest, out *pbfavorite.ActResponse) error {
	already, err := l.acts.Do(ctx, in.Acts[0])
	out.Already = []bool{already}
	return err
}

// remarking is that for comments.
type remarking struct {
	pbcomment.CommentHandler
	drafts *batch.Group[*pbcomment.AddRequest_Draft, *entity.Comment]
}

func remarked(of pbcomment.CommentHandler) *remarking {
	return &remarking{of, batch.NewGroup(batch.MaxViewers, func(ctx context.Context, drafts []*pbcomment.AddRequest_Draft) ([]*entity.Comment, error) {
		var out pbcomment.AddResponse
		err := of.Add(ctx, &pbcomment.AddRequest{Drafts: drafts}, &out)
		return out.Comments, err
	})}
}

func (r *remarking) Add(ctx context.Context, in *pbcomment.AddRequest, out *pbcomment.AddResponse) error {
	added, err := r.drafts.Do(ctx, in.Drafts[0])
	out.Comments = []*entity.Comment{added}
	return err
}

// start runs a consumer until the test ends. It ends before what it works with.
func (w *world) start(tb testing.TB, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		must(tb, <-ended)
	})
}

// shared returns the cache that instances share, and how each gets at the pending
// likes.
func (w *world) shared(tb testing.TB, k kind, b breakage) (cache.Cache, func() favorite.Pending) {
	var versions cache.Cache
	var likes favorite.Pending
	if k.redis {
		client, err := cache.Dial(config.Redis{Addr: harness.Redis(tb).URL})
		must(tb, err)
		tb.Cleanup(func() { must(tb, client.Close()) })
		client.AddHook(w.redis)
		versions, likes = cache.NewRedis(client), favorite.NewRedisPending(client)
	} else {
		memory, err := cache.NewMemory(1 << 20)
		must(tb, err)
		tb.Cleanup(func() { must(tb, memory.Close()) })
		versions, likes = memory, favorite.NewMemoryPending(time.Now)
	}
	if b.cache != nil {
		versions = b.cache(versions)
	}
	if b.pending != nil {
		return versions, b.pending()
	}
	return versions, func() favorite.Pending { return likes }
}

// job takes what a video worker would.
func (w *world) job(_ context.Context, batch []mq.Message) error {
	for _, m := range batch {
		var asked event.VideoPublish
		if err := proto.Unmarshal(m.Body, &asked); err != nil {
			return err
		}
		w.jobs.Store(asked.VideoId, true)
	}
	return nil
}

// idle returns nil when nothing waits in a queue.
func (w *world) idle() error {
	for _, db := range w.queues {
		var rows, dead int64
		err := errors.Join(db.Model(&model.QueueMessage{}).Count(&rows).Error, db.Model(&model.QueueMessage{}).Where("dead = ?", true).Count(&dead).Error)
		if err != nil {
			return err
		}
		if rows > 0 {
			return fmt.Errorf("%d messages wait, %d of them are dead", rows, dead)
		}
	}
	if n := w.traffic.lost(); n > 0 && w.remote {
		return fmt.Errorf("%d messages have not arrived", n) // a table would show them
	}
	return nil
}

// watchedConsumer hands messages over in disorder and knows what was handled.
type watchedConsumer struct {
	mq.Consumer
	traffic *traffic
	broken  func(mq.Handler) mq.Handler
}

func (c *watchedConsumer) Consume(ctx context.Context, queue mq.Queue, handle mq.Handler) error {
	if c.broken != nil {
		handle = c.broken(handle)
	}
	return c.Consumer.Consume(ctx, queue, c.traffic.watched(unruly(c.traffic, handle)))
}

// failures is a hook that counts failed calls of Redis: what pending likes show
// is promised only while Redis answers in time.
type failures struct {
	redis.Hook
	n atomic.Int64
}

func (f *failures) DialHook(next redis.DialHook) redis.DialHook { return next }

func (f *failures) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { return f.count(next(ctx, cmd)) }
}

func (f *failures) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { return f.count(next(ctx, cmds)) }
}

func (f *failures) count(err error) error {
	if err != nil && !errors.Is(err, redis.Nil) && !redis.HasErrorPrefix(err, "NOSCRIPT") {
		f.n.Add(1)
	}
	return err
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
