package favorite

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opentracing/opentracing-go"
	"gorm.io/gorm"

	"backbeat/app/errs"
	"backbeat/config"
	"backbeat/mq"
	pb "backbeat/proto/favorite"
	"backbeat/test/harness"
	"backbeat/test/harness/tables"
)

// soon is far more than anything here takes on an idle machine.
const soon = time.Minute

func TestQueuesAreShardsOfTheFirst(t *testing.T) {
	queues := Queues()
	if len(queues) != config.MostShards || queues[0] != Queue || Queue.Name != "favorite.write" {
		t.Fatalf("%d queues, the first is %v: one shard must be the queue there always was", len(queues), queues[0])
	}
	names := map[string]bool{}
	for _, queue := range queues {
		names[queue.Name] = true
		if queue.Name = Queue.Name; queue != Queue {
			t.Errorf("%v differs from the first in more than its name", queue)
		}
	}
	if len(names) != len(queues) {
		t.Errorf("names %v are not unique", slices.Sorted(maps.Keys(names)))
	}
}

func TestShardsGetEqualParts(t *testing.T) {
	const videos = 10_000
	for name, step := range map[string]int64{"one after the other": 1, "a millisecond apart": 1 << 12, "a second apart": 1000 << 12} {
		for n := 1; n <= config.MostShards; n++ {
			parts := make([]int, n)
			for i := range int64(videos) {
				parts[shardOf(film+i*step, n)]++
			}
			if slices.Min(parts) < videos/n*9/10 || slices.Max(parts) > videos/n*11/10 {
				t.Errorf("ids %s, %d shards: parts of %v", name, n, parts)
			}
		}
	}
}

// addressed is what was published where; queues in broken take nothing.
type addressed struct {
	mu     sync.Mutex
	sent   map[string][]mq.Message
	broken map[string]bool
}

func (a *addressed) Publish(_ context.Context, queue mq.Queue, message mq.Message) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.broken[queue.Name] {
		return errors.New("not taken")
	}
	a.sent[queue.Name] = append(a.sent[queue.Name], message)
	return nil
}

// Acts that come together part by video, each into one message, and what one queue
// refuses is taken back alone.
func TestActsAreSpread(t *testing.T) {
	const n = 4
	to := &addressed{sent: map[string][]mq.Message{}, broken: map[string]bool{}}
	p := memoryPending()
	s := New(Deps{DB: tables.Open(t, harness.SQLite(t)), Queue: to, Pending: p, Now: time.Now, Log: harness.Logger(t)})
	in, want := &pb.ActRequest{}, map[string][]int64{}
	for i := range int64(20) {
		in.Acts = append(in.Acts, &pb.ActRequest_Act{UserId: alice, VideoId: film + i, AuthorId: bob, Liked: true})
		queue := Queues()[shardOf(film+i, n)].Name
		want[queue] = append(want[queue], film+i)
	}
	must(t, s.Act(t.Context(), in, &pb.ActResponse{}))
	if got := to.sent[Queue.Name]; len(to.sent) != 1 || len(got) != 1 {
		t.Errorf("unless it is told otherwise likes are sent to %v", slices.Sorted(maps.Keys(to.sent)))
	}
	clear(to.sent)
	s.Spread(n)
	must(t, s.Act(t.Context(), in, &pb.ActResponse{}))
	for queue, videos := range want {
		if len(to.sent[queue]) != 1 {
			t.Fatalf("%d messages in %s, want one", len(to.sent[queue]), queue)
		}
		writes, err := decode(to.sent[queue][0])
		must(t, err)
		if got := videosOf(writes); !slices.Equal(got, videos) {
			t.Errorf("%s carries %v, want %v", queue, got, videos)
		}
	}

	in.Acts = slices.DeleteFunc(in.Acts, func(act *pb.ActRequest_Act) bool { act.UserId = carol; return false })
	broken := Queues()[shardOf(film, n)].Name
	to.broken[broken] = true
	if err := s.Act(t.Context(), in, &pb.ActResponse{}); !errs.Is(err, errs.Unavailable) {
		t.Errorf("with %s broken Act returned %v, want Unavailable", broken, err)
	}
	if shown := len(showing(t, p, carol)); shown != len(in.Acts)-len(want[broken]) {
		t.Errorf("%d likes show, want all %d but the %d refused", shown, len(in.Acts), len(want[broken]))
	}
}

// Appliers of several queues share users and authors, and still hardly ever have to
// begin a transaction anew.
func TestShardsDoNotDeadlock(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		const appliers, batches, perBatch = 4, 15, 4 // statements that new likes take
		p := memoryPending()
		statements := tables.Statements(t, db)
		var all []write
		var wg sync.WaitGroup
		for shard := range appliers {
			var likes []write
			for video := film; len(likes) < batches*mostApplied; video++ {
				for user := int64(1); shardOf(video, appliers) == shard && user <= 100; user++ {
					likes = append(likes, write{user, video, 1000 + video%20, true, epoch})
				}
			}
			rand.New(rand.NewPCG(1, uint64(shard))).Shuffle(len(likes), func(i, j int) { likes[i], likes[j] = likes[j], likes[i] })
			likes = likes[:batches*mostApplied]
			all = append(all, likes...)
			w := newWorker(t, db, p, nil)
			wg.Go(func() {
				for batch := range slices.Chunk(likes, mostApplied) {
					if err := w.handle(t.Context(), messages(t, batch)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		usual := int64(appliers * batches * perBatch)
		if got := statements.Load(); got > usual+usual/20 {
			t.Errorf("%d statements where %d do: transactions are repeated", got, usual)
		}
		audit(t, db, all)
	})
}

// platform is RabbitMQ, a spool and a database, with any number of processes.
type platform struct {
	*testing.T
	url     string
	db      *gorm.DB
	pending Pending
}

// broker is what a process has of the queues.
func (p *platform) broker() *mq.Spooled {
	deps := mq.Deps{Tracer: opentracing.NoopTracer{}, Log: harness.Logger(p), Now: time.Now}
	rabbit, err := mq.NewRabbit(mq.RabbitConfig{URL: p.url, Confirm: 5 * time.Second}, deps)
	must(p.T, err)
	spooled := mq.NewSpooled(rabbit, mq.NewTable(p.db, deps), 5*time.Second, deps.Log)
	p.Cleanup(func() { must(p.T, spooled.Close()) })
	return spooled
}

// service is an instance that knows of so many shards.
func (p *platform) service(shards int) *Service {
	s := New(Deps{DB: p.db, Queue: p.broker(), Pending: p.pending, Now: time.Now, Log: harness.Logger(p)})
	s.Spread(shards)
	return s
}

// mortal is a worker's consumer that notes which queues it is handed batches of.
// Doomed, it dies with each batch after that was applied and before it is
// acknowledged.
type mortal struct {
	*mq.Spooled
	mu     sync.Mutex
	served map[string]int
	doomed bool
	// dying is closed when the first batch is in doomed hands.
	dying chan struct{}
}

func (m *mortal) Consume(ctx context.Context, queue mq.Queue, handle mq.Handler) error {
	return m.Spooled.Consume(ctx, queue, func(ctx context.Context, batch []mq.Message) error {
		err := handle(ctx, batch)
		m.mu.Lock()
		m.served[queue.Name] += len(batch)
		doomed := m.doomed
		if doomed && err == nil {
			select {
			case <-m.dying:
			default:
				close(m.dying)
			}
		}
		m.mu.Unlock()
		if doomed && err == nil {
			<-ctx.Done() // the process ends with the batch in hand
			return ctx.Err()
		}
		return err
	})
}

// doom has the worker die with what it is handed next.
func (m *mortal) doom() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.doomed = true
}

func (m *mortal) queues() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.served))
}

// worker starts one.
func (p *platform) worker() *mortal {
	m := &mortal{Spooled: p.broker(), served: map[string]int{}, dying: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- newWorker(p, p.db, p.pending, m).Run(ctx) }()
	p.Cleanup(func() {
		cancel()
		must(p.T, <-ended)
	})
	return m
}

// fans are users who like and unlike the same videos of a few authors, each one act
// after the other, through instances in turn.
type fans struct {
	mu   sync.Mutex
	last map[key]write
}

const fanCount, fanVideos, fanAuthors = 24, 12, 3

// act has each user do so many acts. Versions are not known here, so they are left 0.
func (f *fans) act(p *platform, acts int, services ...*Service) {
	var wg sync.WaitGroup
	for user := int64(1); user <= fanCount; user++ {
		random := rand.New(rand.NewPCG(uint64(user), uint64(acts)))
		wg.Go(func() {
			for i := range acts {
				video := 1000 + random.Int64N(fanVideos)
				w := write{user: user, video: video, author: 100 + video%fanAuthors, liked: random.IntN(3) > 0}
				if err := services[i%len(services)].Act(p.Context(), one(w.user, w.video, w.author, w.liked), &pb.ActResponse{}); err != nil {
					p.Error(err)
					return
				}
				f.mu.Lock()
				f.last[key{user, video}] = w
				f.mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// applied waits until rows are what users said last, and counters count them.
func (f *fans) applied(p *platform) {
	p.Helper()
	harness.Eventually(p, soon, func() error {
		rows, stored := read(p, p.db)
		for k, w := range rows {
			w.version = 0
			rows[k] = w
		}
		wrong := 0
		for k, w := range f.last {
			if rows[k] != w {
				wrong++
			}
		}
		if wrong > 0 || len(rows) != len(f.last) {
			return fmt.Errorf("%d rows, %d of %d are not there or others", len(rows), wrong, len(f.last))
		}
		if counted := countOf(rows); !stored.equal(counted) {
			return fmt.Errorf("counters %v\nrows    %v", stored, counted)
		}
		return nil
	}, "likes are applied")
}

func newPlatform(t *testing.T) *platform {
	return &platform{t, harness.RabbitMQ(t), tables.Open(t, harness.MariaDB(t)), memoryPending()}
}

// The number of shards goes up and down while instances disagree about it and
// messages wait, and workers die with batches they have applied: what users said last
// holds in the end, and every count is exact.
func TestReshardingLosesNothing(t *testing.T) {
	p := newPlatform(t)
	old, one, four, three := p.service(1), p.service(1), p.service(4), p.service(3)
	f := &fans{last: map[key]write{}}

	f.act(p, 10, one, four) // nobody works yet
	first := p.worker()
	f.applied(p)
	if got, want := first.queues(), names(4); !slices.Equal(got, want) {
		t.Errorf("the worker was handed messages of %q, want %q", got, want)
	}

	second := p.worker() // stands by
	first.doom()
	f.act(p, 10, four, three, old)
	<-first.dying
	must(t, first.Close())
	f.applied(p)
	if got, want := second.queues(), names(4); !slices.Equal(got, want) {
		t.Errorf("the worker that stood by took over %q, want %q", got, want)
	}

	// Down to one again: what the others hold is applied by workers that start then.
	second.doom()
	f.act(p, 10, four, old)
	<-second.dying
	must(t, second.Close())
	four.Spread(1)
	f.act(p, 5, four, old)
	p.worker()
	f.applied(p)
}

func names(n int) (list []string) {
	for _, queue := range Queues()[:n] {
		list = append(list, queue.Name)
	}
	slices.Sort(list)
	return list
}
