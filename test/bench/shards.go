package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/opentracing/opentracing-go"
	"golang.org/x/sync/errgroup"

	"backbeat/app/favorite"
	"backbeat/config"
	"backbeat/deploy/local"
	"backbeat/model"
	"backbeat/mq"
	pbfavorite "backbeat/proto/favorite"
	"backbeat/test/sluice"
)

// shardsName is what -only finds it by.
const shardsName = "shards"

const (
	// drained is how many likes wait when the worker begins. Givers give them, each as
	// many, so that several batches are about the same users and authors.
	drained = 16 << 10
	givers  = 1 << 10
	// drains is how often that is measured.
	drains = 6
	// together is how many acts arrive in one call, as from a busy gateway.
	together = 8
	// farAway is what a database in another place takes longer for each statement.
	farAway = 5 * time.Millisecond
	// inTime bounds the wait for the broker, which nobody disturbs.
	inTime = 5 * time.Second
)

// Drain is how fast one worker applied likes that waited for it. CPU is in ms per
// like.
type Drain struct {
	Shards int `json:"shards"`
	// Late is by how much each answer of the database was delayed, in ms.
	Late  float64 `json:"late_ms"`
	Likes int     `json:"likes"`
	// PerSecond is likes applied, Batches how many times a second the handler was
	// called.
	PerSecond float64            `json:"likes_per_second"`
	Batches   float64            `json:"batches_per_second"`
	CPU       float64            `json:"cpu_ms"`
	By        map[string]float64 `json:"cpu_by"`
	// Repeated is how many transactions the database ended for a deadlock.
	Repeated int64   `json:"deadlocks"`
	Others   float64 `json:"others_cores"`
}

// shards has a worker drain the same number of likes from one queue and from several,
// near its database and far away from it.
func (b *bench) shards(ctx context.Context, f *fans) (results []Drain, err error) {
	w := b.world
	usual := b.part("favorite-worker")
	if err := usual.Stop(); err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, usual.Start(ctx))
		w.members = members(w.cluster)
	}()
	far, err := sluice.Open(w.server("mariadb"))
	if err != nil {
		return nil, err
	}
	defer far.Close()
	if err := far.Delay(farAway); err != nil {
		return nil, err
	}
	for _, way := range []struct {
		late time.Duration
		env  []string
	}{{0, nil}, {farAway, []string{"BACKBEAT_DB_DSN=" + far.URL()}}} {
		for _, n := range []int{1, 2, 4} {
			d, err := b.drain(ctx, f, n, len(results), way.env)
			if err != nil {
				return nil, fmt.Errorf("%d shards: %w", n, err)
			}
			d.Late = milliseconds(way.late)
			results = append(results, d)
		}
	}
	return results, nil
}

// drain fills the first n queues while a worker with env is asleep, and measures it
// from when it wakes until every like is applied.
func (b *bench) drain(ctx context.Context, f *fans, n, turn int, env []string) (d Drain, err error) {
	w := b.world
	name := fmt.Sprintf("favorite-worker-%d", 2+turn)
	worker, err := w.cluster.StartPart(ctx, filepath.Join(w.dir, name), name, filepath.Join(w.dir, "backbeat"), env, local.Options{})
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, worker.Stop()) }()
	w.members = slices.DeleteFunc(members(w.cluster), func(m member) bool { return m.name == "favorite-worker" })
	for _, pid := range worker.PIDs() {
		w.members = append(w.members, member{name: "favorite-worker", pid: pid})
	}
	if err := worker.Pause(); err != nil {
		return d, err
	}
	if err := w.give(ctx, f, n, turn); err != nil {
		return d, errors.Join(err, worker.Resume())
	}
	before, err := b.read(ctx)
	if err != nil {
		return d, errors.Join(err, worker.Resume())
	}
	deadlocks, err := w.store.deadlocks(ctx)
	if err := errors.Join(err, worker.Resume()); err != nil {
		return d, err
	}
	missing, err := w.settle(ctx)
	if err != nil {
		return d, err
	}
	after, err := b.read(ctx)
	if err != nil {
		return d, err
	}
	ended, err := w.store.deadlocks(ctx)
	if err != nil {
		return d, err
	}
	if missing > 0 {
		return d, fmt.Errorf("%d of %d likes were lost", missing, drained)
	}
	if err := w.store.tallied(ctx); err != nil {
		return d, err
	}
	handled, err := handled(ctx, worker)
	between := after.since(before)
	var r Row
	r.fill(row{}, 0, tally{latencies: make([]time.Duration, drained), took: between.took}, between.cpu.beyond(b.idle.cpu, between.took, b.idle.took), counts{})
	return Drain{
		Shards: n, Likes: drained, PerSecond: r.RPS, Batches: rounded(handled / between.took.Seconds()),
		CPU: r.CPU, By: r.By, Repeated: ended - deadlocks, Others: rounded(between.others()),
	}, err
}

// give publishes likes that nobody has given, as an instance of the service does that
// spreads them over n queues.
func (w *world) give(ctx context.Context, f *fans, n, turn int) (err error) {
	cfg, err := config.Load("", w.cluster.Env)
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	db, err := model.Open(ctx, cfg.DB.DSN, few, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, model.Close(db)) }()
	rabbit, err := mq.NewRabbit(mq.RabbitConfig{URL: cfg.AMQP.URL, Confirm: inTime}, mq.Deps{Tracer: opentracing.NoopTracer{}, Log: log, Now: time.Now})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rabbit.Close()) }()
	for deadline := time.Now().Add(inTime); rabbit.Check(ctx) != nil && time.Now().Before(deadline); {
		time.Sleep(settleEvery)
	}
	service := favorite.New(favorite.Deps{DB: db, Queue: rabbit, Pending: favorite.NewRedisPending(w.redis), Now: time.Now, Log: log})
	service.Spread(n)

	acts := make([]*pbfavorite.ActRequest_Act, drained)
	for i := range acts {
		giver, nth := i%givers, i/givers
		video := w.videos[(7*giver+13*nth)%len(w.videos)] // another each time: 13 and their number have no common part
		acts[i] = &pbfavorite.ActRequest_Act{UserId: f.givers[turn*givers+giver], VideoId: video, AuthorId: f.authors[video], Liked: true}
	}
	mathrand.Shuffle(len(acts), func(i, j int) { acts[i], acts[j] = acts[j], acts[i] })
	group, calling := errgroup.WithContext(ctx)
	group.SetLimit(many)
	for some := range slices.Chunk(acts, together) {
		group.Go(func() error {
			err := service.Act(calling, &pbfavorite.ActRequest{Acts: some}, &pbfavorite.ActResponse{})
			if err == nil {
				w.liked.answered.Add(int64(len(some)))
			}
			return err
		})
	}
	return group.Wait()
}

// printDrains writes the step's table.
func printDrains(w io.Writer, drains []Drain) error {
	fmt.Fprintf(w, "\nshards: one worker applies %d likes that waited, by %d users\n", drained, givers)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "shards\tdatabase later by\tlikes/s\t\tbatches/s\tCPU ms a like\tworker\tmariadb\tredis\trabbitmq\tdeadlocks\tothers\t")
	var one Drain
	for _, d := range drains {
		if d.Shards == 1 {
			one = d
		}
		fmt.Fprintf(table, "%d\t%g ms\t%.0f\t%.1f×\t%.0f\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t%d\t%.2f\t\n",
			d.Shards, d.Late, d.PerSecond, ratio(d.PerSecond, one.PerSecond), d.Batches, d.CPU,
			d.By["favorite-worker"], d.By["mariadb"], d.By["redis"], d.By["rabbitmq"], d.Repeated, d.Others)
	}
	return table.Flush()
}
