package favorite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"
	"pgregory.net/rapid"

	"backbeat/app/batch"
	"backbeat/app/cache"
	"backbeat/app/errs"
	"backbeat/mq"
	pb "backbeat/proto/favorite"
	"backbeat/test/harness"
	"backbeat/test/harness/tables"
)

// wire is a queue whose messages a test delivers.
type wire struct {
	mu       sync.Mutex
	messages []mq.Message
	refuse   error
	// arrives is whether what is refused arrives all the same.
	arrives bool
	// entered, when set, is told of each publish, which then waits for release.
	entered, release chan struct{}
}

func (w *wire) Publish(_ context.Context, queue mq.Queue, message mq.Message) error {
	if queue != Queue {
		return fmt.Errorf("published to %v", queue)
	}
	w.mu.Lock()
	refuse, entered, release := w.refuse, w.entered, w.release
	if refuse == nil || w.arrives {
		w.messages = append(w.messages, message)
	}
	w.mu.Unlock()
	if entered != nil {
		entered <- struct{}{}
		<-release
	}
	return refuse
}

// take returns what was published since the last take.
func (w *wire) take() []mq.Message {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := w.messages
	w.messages = nil
	return taken
}

// world is a service with its worker, and another instance of it that only reads.
type world struct {
	*Service
	other  *Service
	worker *Worker
	wire   *wire
	db     *gorm.DB
}

func newWorld(tb testing.TB, db *gorm.DB, p Pending) *world {
	w := &wire{}
	return &world{
		Service: New(Deps{DB: db, Queue: w, Pending: p, Now: time.Now, Log: harness.Logger(tb)}),
		other:   New(Deps{DB: db, Queue: w, Pending: p, Now: time.Now, Log: harness.Logger(tb)}),
		worker:  newWorker(tb, db, p, nil),
		wire:    w,
		db:      db,
	}
}

func (w *world) act(tb testing.TB, user, video, author int64, liked bool) (already bool) {
	tb.Helper()
	var out pb.ActResponse
	if err := w.Act(tb.Context(), one(user, video, author, liked), &out); err != nil {
		tb.Fatal(err)
	}
	return out.Already[0]
}

// one is a request with one act.
func one(user, video, author int64, liked bool) *pb.ActRequest {
	return &pb.ActRequest{Acts: []*pb.ActRequest_Act{{UserId: user, VideoId: video, AuthorId: author, Liked: liked}}}
}

// drain applies what was published.
func (w *world) drain(tb testing.TB) {
	tb.Helper()
	if batch := w.wire.take(); len(batch) > 0 {
		if err := w.worker.handle(tb.Context(), batch); err != nil {
			tb.Fatal(err)
		}
	}
}

func (w *world) statsOf(tb testing.TB, videos, users []int64) *pb.StatsResponse {
	tb.Helper()
	var out pb.StatsResponse
	if err := w.Stats(tb.Context(), &pb.StatsRequest{VideoIds: videos, UserIds: users}, &out); err != nil {
		tb.Fatal(err)
	}
	return &out
}

// flagsOf asks an instance what a viewer likes of the videos.
func flagsOf(tb testing.TB, s *Service, viewer int64, videos ...int64) []int64 {
	tb.Helper()
	var out pb.FlagsResponse
	err := s.Flags(tb.Context(), &pb.FlagsRequest{Viewers: []*pb.FlagsRequest_Viewer{{Id: viewer, VideoIds: videos}}}, &out)
	if err != nil || len(out.Viewers) != 1 {
		tb.Fatalf("flags of user %d: %v, %v", viewer, out.Viewers, err)
	}
	return out.Viewers[0].VideoIds
}

// forget lets the rows that instances hold expire.
func (w *world) forget() {
	for _, s := range []*Service{w.Service, w.other} {
		s.held = cache.NewHeld(heldQuestions, heldLife, time.Now, s.load)
	}
}

func (w *world) list(tb testing.TB, user int64) []int64 {
	tb.Helper()
	var out pb.ListLikedResponse
	if err := w.ListLiked(tb.Context(), &pb.ListLikedRequest{UserId: user}, &out); err != nil {
		tb.Fatal(err)
	}
	return out.VideoIds
}

// sees checks whether a viewer is shown film as liked, which is the same through
// any instance, whatever each holds.
func (w *world) sees(t *testing.T, when string, viewer int64, flag bool) {
	t.Helper()
	w.other.pending = w.pending
	for name, instance := range map[string]*Service{"its own": w.Service, "another": w.other} {
		liked := flagsOf(t, instance, viewer, film, film+1000)
		if shown := slices.Contains(liked, film); shown != flag || len(liked) > 1 {
			t.Errorf("%s, user %d is shown %v by %s instance; want %t", when, viewer, liked, name, flag)
		}
	}
}

// counts checks the likes of film, whose author is carol, those that carol
// received and those that alice gave.
func (w *world) counts(t *testing.T, when string, likes, received, given int64) {
	t.Helper()
	stats := w.statsOf(t, []int64{film}, []int64{carol, alice})
	got := fmt.Sprint(stats.Videos[film].FavoriteCount, stats.Users[carol].TotalFavorited, stats.Users[alice].FavoriteCount)
	if want := fmt.Sprint(likes, received, given); got != want {
		t.Errorf("%s, counted are %s; want %s (likes, received, given)", when, got, want)
	}
}

// eachWorld runs test on every database, and on the first with Redis too.
func eachWorld(t *testing.T, test func(t *testing.T, w *world)) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) { test(t, newWorld(t, db, memoryPending())) })
	t.Run("redis", func(t *testing.T) {
		p := patient(t, harness.Redis(t))
		test(t, newWorld(t, tables.Open(t, harness.SQLite(t)), p))
	})
}

func TestActShowsInTheUsersNextRead(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		w.sees(t, "at first", alice, false)
		w.counts(t, "at first", 0, 0, 0)
		w.act(t, bob, film, carol, true)
		w.drain(t)
		steps := []struct {
			name  string
			liked bool
			own   int64
		}{{"liked", true, 1}, {"liked again", true, 1}, {"unliked", false, 0}, {"unliked again", false, 0}, {"liked anew", true, 1}}
		for _, step := range steps {
			before := w.statsOf(t, []int64{film}, nil).Videos[film].FavoriteCount
			w.act(t, alice, film, carol, step.liked)
			w.sees(t, step.name+", waiting", alice, step.liked)
			if counted := w.statsOf(t, []int64{film}, nil).Videos[film].FavoriteCount; counted != before {
				t.Errorf("%s, waiting: %d likes are counted, want %d still", step.name, counted, before)
			}
			w.drain(t)
			w.sees(t, step.name+", applied", alice, step.liked)
			w.counts(t, step.name+", applied", 1+step.own, 1+step.own, step.own)
			w.sees(t, step.name+", applied", bob, true)
		}
	})
}

// Acts that travel together share a statement and a message, and each is answered
// for itself.
func TestActsTravelTogether(t *testing.T) {
	acts := slices.Concat(one(alice, film, carol, true).Acts, one(bob, film, carol, true).Acts,
		one(alice, film, carol, false).Acts, one(alice, clip, carol, true).Acts)
	act := func(t *testing.T, w *world) {
		var out pb.ActResponse
		must(t, w.Act(t.Context(), &pb.ActRequest{Acts: acts}, &out))
		if want := []bool{false, true, false, false}; !slices.Equal(out.Already, want) {
			t.Errorf("already so are %v, want %v", out.Already, want)
		}
	}
	eachWorld(t, func(t *testing.T, w *world) {
		w.act(t, bob, film, carol, true)
		w.drain(t)
		statements := tables.Statements(t, w.db)
		act(t, w)
		if n, queued := statements.Load(), len(w.wire.messages); n != 1 || queued != 1 {
			t.Errorf("%d statements and %d messages, want one each", n, queued)
		}
		w.sees(t, "taken", alice, false)
		w.drain(t)
		w.sees(t, "applied", alice, false)
		w.counts(t, "applied", 1, 2, 1)
		w.sees(t, "applied", bob, true)
	})
	t.Run("without entries", func(t *testing.T) {
		w := newWorld(t, tables.Open(t, harness.SQLite(t)), away{})
		w.act(t, bob, film, carol, true)
		act(t, w)
		w.sees(t, "applied", alice, false)
		w.counts(t, "applied", 1, 2, 1)
	})
}

func TestActAnswersAlready(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		steps := []struct{ liked, already bool }{{false, true}, {true, false}, {true, true}, {false, false}, {false, true}}
		for _, applied := range []bool{false, true} {
			for i, step := range steps {
				if got := w.act(t, alice, film, carol, step.liked); got != step.already {
					t.Errorf("step %d, each applied %t: already %t, want %t", i, applied, got, step.already)
				}
				if published := len(w.wire.messages); applied && published != 1 {
					t.Errorf("step %d: %d messages, want one whatever is known", i, published)
				}
				if applied {
					w.drain(t)
				}
			}
			w.drain(t)
		}
	})
}

func TestActRefusesNonsense(t *testing.T) {
	good := one(alice, film, carol, true).Acts[0]
	tests := map[string][]*pb.ActRequest_Act{
		"empty":           {{}},
		"no user":         one(0, film, carol, true).Acts,
		"negative video":  one(alice, -film, carol, true).Acts,
		"no author":       one(alice, film, 0, true).Acts,
		"oversized video": one(alice, 1<<53, carol, true).Acts,
		"one of several":  {good, {}},
		"too many":        slices.Repeat([]*pb.ActRequest_Act{good}, batch.MaxViewers+1),
	}
	w := newWorld(t, tables.Open(t, harness.SQLite(t)), memoryPending())
	for name, acts := range tests {
		t.Run(name, func(t *testing.T) {
			if err := w.Act(t.Context(), &pb.ActRequest{Acts: acts}, &pb.ActResponse{}); !errs.Is(err, errs.Invalid) {
				t.Errorf("Act returned %v, want Invalid", err)
			}
			if got := w.wire.take(); len(got) != 0 {
				t.Errorf("published %v", got)
			}
		})
	}
}

func TestActRefusedByTheQueueLeavesTheStateAsItWas(t *testing.T) {
	tests := map[string]struct {
		// before are acts that are taken; with applied, the worker has them.
		before  []bool
		applied bool
	}{
		"nothing":        {},
		"like waiting":   {before: []bool{true}},
		"like applied":   {before: []bool{true}, applied: true},
		"unlike waiting": {before: []bool{true, false}},
		"unlike applied": {before: []bool{true, false}, applied: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pendings(t, usualLives, func(t *testing.T, p Pending) {
				w := newWorld(t, tables.Open(t, harness.SQLite(t)), p)
				for _, liked := range tt.before {
					w.act(t, alice, film, carol, liked)
				}
				if tt.applied {
					w.drain(t)
				}
				liked := len(tt.before) > 0 && tt.before[len(tt.before)-1]
				own := int64(flag(liked))
				w.wire.refuse = errors.New("no confirm")
				for _, asked := range []bool{!liked, liked, !liked} {
					err := w.Act(t.Context(), one(alice, film, carol, asked), &pb.ActResponse{})
					if !errs.Is(err, errs.Unavailable) {
						t.Errorf("Act returned %v, want Unavailable", err)
					}
					w.sees(t, "refused", alice, liked)
				}
				w.wire.refuse = nil
				w.drain(t)
				w.sees(t, "applied", alice, liked)
				w.counts(t, "applied", own, own, own)
			})
		})
	}
}

// published waits until the act that answers to done is with the queue.
func published(t *testing.T, w *wire, done chan error) {
	t.Helper()
	select {
	case <-w.entered:
	case err := <-done:
		t.Fatalf("Act returned %v without publishing", err)
	}
}

// An act whose outcome nobody knew may arrive all the same. Then it shows, whatever
// instances hold.
func TestARefusedActThatArrivesShows(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		for _, liked := range []bool{true, false, true} {
			w.sees(t, "before", alice, !liked)
			w.wire.refuse, w.wire.arrives = errors.New("no confirm"), true
			if err := w.Act(t.Context(), one(alice, film, carol, liked), &pb.ActResponse{}); !errs.Is(err, errs.Unavailable) {
				t.Errorf("Act returned %v, want Unavailable", err)
			}
			w.sees(t, "refused", alice, !liked)
			w.drain(t)
			w.sees(t, "arrived", alice, liked)
		}
	})
}

// A refused act that a newer one has overtaken leaves the newer one alone.
func TestActOvertakenThenRefused(t *testing.T) {
	pendings(t, usualLives, func(t *testing.T, p Pending) {
		w := newWorld(t, tables.Open(t, harness.SQLite(t)), p)
		w.wire.refuse = errors.New("no confirm")
		w.wire.entered, w.wire.release = make(chan struct{}), make(chan struct{})
		refused := make(chan error)
		go func() {
			refused <- w.Act(t.Context(), one(alice, film, carol, false), &pb.ActResponse{})
		}()
		published(t, w.wire, refused)
		release := w.wire.release
		w.wire.mu.Lock()
		w.wire.refuse, w.wire.entered, w.wire.release = nil, nil, nil
		w.wire.mu.Unlock()
		w.act(t, alice, film, carol, true)
		close(release)
		if err := <-refused; err == nil {
			t.Error("the refused act was answered as taken")
		}
		w.sees(t, "overtaken", alice, true)
		w.drain(t)
		w.sees(t, "applied", alice, true)
		w.counts(t, "applied", 1, 1, 1)
	})
}

func TestActConcludesWhenTheCallerHasGone(t *testing.T) {
	pendings(t, usualLives, func(t *testing.T, p Pending) {
		w := newWorld(t, tables.Open(t, harness.SQLite(t)), p)
		w.wire.refuse = context.Canceled
		w.wire.entered, w.wire.release = make(chan struct{}), make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		refused := make(chan error)
		go func() {
			refused <- w.Act(ctx, one(alice, film, carol, true), &pb.ActResponse{})
		}()
		published(t, w.wire, refused)
		cancel()
		close(w.wire.release)
		if err := <-refused; !errs.Is(err, errs.Unavailable) {
			t.Errorf("Act returned %v, want Unavailable", err)
		}
		w.sees(t, "refused", alice, false)
		w.counts(t, "refused", 0, 0, 0)
	})
}

func TestActWithoutPendingEntriesIsAppliedAtOnce(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		w := newWorld(t, db, away{})
		for i, step := range []struct{ liked, already bool }{{true, false}, {true, true}, {false, false}, {false, true}, {true, false}} {
			if already := w.act(t, alice, film, carol, step.liked); already != step.already {
				t.Errorf("step %d: already %t, want %t", i, already, step.already)
			}
			own := int64(flag(step.liked))
			w.sees(t, fmt.Sprint("step ", i), alice, step.liked)
			w.counts(t, fmt.Sprint("step ", i), own, own, own)
			w.sees(t, fmt.Sprint("step ", i), bob, false)
		}
		if got := w.wire.take(); len(got) > 0 {
			t.Errorf("published %d messages too", len(got))
		}
	})
}

// An entry that its row has overtaken, since the later act was applied at once,
// shows nothing, before and after its own message arrives.
func TestEntriesOlderThanTheirRowsShowNothing(t *testing.T) {
	pendings(t, usualLives, func(t *testing.T, p Pending) {
		w := newWorld(t, tables.Open(t, harness.SQLite(t)), p)
		w.act(t, alice, film, carol, true)
		w.Service.pending = away{}
		w.act(t, alice, film, carol, false)
		w.Service.pending = p
		for _, when := range []string{"queued", "delivered"} {
			w.sees(t, when, alice, false)
			w.counts(t, when, 0, 0, 0)
			if got := w.list(t, alice); len(got) != 0 {
				t.Errorf("%s: alice likes %v", when, got)
			}
			w.drain(t)
		}
		if already := w.act(t, alice, film, carol, false); !already {
			t.Error("the entry overruled its newer row in the answer")
		}
	})
}

// Redis dies with likes on their way, comes back empty, stalls: acts and reads go
// on, what was queued shows again once applied, nothing counts twice.
func TestActOutlivesRedis(t *testing.T) {
	server := harness.Redis(t)
	p := patient(t, server)
	w := newWorld(t, tables.Open(t, harness.SQLite(t)), p)
	w.act(t, alice, film, carol, true)
	queued := w.wire.take()
	must(t, server.Wipe())
	w.act(t, alice, clip, carol, true)
	if got := w.list(t, alice); !slices.Equal(got, []int64{clip}) {
		t.Errorf("with redis dead, alice likes %v; want the one applied at once", got)
	}
	must(t, server.Start(t.Context()))
	harness.Eventually(t, 5*time.Second, func() error { _, err := p.of(t.Context(), alice); return err }, "redis is used again")
	must(t, w.worker.handle(t.Context(), queued))
	w.sees(t, "applied", alice, true)
	w.counts(t, "applied", 1, 2, 2)
	w.act(t, alice, film, carol, false)
	must(t, w.worker.handle(t.Context(), queued))
	w.sees(t, "redelivered behind an unlike", alice, false)
	w.counts(t, "redelivered behind an unlike", 1, 2, 2)

	must(t, server.Pause())
	w.Service.pending = hasty(t, server)
	start := time.Now()
	w.act(t, alice, film, carol, true)
	if took := time.Since(start); took > time.Second {
		t.Errorf("with redis stalled an act took %v", took)
	}
	w.sees(t, "redis stalled", alice, true)
	w.counts(t, "redis stalled", 1, 2, 2)
	must(t, server.Resume())
	w.drain(t) // the unlike of before
	w.sees(t, "redis resumed", alice, true)
	w.counts(t, "redis resumed", 1, 2, 2)
	rows, stored := read(t, w.db)
	if counted := countOf(rows); !stored.equal(counted) {
		t.Errorf("counters %v, rows %v", stored, counted)
	}
}

func TestVersionsRise(t *testing.T) {
	clocks := map[string]func(i int) time.Time{
		"stopped":    func(int) time.Time { return time.UnixMicro(epoch) },
		"going back": func(i int) time.Time { return time.UnixMicro(epoch - int64(i)*1e6) },
		"jumping":    func(i int) time.Time { return time.UnixMicro(epoch + int64(i%3)*1e9) },
	}
	ways := map[string]func(i int, w *world) Pending{
		"pending":         func(_ int, w *world) Pending { return w.pending },
		"pending lost":    func(int, *world) Pending { return memoryPending() },
		"away":            func(int, *world) Pending { return away{} },
		"away every time": func(i int, _ *world) Pending { return []Pending{away{}, memoryPending()}[i%2] },
	}
	for clockName, now := range clocks {
		for wayName, way := range ways {
			t.Run(clockName+", "+wayName, func(t *testing.T) {
				w := newWorld(t, tables.Open(t, harness.SQLite(t)), memoryPending())
				i := 0
				w.clock.now = func() time.Time { i++; return now(i) }
				last := int64(0)
				for n := range 8 {
					w.Service.pending = way(n, w)
					w.act(t, alice, film, carol, n%2 == 0)
					version := w.lastVersion(t)
					if version <= last {
						t.Fatalf("version %d follows %d", version, last)
					}
					last = version
				}
			})
		}
	}
}

// lastVersion returns the version of the act just made, queued or applied.
func (w *world) lastVersion(t *testing.T) int64 {
	t.Helper()
	if messages := w.wire.take(); len(messages) > 0 {
		writes, err := decode(messages[len(messages)-1])
		must(t, err)
		return writes[len(writes)-1].version
	}
	rows, err := w.store.rowsOf(t.Context(), []write{{user: alice, video: film}})
	must(t, err)
	return rows[key{alice, film}].version
}

// Instances whose clocks differ still give the later act the higher version.
func TestVersionsRiseOverInstances(t *testing.T) {
	pendings(t, usualLives, func(t *testing.T, p Pending) {
		fast := newWorld(t, tables.Open(t, harness.SQLite(t)), p)
		slow := newWorld(t, fast.db, p)
		slow.wire = fast.wire
		slow.Service.queue = fast.wire
		slow.clock.now = func() time.Time { return time.Now().Add(-time.Hour) }
		fast.act(t, alice, film, carol, true)
		slow.act(t, alice, film, carol, false)
		slow.sees(t, "waiting", alice, false)
		fast.drain(t)
		fast.sees(t, "applied", alice, false)
		fast.counts(t, "applied", 0, 0, 0)
		fast.act(t, alice, film, carol, true)
		slow.Service.pending = away{}
		fast.drain(t)
		slow.act(t, alice, film, carol, false)
		// Who alone can't reach the entries can't tell those who can: what they hold
		// has to expire.
		fast.forget()
		fast.sees(t, "applied at once", alice, false)
		fast.counts(t, "applied at once", 0, 0, 0)
	})
}

func TestListLiked(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		videos := []int64{film, film + 1, film + 2, film + 3}
		for _, video := range videos {
			w.act(t, alice, video, carol, true)
		}
		check := func(when string, want ...int64) {
			t.Helper()
			if got := w.list(t, alice); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", when, got, want)
			}
		}
		check("waiting", film+3, film+2, film+1, film)
		w.drain(t)
		check("applied", film+3, film+2, film+1, film)
		w.act(t, alice, film+2, carol, false)
		w.act(t, alice, film+9, carol, true)
		w.act(t, bob, film+8, carol, true)
		check("an unlike and a like wait", film+9, film+3, film+1, film)
		var out pb.ListLikedResponse
		must(t, w.ListLiked(t.Context(), &pb.ListLikedRequest{UserId: alice, Limit: 3}, &out))
		if want := []int64{film + 9, film + 3, film + 1}; !slices.Equal(out.VideoIds, want) {
			t.Errorf("the latest 3: %v, want %v", out.VideoIds, want)
		}
		w.drain(t)
		check("all applied", film+9, film+3, film+1, film)
		w.act(t, alice, film, carol, true)
		check("liked anew", film, film+9, film+3, film+1)
	})
}

// The limit counts what remains when waiting unlikes take effect.
func TestListLikedFillsItsLimit(t *testing.T) {
	w := newWorld(t, tables.Open(t, harness.SQLite(t)), memoryPending())
	for i := range int64(6) {
		w.act(t, alice, film+i, carol, true)
	}
	w.drain(t)
	for i := range int64(3) {
		w.act(t, alice, film+5-i, carol, false)
	}
	var out pb.ListLikedResponse
	must(t, w.ListLiked(t.Context(), &pb.ListLikedRequest{UserId: alice, Limit: 3}, &out))
	if want := []int64{film + 2, film + 1, film}; !slices.Equal(out.VideoIds, want) {
		t.Errorf("%v, want %v", out.VideoIds, want)
	}
}

func TestReadsRefuseNonsense(t *testing.T) {
	w := newWorld(t, tables.Open(t, harness.SQLite(t)), memoryPending())
	many := slices.Repeat([]int64{film}, batch.Max+1)
	tests := map[string]error{
		"list of nobody":    w.ListLiked(t.Context(), &pb.ListLikedRequest{}, &pb.ListLikedResponse{}),
		"flags of nobody":   w.Flags(t.Context(), &pb.FlagsRequest{Viewers: []*pb.FlagsRequest_Viewer{{VideoIds: []int64{film}}}}, &pb.FlagsResponse{}),
		"too many flags":    w.Flags(t.Context(), &pb.FlagsRequest{Viewers: []*pb.FlagsRequest_Viewer{{Id: alice, VideoIds: many}}}, &pb.FlagsResponse{}),
		"too many viewers":  w.Flags(t.Context(), &pb.FlagsRequest{Viewers: slices.Repeat([]*pb.FlagsRequest_Viewer{{Id: alice}}, batch.MaxViewers+1)}, &pb.FlagsResponse{}),
		"too many videos":   w.Stats(t.Context(), &pb.StatsRequest{VideoIds: many}, &pb.StatsResponse{}),
		"too many users":    w.Stats(t.Context(), &pb.StatsRequest{UserIds: many}, &pb.StatsResponse{}),
		"video number zero": w.Stats(t.Context(), &pb.StatsRequest{VideoIds: []int64{0}}, &pb.StatsResponse{}),
	}
	for name, err := range tests {
		if !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
}

func TestReadsCostOneStatement(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		w := newWorld(t, db, memoryPending())
		var videos, users []int64
		for i := range int64(batch.Max) {
			videos, users = append(videos, film+i), append(users, carol+i)
			w.act(t, alice, film+2*i, carol, true)
		}
		w.drain(t)
		statements := tables.Statements(t, db)
		stats := w.statsOf(t, videos, users)
		if len(stats.Videos) != batch.Max || len(stats.Users) != batch.Max {
			t.Errorf("%d videos and %d users answered, want each asked for", len(stats.Videos), len(stats.Users))
		}
		if got := stats.Users[carol].TotalFavorited; got != batch.Max {
			t.Errorf("the author received %d likes, want those of videos not asked for too: %d", got, batch.Max)
		}
		if n := statements.Swap(0); n != 1 {
			t.Errorf("Stats: %d statements, want 1", n)
		}
		if got := len(w.list(t, alice)); got != batch.Max {
			t.Errorf("%d videos listed, want %d", got, batch.Max)
		}
		if n := statements.Swap(0); n != 1 {
			t.Errorf("ListLiked: %d statements, want 1", n)
		}
		w.statsOf(t, nil, nil)
	})
}

// Readers that race with the worker never see a like twice, nor miss it.
func TestReadsNeverCountTwice(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		const rounds = 40
		done := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					if batch := w.wire.take(); len(batch) > 0 {
						if err := w.worker.handle(t.Context(), batch); err != nil {
							t.Error(err)
						}
					}
				}
			}
		})
		for i := range rounds {
			liked := i%2 == 0
			w.act(t, alice, film, carol, liked)
			for range 5 {
				w.sees(t, fmt.Sprint("round ", i), alice, liked)
			}
		}
		close(done)
		wg.Wait()
		w.drain(t)
		w.counts(t, "in the end", 0, 0, 0)
	})
}

// Whatever users do, whatever the queue refuses and however late, often and out of
// order it delivers: each user reads their own acknowledged acts, over what is
// applied of the others'.
func TestUsersReadTheirWrites(t *testing.T) {
	db := tables.Open(t, harness.SQLite(t))
	t.Run("memory", func(t *testing.T) { rapid.Check(t, readsTheirWrites(t, db, memoryPending())) })
	shared := patient(t, harness.Redis(t))
	t.Run("redis", func(t *testing.T) { rapid.Check(t, readsTheirWrites(t, db, shared)) })
}

func readsTheirWrites(t *testing.T, db *gorm.DB, p Pending) func(*rapid.T) {
	base := time.Now().UnixNano() % (1 << 40)
	return func(rt *rapid.T) {
		base += 1000 // a world of its own
		users, videos := []int64{base + 1, base + 2}, []int64{base + 101, base + 102, base + 103}
		author := base + 9
		w := newWorld(t, db, p)
		acknowledged, applied := map[key]bool{}, map[key]write{}
		var history []mq.Message
		deliver := func(batch []mq.Message) {
			if err := w.worker.handle(t.Context(), batch); err != nil {
				rt.Fatal(err)
			}
			for _, message := range batch {
				writes, err := decode(message)
				if err != nil {
					rt.Fatal(err)
				}
				for _, write := range writes {
					if k := (key{write.user, write.video}); write.version > applied[k].version {
						applied[k] = write
					}
				}
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"act": func(rt *rapid.T) {
				in, out := &pb.ActRequest{}, &pb.ActResponse{}
				for range rapid.IntRange(1, 4).Draw(rt, "acts") {
					in.Acts = append(in.Acts, one(rapid.SampledFrom(users).Draw(rt, "user"), rapid.SampledFrom(videos).Draw(rt, "video"),
						author, rapid.Bool().Draw(rt, "liked")).Acts...)
				}
				w.wire.refuse = rapid.SampledFrom([]error{nil, nil, nil, errAway}).Draw(rt, "refused")
				err := w.Act(t.Context(), in, out)
				if (err != nil) != (w.wire.refuse != nil) {
					rt.Fatalf("Act returned %v though the queue said %v", err, w.wire.refuse)
				}
				for i, already := range out.Already {
					act := in.Acts[i]
					k := key{act.UserId, act.VideoId}
					if err == nil && already != (acknowledged[k] == act.Liked) {
						rt.Fatalf("already is %t: liked was %t, asked %t", already, acknowledged[k], act.Liked)
					}
					if err == nil {
						acknowledged[k] = act.Liked
					}
				}
				history = append(history, w.wire.take()...)
			},
			"deliver": func(rt *rapid.T) {
				if len(history) > 0 {
					deliver(rapid.SliceOfN(rapid.SampledFrom(history), 1, 6).Draw(rt, "batch"))
				}
			},
			"": func(rt *rapid.T) {
				want := countOf(applied)
				for _, user := range users {
					var got pb.StatsResponse
					if err := w.Stats(t.Context(), &pb.StatsRequest{VideoIds: videos, UserIds: append(users, author)}, &got); err != nil {
						rt.Fatal(err)
					}
					liked := flagsOf(t, w.Service, user, videos...)
					for _, video := range videos {
						if flag := slices.Contains(liked, video); flag != acknowledged[key{user, video}] {
							rt.Fatalf("user %d is shown %t for video %d, acknowledged is the opposite", user, flag, video)
						}
						if stat := got.Videos[video]; stat.FavoriteCount != want.likes[video] {
							rt.Fatalf("video %d has %v, want %d likes", video, stat, want.likes[video])
						}
					}
					if got.Users[author].TotalFavorited != want.received[author] || got.Users[user].FavoriteCount != want.given[user] {
						rt.Fatalf("user %d reads received %v, given %v; want %v", user, got.Users[author], got.Users[user], want)
					}
				}
			},
		})
		if len(history) > 0 {
			deliver(history)
		}
	}
}

// Of many users with many likes each is told their own, of the videos they asked
// about, again and after another page too.
func TestFlagsOfManyUsersAndLikes(t *testing.T) {
	const viewers, videos = 2*maxWanted + 3, 40
	likes := func(viewer, video int64) bool { return (viewer+video)%3 == 0 }
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		w := newWorld(t, db, memoryPending())
		var writes []write
		for viewer := range int64(viewers) {
			for video := range int64(videos) {
				writes = append(writes, write{alice + viewer, film + video, carol, likes(viewer, video), epoch})
			}
		}
		for some := range slices.Chunk(writes, 100) {
			must(t, w.store.apply(t.Context(), some, nil))
		}
		for _, page := range []struct{ from, to int64 }{{0, 30}, {0, 30}, {10, videos}, {5, 5}, {7, 8}} {
			in := &pb.FlagsRequest{}
			for viewer := range int64(viewers) {
				asked := &pb.FlagsRequest_Viewer{Id: alice + viewer}
				for video := page.from; video < page.to; video++ {
					asked.VideoIds = append(asked.VideoIds, film+video)
				}
				in.Viewers = append(in.Viewers, asked)
			}
			var out pb.FlagsResponse
			must(t, w.Flags(t.Context(), in, &out))
			for viewer, flags := range out.Viewers {
				var want []int64
				for video := page.from; video < page.to; video++ {
					if likes(int64(viewer), video) {
						want = append(want, film+video)
					}
				}
				if !slices.Equal(flags.VideoIds, want) {
					t.Errorf("viewer %d of page %v is shown %v, want %v", viewer, page, flags.VideoIds, want)
				}
			}
		}
	})
}
