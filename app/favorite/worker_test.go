package favorite

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"
	"pgregory.net/rapid"

	"backbeat/app/errs"
	"backbeat/model"
	"backbeat/mq"
	"backbeat/test/harness"
	"backbeat/test/harness/tables"
)

func newWorker(tb testing.TB, db *gorm.DB, p Pending, queue mq.Consumer) *Worker {
	return NewWorker(WorkerDeps{DB: db, Queue: queue, Pending: p, Log: harness.Logger(tb)})
}

func memoryPending() *MemoryPending { return NewMemoryPending(time.Now) }

// messages are what the service publishes for the writes, one by one.
func messages(tb testing.TB, writes []write) []mq.Message {
	tb.Helper()
	batch := make([]mq.Message, len(writes))
	for i, w := range writes {
		body, err := encode([]write{w})
		if err != nil {
			tb.Fatal(err)
		}
		batch[i] = mq.Message{ID: fmt.Sprint(i), Type: messageType, Body: body}
	}
	return batch
}

// counts are the counters that are not zero.
type counts struct{ likes, received, given map[int64]int64 }

func (c counts) equal(d counts) bool {
	return maps.Equal(c.likes, d.likes) && maps.Equal(c.received, d.received) && maps.Equal(c.given, d.given)
}

// countOf counts the writes that like.
func countOf(rows map[key]write) counts {
	c := counts{map[int64]int64{}, map[int64]int64{}, map[int64]int64{}}
	for _, w := range rows {
		if w.liked {
			c.likes[w.video]++
			c.received[w.author]++
			c.given[w.user]++
		}
	}
	return c
}

// read returns the tables.
func read(tb testing.TB, db *gorm.DB) (map[key]write, counts) {
	tb.Helper()
	var found []model.Favorite
	var videos []model.FavoriteVideo
	var users []model.FavoriteUser
	if err := errors.Join(db.Find(&found).Error, db.Find(&videos).Error, db.Find(&users).Error); err != nil {
		tb.Fatal(err)
	}
	rows := map[key]write{}
	for _, row := range found {
		rows[key{row.UserID, row.VideoID}] = fromRow(row)
	}
	c := counts{map[int64]int64{}, map[int64]int64{}, map[int64]int64{}}
	set := func(counter map[int64]int64, id, n int64) {
		if n != 0 {
			counter[id] = n
		}
	}
	for _, video := range videos {
		set(c.likes, video.VideoID, video.Likes)
	}
	for _, user := range users {
		set(c.received, user.UserID, user.Received)
		set(c.given, user.UserID, user.Given)
	}
	return rows, c
}

// audit checks that the rows are the newest of the writes and that every counter
// counts its rows.
func audit(tb testing.TB, db *gorm.DB, writes []write) {
	tb.Helper()
	want := map[key]write{}
	for _, w := range newest(writes) {
		want[key{w.user, w.video}] = w
	}
	rows, stored := read(tb, db)
	if !maps.Equal(rows, want) {
		tb.Fatalf("rows %v\nwant %v", rows, want)
	}
	if counted := countOf(rows); !stored.equal(counted) {
		tb.Fatalf("counters %v\nrows    %v", stored, counted)
	}
}

func TestWorkerAppliesExactlyOnce(t *testing.T) {
	like := write{alice, film, carol, true, epoch}
	unlike := write{alice, film, carol, false, epoch + 1}
	again := write{alice, film, carol, true, epoch + 2}
	bobs := write{bob, film, carol, true, epoch}
	own := write{carol, film, carol, true, epoch}
	clips := write{alice, clip, bob, true, epoch}
	moved := write{alice, film, bob, true, epoch + 3}
	tests := map[string][][]write{
		"one":                        {{like}},
		"redelivered":                {{like}, {like}, {like}},
		"twice in a batch":           {{like, like}},
		"like and unlike in a batch": {{like, unlike}},
		"the other way round":        {{unlike, like}},
		"unlike later":               {{like}, {unlike}},
		"late like":                  {{unlike}, {like}},
		"unlike of nothing":          {{unlike}},
		"unlike twice":               {{like}, {unlike}, {unlike}},
		"back and forth":             {{like}, {unlike}, {again}},
		"back and forth, reversed":   {{again}, {unlike}, {like}},
		"liked anew":                 {{like}, {again}},
		"several":                    {{like, bobs, own, clips}},
		"partial overlap":            {{like, bobs}, {bobs, own}, {own, clips, like}},
		"own video":                  {{own}, {own}},
		"another author":             {{like}, {moved}},
		"another author, then none":  {{like}, {moved}, {write{alice, film, carol, false, epoch + 4}}},
	}
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		for name, batches := range tests {
			t.Run(name, func(t *testing.T) {
				clear := db.Session(&gorm.Session{AllowGlobalUpdate: true})
				must(t, errors.Join(clear.Delete(&model.Favorite{}).Error, clear.Delete(&model.FavoriteVideo{}).Error, clear.Delete(&model.FavoriteUser{}).Error))
				w := newWorker(t, db, memoryPending(), nil)
				var delivered []write
				for _, batch := range batches {
					must(t, w.handle(t.Context(), messages(t, batch)))
					delivered = append(delivered, batch...)
					audit(t, db, delivered)
				}
			})
		}
	})
}

// In whatever order and however often messages arrive, the tables hold the newest
// of what has arrived, after every batch.
func TestWorkerAppliesAnyDelivery(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		w := newWorker(t, db, memoryPending(), nil)
		round := int64(0)
		check := func(rt *rapid.T) {
			round += 1000 // a world of its own, so that nothing needs clearing
			sent := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) write {
				return write{
					user:   round + rapid.Int64Range(1, 3).Draw(rt, "user"),
					video:  round + rapid.Int64Range(101, 103).Draw(rt, "video"),
					author: round + rapid.Int64Range(1, 4).Draw(rt, "author"),
					liked:  rapid.Bool().Draw(rt, "liked"),
				}
			}), 1, 12).Draw(rt, "sent")
			for i := range sent {
				sent[i].version = epoch + int64(i)
			}
			var delivered []write
			deliver := func(batch []write) {
				if err := w.handle(t.Context(), messages(t, batch)); err != nil {
					rt.Fatal(err)
				}
				delivered = append(delivered, batch...)
				auditWorld(rt, t, db, round, delivered)
			}
			for range rapid.IntRange(1, 4).Draw(rt, "batches") {
				deliver(rapid.SliceOfN(rapid.SampledFrom(sent), 1, 8).Draw(rt, "batch"))
			}
			deliver(rapid.Permutation(sent).Draw(rt, "the rest"))
		}
		if db.Name() == "sqlite" {
			rapid.Check(t, check)
			return
		}
		for i := range 25 { // servers cost more; the seeds differ
			_ = rapid.Custom(func(rt *rapid.T) int { check(rt); return 0 }).Example(i)
		}
	})
}

// auditWorld is audit for the ids of one round.
func auditWorld(rt *rapid.T, tb testing.TB, db *gorm.DB, round int64, writes []write) {
	want := map[key]write{}
	for _, w := range newest(writes) {
		want[key{w.user, w.video}] = w
	}
	rows, stored := read(tb, db.Session(&gorm.Session{}))
	maps.DeleteFunc(rows, func(k key, _ write) bool { return k.user < round || k.user >= round+1000 })
	for _, counter := range []map[int64]int64{stored.likes, stored.received, stored.given} {
		maps.DeleteFunc(counter, func(id, _ int64) bool { return id < round || id >= round+1000 })
	}
	if counted := countOf(want); !maps.Equal(rows, want) || !stored.equal(counted) {
		rt.Fatalf("rows %v, counters %v\nwant %v, %v", rows, stored, want, counted)
	}
}

// Appliers that race, as when a consumer is replaced while it still works and
// while acts are applied at once, count nothing twice and lose nothing.
func TestAppliersRace(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		const appliers, rounds = 4, 12
		random := rand.New(rand.NewPCG(1, 2))
		var sent []write
		for i := range int64(150) {
			sent = append(sent, write{1 + random.Int64N(6), 101 + random.Int64N(6), 1 + random.Int64N(3), random.IntN(3) > 0, epoch + i})
		}
		var wg sync.WaitGroup
		for applier := range appliers {
			random := rand.New(rand.NewPCG(3, uint64(applier)))
			w := newWorker(t, db, memoryPending(), nil)
			wg.Go(func() {
				for range rounds {
					batch := make([]write, 30)
					for i := range batch {
						batch[i] = sent[random.IntN(len(sent))]
					}
					if err := w.handle(t.Context(), messages(t, batch)); err != nil {
						t.Error(err)
					}
				}
				if err := w.handle(t.Context(), messages(t, sent)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		audit(t, db, sent)
	})
}

func TestWorkerRefusesWhatItCannotRead(t *testing.T) {
	good := messages(t, []write{{alice, film, bob, true, epoch}})[0]
	other := good
	other.Type = "favorite.write/1"
	garbage := good
	garbage.Body = []byte("\xff\xff garbage")
	tests := map[string]mq.Message{
		"unknown type":     other,
		"garbage":          garbage,
		"no user":          messages(t, []write{{0, film, bob, true, epoch}})[0],
		"negative video":   messages(t, []write{{alice, -1, bob, true, epoch}})[0],
		"oversized author": messages(t, []write{{alice, film, 1 << 53, true, epoch}})[0],
		"no version":       messages(t, []write{{alice, film, bob, true, 0}})[0],
	}
	db := tables.Open(t, harness.SQLite(t))
	w := newWorker(t, db, memoryPending(), nil)
	for name, bad := range tests {
		t.Run(name, func(t *testing.T) {
			if err := w.handle(t.Context(), []mq.Message{good, bad}); !errs.Is(err, errs.Invalid) {
				t.Errorf("handle returned %v, want Invalid", err)
			}
			audit(t, db, nil)
		})
	}
	must(t, w.handle(t.Context(), []mq.Message{good}))
	audit(t, db, []write{{alice, film, bob, true, epoch}})
}

// away is a Pending that can't be reached.
type away struct{ Pending }

var errAway = errs.New(errs.Unavailable, "")

func (away) allocate(context.Context, []proposal) ([]allocation, error) { return nil, errAway }
func (away) settle(context.Context, []write) error                      { return errAway }
func (away) of(context.Context, ...int64) ([]view, error)               { return nil, errAway }
func (away) leave(context.Context, int64, ...int64) error               { return errAway }

func TestWorkerNeedsNoPendingEntries(t *testing.T) {
	db := tables.Open(t, harness.SQLite(t))
	like := []write{{alice, film, bob, true, epoch}}
	must(t, newWorker(t, db, away{}, nil).handle(t.Context(), messages(t, like)))
	audit(t, db, like)
}

func TestWorkerSettlesWhatItApplied(t *testing.T) {
	now := time.Now()
	p := NewMemoryPending(func() time.Time { return now })
	like := enter(t, p, epoch, true)
	must(t, keep(t.Context(), p, like))
	w := newWorker(t, tables.Open(t, harness.SQLite(t)), p, nil)
	must(t, w.handle(t.Context(), messages(t, []write{like})))
	now = now.Add(settledLife - time.Millisecond)
	shows(t, p, like)
	now = now.Add(time.Millisecond)
	shows(t, p)
}

func TestWorkerReportsADatabaseThatIsAway(t *testing.T) {
	db, err := model.Open(t.Context(), harness.SQLite(t), 1, harness.Logger(t))
	must(t, err)
	must(t, model.Migrate(t.Context(), db))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := newWorker(t, db, memoryPending(), nil)
	if err := w.handle(ctx, messages(t, []write{{alice, film, bob, true, epoch}})); !errs.Is(err, errs.Unavailable) {
		t.Errorf("handle returned %v, want Unavailable: the batch is tried again", err)
	}
	must(t, model.Close(db))
}

// lines hand over a message in each queue, then end.
type lines struct {
	mu       sync.Mutex
	messages []mq.Message
	queues   []string
	err      error
}

func (l *lines) Consume(ctx context.Context, queue mq.Queue, handle mq.Handler) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queues = append(l.queues, queue.Name)
	next := l.messages[:1]
	l.messages = l.messages[1:]
	return errors.Join(handle(context.WithoutCancel(ctx), next), l.err)
}

func TestWorkerRunConsumesEveryQueueOfLikes(t *testing.T) {
	db := tables.Open(t, harness.SQLite(t))
	var likes []write
	var names []string
	for i, queue := range Queues() {
		likes, names = append(likes, write{alice, film + int64(i), bob, true, epoch}), append(names, queue.Name)
	}
	broken := errors.New("the queue can never work")
	consumer := &lines{messages: messages(t, likes), err: broken}
	if err := newWorker(t, db, memoryPending(), consumer).Run(t.Context()); !errors.Is(err, broken) {
		t.Errorf("Run returned %v, want the consumer's error", err)
	}
	if slices.Sort(consumer.queues); !slices.Equal(consumer.queues, names) {
		t.Errorf("consumed %q, want %q", consumer.queues, names)
	}
	audit(t, db, likes)
}

// A batch costs the same few statements whatever its size.
func TestWorkerAppliesABatchInFewStatements(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		w := newWorker(t, db, memoryPending(), nil)
		statements := tables.Statements(t, db)
		var all []write
		batch := func(version int64, first, end int) (some []write) {
			for i := first; i < end; i++ {
				some = append(some, write{1 + int64(i)%40, 1000 + int64(i), 2000 + int64(i)%60, version%2 == 0, epoch + version})
			}
			return some
		}
		n := Queue.Batch
		for _, tt := range []struct {
			name   string
			writes []write
			most   int64
		}{
			{"of new likes", batch(0, 0, n), 4},
			{"redelivered", batch(0, 0, n), 1},
			{"of unlikes", batch(1, 0, n), 4},
			{"of both", batch(2, n/2, n+n/2), 5},
		} {
			statements.Store(0)
			must(t, w.handle(t.Context(), messages(t, tt.writes)))
			if got := statements.Load(); got != tt.most {
				t.Errorf("a batch %s: %d statements, want %d", tt.name, got, tt.most)
			}
			all = append(all, tt.writes...)
			audit(t, db, all)
		}
	})
}

// The lock must fall on the rows of the batch alone, found by their key.
func TestLockingReadsByKey(t *testing.T) {
	db := tables.Open(t, harness.MariaDB(t))
	w := newWorker(t, db, memoryPending(), nil)
	var many []write
	for i := range int64(2000) {
		many = append(many, write{1 + i%50, 1000 + i, 1, true, epoch + i})
	}
	for batch := range slices.Chunk(many, Queue.Batch) {
		must(t, w.handle(t.Context(), messages(t, batch)))
	}
	must(t, db.Exec("ANALYZE TABLE favorites").Error)
	where := make([]string, 0, Queue.Batch)
	for _, w := range many[:Queue.Batch] {
		where = append(where, fmt.Sprintf("(user_id = %d AND video_id = %d)", w.user, w.video))
	}
	var plan struct {
		Key  string
		Rows int
	}
	must(t, db.Raw("EXPLAIN SELECT * FROM favorites WHERE "+strings.Join(where, " OR ")+" ORDER BY user_id, video_id FOR UPDATE").Scan(&plan).Error)
	if plan.Key != "PRIMARY" || plan.Rows > Queue.Batch {
		t.Errorf("plan %+v, want the primary key and %d rows", plan, Queue.Batch)
	}
}

// settled notes how many writes are settled at a time.
type settled struct {
	Pending
	sizes []int
}

func (s *settled) settle(_ context.Context, applied []write) error {
	s.sizes = append(s.sizes, len(applied))
	return nil
}

// A long batch, as after an outage, is settled with each of its transactions.
func TestALongBatchIsSettledInParts(t *testing.T) {
	db := tables.Open(t, harness.SQLite(t))
	var writes []write
	for i := range int64(2*mostApplied + 1) {
		writes = append(writes, write{alice, film + i, carol, true, epoch})
	}
	body, err := encode(writes)
	must(t, err)
	p := &settled{Pending: memoryPending()}
	must(t, newWorker(t, db, p, nil).handle(t.Context(), []mq.Message{{ID: "m", Type: messageType, Body: body}}))
	if want := []int{mostApplied, mostApplied, 1}; !slices.Equal(p.sizes, want) {
		t.Errorf("settled %v, want %v", p.sizes, want)
	}
}
