package changes

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"backbeat/app/cache"
	"backbeat/proto/event"
)

func TestMain(m *testing.M) {
	// Now and then the race detector's runtime crashes in a bubble of a property, in one
	// of some hundreds: with it each property is tried a few times only.
	checks := "100"
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		checks = "3"
	}
	if err := flag.Set("rapid.checks", checks); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

var errAway = errors.New("the journal is away")

// journal is one that takes its time, can be away, and counts how often it is asked.
type journal struct {
	cache.Journal
	away           atomic.Bool
	appends, reads atomic.Int64
	// came, unless nil, is told of an entry before Append returns.
	came func(entry []byte)
	// delay is how long a call takes, half of that before it does anything.
	delay func() time.Duration
}

func newJournal() *journal { return &journal{Journal: cache.NewMemoryJournal()} }

func (j *journal) call(do func() error) error {
	half := time.Duration(0)
	if j.delay != nil {
		half = j.delay() / 2
	}
	if j.away.Load() {
		if j.delay != nil {
			time.Sleep(cache.Timeout) // in a bubble
		}
		return errAway
	}
	time.Sleep(half) // in a bubble, like the next
	err := do()
	time.Sleep(half)
	return err
}

func (j *journal) Append(ctx context.Context, entry []byte) error {
	j.appends.Add(1)
	err := j.call(func() error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return j.Journal.Append(ctx, entry)
	})
	if err == nil && j.came != nil {
		j.came(entry)
	}
	return err
}

func (j *journal) After(ctx context.Context, position string) (entries [][]byte, last string, err error) {
	j.reads.Add(1)
	err = j.call(func() error {
		entries, last, err = j.Journal.After(ctx, position)
		return err
	})
	return entries, last, err
}

// announced returns what came into the journal after position, and where it ends.
func (j *journal) announced(t *testing.T, position string) (found []string, last string) {
	t.Helper()
	entries, last, err := j.Journal.After(t.Context(), position)
	must(t, err)
	for _, entry := range entries {
		var changed event.CountsChanged
		must(t, proto.Unmarshal(entry, &changed))
		said := fmt.Sprint(changed.GetVideoIds(), changed.GetUserIds())
		if changed.GetEverything() {
			said += " everything"
		}
		if changed.GetAnnouncer() != "" {
			said += " by name"
		}
		if changed.GetLeaves() {
			said += ", leaves"
		}
		found = append(found, said)
	}
	return found, last
}

// record is a Held that writes down what it is told.
type record struct {
	mu   sync.Mutex
	told []string
	// since, sure and asOf are those confirmed last.
	since, sure, asOf time.Time
}

func (r *record) tell(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, what)
}

func (r *record) Forget(videos, users []int64) {
	if len(videos)+len(users) > 0 { // else somebody says that it is there
		r.tell(fmt.Sprint("forget ", videos, users))
	}
}

func (r *record) Confirm(since, sure, asOf time.Time) {
	r.tell("confirm")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since, r.sure, r.asOf = since, sure, asOf
}

func (r *record) Doubt() { r.tell("doubt") }

// take returns what it was told since the last time.
func (r *record) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	told := r.told
	r.told = nil
	return told
}

// logged is a log that counts its lines.
type logged struct {
	*slog.Logger
	written bytes.Buffer
}

func newLogged() *logged {
	l := new(logged)
	l.Logger = slog.New(slog.NewTextHandler(&l.written, nil))
	return l
}

func (l *logged) wrote(t *testing.T, warnings, infos int) {
	t.Helper()
	all := l.written.String()
	if strings.Count(all, "level=WARN") != warnings || strings.Count(all, "level=INFO") != infos || strings.Count(all, "\n") != warnings+infos {
		t.Errorf("want %d warnings and %d words of recovery, logged:\n%s", warnings, infos, all)
	}
}

func TestAnnouncer(t *testing.T) {
	tests := map[string]func(t *testing.T, j *journal, a *Announcer){
		"at once": func(t *testing.T, j *journal, a *Announcer) {
			_, position, _ := j.Journal.After(t.Context(), "")
			videos := []int64{3, 1, 2, 1}
			a.Changed(t.Context(), videos, nil)
			a.Changed(t.Context(), nil, []int64{7})
			a.Changed(t.Context(), []int64{1}, []int64{1})
			if got, _ := j.announced(t, position); !slices.Equal(got, []string{"[1 2 3] []", "[] [7]", "[1] [1]"}) {
				t.Errorf("announced %q", got)
			}
			if !slices.Equal(videos, []int64{3, 1, 2, 1}) {
				t.Errorf("the caller's ids have become %v", videos)
			}
		},
		"nothing": func(t *testing.T, j *journal, a *Announcer) {
			a.Changed(t.Context(), nil, []int64{})
			if j.appends.Load() != 0 {
				t.Error("nothing was announced")
			}
		},
		"a change whose caller has gone": func(t *testing.T, j *journal, a *Announcer) {
			_, position, _ := j.Journal.After(t.Context(), "")
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			a.Changed(ctx, []int64{1}, nil)
			if got, _ := j.announced(t, position); !slices.Equal(got, []string{"[1] []"}) {
				t.Errorf("announced %q", got)
			}
		},
		"what could not be, later": func(t *testing.T, j *journal, a *Announcer) {
			_, position, _ := j.Journal.After(t.Context(), "")
			j.away.Store(true)
			a.Changed(t.Context(), []int64{2, 1}, []int64{7})
			time.Sleep(restFor - 1)
			a.Changed(t.Context(), []int64{3, 2}, nil) // while it rests
			time.Sleep(2 * time.Nanosecond)            // it has tried again, in vain
			j.away.Store(false)
			a.Changed(t.Context(), []int64{4}, []int64{7, 8}) // while it rests once more
			if got, _ := j.announced(t, position); len(got) > 0 || j.appends.Load() != 2 {
				t.Errorf("announced %q in %d attempts", got, j.appends.Load())
			}
			time.Sleep(restFor)
			a.Changed(t.Context(), []int64{5}, nil)
			if got, _ := j.announced(t, position); !slices.Equal(got, []string{"[1 2 3 4] [7 8]", "[5] []"}) {
				t.Errorf("announced %q", got)
			}
		},
		"nothing once it is closed": func(t *testing.T, j *journal, a *Announcer) {
			j.away.Store(true)
			a.Changed(t.Context(), []int64{1}, nil)
			must(t, a.Close())
			j.away.Store(false)
			a.Changed(t.Context(), []int64{2}, nil)
			time.Sleep(2 * restFor)
			if got := j.appends.Load(); got != 2 {
				t.Errorf("%d attempts, one before and one as it closed", got)
			}
		},
		"what is owed as it closes": func(t *testing.T, j *journal, a *Announcer) {
			_, position, _ := j.Journal.After(t.Context(), "")
			j.away.Store(true)
			a.Changed(t.Context(), []int64{1}, nil)
			j.away.Store(false)
			must(t, a.Close())
			if got, _ := j.announced(t, position); !slices.Equal(got, []string{"[1] [], leaves"}) {
				t.Errorf("announced %q", got)
			}
		},
		"everything": func(t *testing.T, j *journal, a *Announcer) {
			_, position, _ := j.Journal.After(t.Context(), "")
			a.Everything(t.Context())
			if got, _ := j.announced(t, position); !slices.Equal(got, []string{"[] [] everything"}) {
				t.Errorf("announced %q", got)
			}
		},
		"that it is there, every second until it leaves": func(t *testing.T, j *journal, a *Announcer) {
			_, position, _ := j.Journal.After(t.Context(), "")
			a.Start()
			a.Changed(t.Context(), []int64{1}, nil)
			time.Sleep(2*beatEvery + 1)
			must(t, a.Close())
			time.Sleep(2 * beatEvery)
			want := []string{"[] [] by name", "[1] [] by name", "[] [] by name", "[] [] by name", "[] [] by name, leaves"}
			if got, _ := j.announced(t, position); !slices.Equal(got, want) {
				t.Errorf("announced %q", got)
			}
		},
		"a rest": func(t *testing.T, j *journal, a *Announcer) {
			j.away.Store(true)
			for n := range 5 {
				for id := range int64(100) {
					a.Changed(t.Context(), []int64{id}, nil)
				}
				if got := j.appends.Load(); got != int64(n+1) {
					t.Fatalf("%d attempts in %d rests", got, n)
				}
				time.Sleep(restFor + 1)
			}
		},
		"not too much": func(t *testing.T, j *journal, a *Announcer) {
			_, position, _ := j.Journal.After(t.Context(), "")
			j.away.Store(true)
			ids := make([]int64, owedMost)
			for i := range ids {
				ids[i] = int64(i)
			}
			a.Changed(t.Context(), ids, ids)
			a.Changed(t.Context(), ids[:1], nil) // once more
			j.away.Store(false)
			time.Sleep(restFor + 1)
			got, position := j.announced(t, position)
			if len(got) != 1 || strings.HasSuffix(got[0], "everything") {
				t.Errorf("announced %.40q", got)
			}
			j.away.Store(true)
			a.Changed(t.Context(), ids, nil)
			a.Changed(t.Context(), []int64{owedMost}, nil) // one too many
			a.Changed(t.Context(), nil, ids)
			j.away.Store(false)
			time.Sleep(restFor + 1)
			if got, _ := j.announced(t, position); !slices.Equal(got, []string{"[] [] everything"}) {
				t.Errorf("announced %.40q", got)
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			if !a.owed.empty() {
				t.Error("it owes what it has announced")
			}
		},
		"side by side": func(t *testing.T, j *journal, a *Announcer) {
			_, position, _ := j.Journal.After(t.Context(), "")
			j.delay = func() time.Duration { return 10 * time.Millisecond }
			var group sync.WaitGroup
			for id := range int64(100) {
				group.Go(func() {
					time.Sleep(time.Duration(id) * 20 * time.Millisecond) // in a bubble
					j.away.Store(id/20%2 == 1)
					a.Changed(t.Context(), []int64{id}, []int64{-id - 1})
				})
			}
			group.Wait()
			j.away.Store(false)
			time.Sleep(2 * restFor)
			a.Changed(t.Context(), []int64{100}, []int64{-101})
			entries, _, err := j.Journal.After(t.Context(), position)
			must(t, err)
			times := map[int64]int{}
			for _, entry := range entries {
				var changed event.CountsChanged
				must(t, proto.Unmarshal(entry, &changed))
				for _, id := range slices.Concat(changed.GetVideoIds(), changed.GetUserIds()) {
					times[id]++
				}
			}
			for id := int64(-101); id <= 100; id++ {
				if times[id] != 1 {
					t.Errorf("%d was announced %d times", id, times[id])
				}
			}
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := newJournal()
				test(t, j, NewAnnouncer(j, slog.New(slog.DiscardHandler)))
			})
		})
	}
}

func TestNoAnnouncerTellsNobody(t *testing.T) {
	var a *Announcer
	a.Changed(t.Context(), []int64{1}, []int64{2})
}

// stage is a follower that looks when it is told to, in a bubble.
type stage struct {
	*journal
	held  *record
	log   *logged
	ticks chan time.Time
	stop  func() // ends it and waits for that
}

func newStage(t *testing.T) *stage {
	s := &stage{journal: newJournal(), held: new(record), log: newLogged(), ticks: make(chan time.Time)}
	f := NewFollower(s.journal, s.held, time.Now, s.log.Logger)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.Follow(ctx, s.ticks)
	}()
	s.stop = func() { cancel(); <-ended }
	return s
}

// look has it look a moment later, and checks what it tells.
func (s *stage) look(t *testing.T, want ...string) {
	t.Helper()
	time.Sleep(FollowEvery)
	s.ticks <- time.Now()
	synctest.Wait()
	if got := s.held.take(); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

func (s *stage) announce(t *testing.T, video int64) {
	NewAnnouncer(s.Journal, s.log.Logger).Changed(t.Context(), []int64{video}, []int64{-video})
}

// started returns an announcer that is heard.
func (s *stage) started() *Announcer {
	a := NewAnnouncer(s.Journal, s.log.Logger)
	a.Start()
	return a
}

// watch has it look for a while, and checks whether it is sure at the end.
func (s *stage) watch(t *testing.T, during time.Duration, sure bool) {
	t.Helper()
	for end := time.Now().Add(during); time.Now().Before(end); {
		s.look(t, "confirm")
	}
	if got := !s.held.sure.IsZero(); got != sure {
		t.Errorf("after %v it is sure: %t", during, got)
	}
}

func TestFollower(t *testing.T) {
	// lost is what a follower does that has lost its way.
	lost := func(t *testing.T, s *stage) {
		t.Helper()
		s.log.wrote(t, 1, 0)
		s.announce(t, 8) // heard by nobody, since what is held is not believed
		s.look(t)
		began := time.Now()
		s.announce(t, 9)
		s.look(t, "forget [9] [-9]", "confirm")
		if !s.held.since.Equal(began) || !s.held.asOf.Equal(time.Now()) {
			t.Errorf("confirmed since %v at %v, want %v at %v", s.held.since, s.held.asOf, began, time.Now())
		}
		s.log.wrote(t, 1, 1)
		s.look(t, "confirm")
		s.log.wrote(t, 1, 1)
	}
	tests := map[string]func(t *testing.T, s *stage){
		"tells": func(t *testing.T, s *stage) {
			s.announce(t, 1) // before it began
			s.look(t)
			began := time.Now()
			for range 3 {
				s.look(t, "confirm")
				if !s.held.since.Equal(began) || !s.held.asOf.Equal(time.Now()) {
					t.Errorf("confirmed since %v at %v, want %v at %v", s.held.since, s.held.asOf, began, time.Now())
				}
			}
			s.announce(t, 2)
			s.announce(t, 3)
			s.look(t, "forget [2] [-2]", "forget [3] [-3]", "confirm")
			s.look(t, "confirm")
		},
		"more than are read at once": func(t *testing.T, s *stage) {
			s.look(t)
			var want []string
			for id := range int64(2000) {
				s.announce(t, id+1)
				want = append(want, fmt.Sprint("forget ", []int64{id + 1}, []int64{-id - 1}))
			}
			s.look(t, append(want, "confirm")...)
		},
		"as of when it began to look": func(t *testing.T, s *stage) {
			s.delay = func() time.Duration { return 80 * time.Millisecond }
			time.Sleep(FollowEvery)
			s.ticks <- time.Now()
			time.Sleep(80 * time.Millisecond)
			synctest.Wait()
			since := time.Now()
			began := time.Now().Add(FollowEvery)
			s.look(t) // is not done yet
			time.Sleep(80 * time.Millisecond)
			synctest.Wait()
			if !s.held.since.Equal(since) || !s.held.asOf.Equal(began) {
				t.Errorf("confirmed since %v at %v, want %v at %v", s.held.since, s.held.asOf, since, began)
			}
		},
		"begins anew after an error": func(t *testing.T, s *stage) {
			s.look(t)
			s.look(t, "confirm")
			s.away.Store(true)
			s.announce(t, 1)
			for range 5 {
				s.look(t, "doubt")
			}
			s.away.Store(false)
			lost(t, s)
		},
		"begins late": func(t *testing.T, s *stage) {
			s.away.Store(true)
			s.look(t, "doubt")
			s.look(t, "doubt")
			s.away.Store(false)
			lost(t, s)
		},
		"loses its way as it begins": func(t *testing.T, s *stage) {
			s.away.Store(true)
			s.look(t, "doubt")
			s.away.Store(false)
			s.look(t)
			s.away.Store(true)
			s.look(t, "doubt") // it never knew again, so this is the same loss
			s.away.Store(false)
			lost(t, s)
		},
		"begins anew after a gap": func(t *testing.T, s *stage) {
			s.look(t)
			s.look(t, "confirm")
			for id := range int64(3 * 4096) {
				s.announce(t, id+1)
			}
			s.look(t, "doubt")
			lost(t, s)
		},
		"begins anew after garbage": func(t *testing.T, s *stage) {
			s.look(t)
			s.announce(t, 1)
			must(t, s.Append(t.Context(), []byte{0xff}))
			s.announce(t, 2)
			s.look(t, "forget [1] [-1]", "doubt")
			lost(t, s)
		},
		"is sure when it has heard of all there are": func(t *testing.T, s *stage) {
			a := s.started()
			s.look(t)
			s.watch(t, silence-FollowEvery, false)
			s.watch(t, FollowEvery, true)
			since := s.held.sure
			if !since.Equal(time.Now()) {
				t.Errorf("it is sure since %v, at %v", since, time.Now())
			}
			s.watch(t, 3*mourning, true)
			must(t, s.started().Close()) // one that comes and goes
			s.watch(t, 3*mourning, true)
			if !s.held.sure.Equal(since) {
				t.Errorf("it was sure since %v, now since %v", since, s.held.sure)
			}
			must(t, a.Close())
			s.watch(t, FollowEvery, false) // nobody is there
		},
		"is not sure of those it does not hear of": func(t *testing.T, s *stage) {
			s.look(t)
			s.watch(t, 2*silence, false)
			s.announce(t, 1) // a command
			s.look(t, "forget [1] [-1]", "confirm")
			s.watch(t, 2*silence, false)
		},
		"misses one that falls silent": func(t *testing.T, s *stage) {
			a, dies := s.started(), s.started()
			s.look(t)
			s.watch(t, 2*silence, true)
			dies.stop()
			s.watch(t, silence-beatEvery, true)
			s.watch(t, beatEvery+FollowEvery, false)
			s.watch(t, mourning-silence-beatEvery-FollowEvery, false)
			forgiven := time.Now()
			s.watch(t, beatEvery+FollowEvery, true)
			if s.held.sure.Before(forgiven) {
				t.Errorf("it is sure since %v, when it was missed until %v", s.held.sure, forgiven)
			}
			must(t, a.Close())
		},
		"hears again of one that was cut off": func(t *testing.T, s *stage) {
			a := s.started()
			s.look(t)
			s.watch(t, 2*silence, true)
			before := s.held.sure
			a.stop()
			s.watch(t, 2*silence, false)
			a.beat(t.Context())
			s.watch(t, FollowEvery, true)
			if !s.held.sure.After(before) {
				t.Error("it is sure of what it could not hear")
			}
		},
		"begins to listen anew after an error": func(t *testing.T, s *stage) {
			a := s.started()
			s.look(t)
			s.watch(t, 2*silence, true)
			s.away.Store(true)
			s.look(t, "doubt")
			s.away.Store(false)
			s.look(t)
			s.watch(t, silence-FollowEvery, false)
			s.watch(t, FollowEvery, true)
			must(t, a.Close())
		},
		"believes nothing from before everything changed": func(t *testing.T, s *stage) {
			a := s.started()
			s.look(t)
			s.watch(t, 2*silence, true)
			NewAnnouncer(s.Journal, s.log.Logger).Everything(t.Context())
			s.look(t, "confirm")
			if !s.held.since.Equal(time.Now()) || !s.held.sure.IsZero() {
				t.Errorf("confirmed since %v, surely since %v, at %v", s.held.since, s.held.sure, time.Now())
			}
			s.watch(t, silence, true)
			must(t, a.Close())
		},
		"logs each loss": func(t *testing.T, s *stage) {
			for n := range 3 {
				s.away.Store(true)
				s.look(t, "doubt")
				s.look(t, "doubt")
				s.log.wrote(t, n+1, n)
				s.away.Store(false)
				s.look(t)
				s.look(t, "confirm")
				s.log.wrote(t, n+1, n+1)
			}
		},
		"doubts at its end": func(t *testing.T, s *stage) {
			s.look(t)
			s.look(t, "confirm")
			s.stop()
			if got := s.held.take(); !slices.Equal(got, []string{"doubt"}) {
				t.Errorf("told %q at its end", got)
			}
			s.log.wrote(t, 0, 0)
		},
		"ends while it looks": func(t *testing.T, s *stage) {
			s.look(t)
			s.away.Store(true)
			s.delay = func() time.Duration { return 0 }
			s.ticks <- time.Now()
			synctest.Wait()
			s.stop() // the read fails after that, which is no loss
			if got := s.held.take(); len(got) == 0 || got[len(got)-1] != "doubt" || slices.Contains(got, "confirm") {
				t.Errorf("told %q at its end", got)
			}
			s.log.wrote(t, 0, 0)
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t)
				defer s.stop()
				test(t, s)
			})
		})
	}
}

// change was made before its announcement, which came back at announced.
type change struct{ made, announced time.Time }

// witness is a Held that checks what is confirmed against what was announced.
type witness struct {
	*testing.T
	mu sync.Mutex
	// changed are the videos whose announcement has come back and that are not forgotten
	// yet, forgotten those that are.
	changed   map[int64]change
	forgotten map[int64]bool
	// made is when they changed.
	made     map[int64]time.Time
	confirms int
}

// announced is told of an announcement that has come back.
func (w *witness) announced(entry []byte) {
	var said event.CountsChanged
	must(w.T, proto.Unmarshal(entry, &said))
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range said.GetVideoIds() {
		if !w.forgotten[id] {
			w.changed[id] = change{w.made[id], time.Now()}
		}
	}
}

func (w *witness) Forget(videos, _ []int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range videos {
		w.forgotten[id] = true
		delete(w.changed, id)
	}
}

func (w *witness) Confirm(since, _, asOf time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.confirms++
	for id, c := range w.changed { // what was made before shows in what was asked for since
		if c.made.After(since) && c.announced.Before(asOf) {
			w.Errorf("%d, changed at %v and announced at %v, is confirmed since %v as of %v", id, c.made, c.announced, since, asOf)
			delete(w.changed, id) // it has been said
		}
	}
}

func (w *witness) Doubt() {}

// Whoever has changed is forgotten before it is confirmed that nobody else has,
// however long calls take and whatever fails.
func TestChangesAreForgottenBeforeTheRestIsConfirmed(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		bursts := rapid.SliceOfN(rapid.SampledFrom([]int{1, 1, 1, 1, 1, 2, 10, 600}), 1, 20).Draw(rt, "changes at once")
		pauses := rapid.SliceOfN(rapid.IntRange(1, 300), 1, 8).Draw(rt, "milliseconds between them")
		delays := rapid.SliceOfN(rapid.IntRange(0, 150), 1, 8).Draw(rt, "milliseconds of each call")
		outages := rapid.SliceOfN(rapid.Bool(), 1, 8).Draw(rt, "outages, half a second each")
		synctest.Test(t, func(t *testing.T) {
			j := newJournal()
			var calls, next atomic.Int64
			j.delay = func() time.Duration {
				return time.Duration(delays[int(calls.Add(1))%len(delays)]) * time.Millisecond
			}
			w := &witness{T: t, changed: map[int64]change{}, forgotten: map[int64]bool{}, made: map[int64]time.Time{}}
			j.came = w.announced
			ctx, cancel := context.WithCancel(t.Context())
			var followers, writers sync.WaitGroup
			followers.Go(func() {
				ticker := time.NewTicker(FollowEvery)
				defer ticker.Stop()
				NewFollower(j, w, time.Now, slog.New(slog.DiscardHandler)).Follow(ctx, ticker.C)
			})
			writers.Go(func() {
				for _, away := range outages {
					j.away.Store(away)
					time.Sleep(500 * time.Millisecond)
				}
				j.away.Store(false)
			})
			a := NewAnnouncer(j, slog.New(slog.DiscardHandler))
			for i, burst := range bursts {
				time.Sleep(time.Duration(pauses[i%len(pauses)])*time.Millisecond + time.Microsecond)
				for range burst {
					writers.Go(func() {
						id := next.Add(1)
						w.mu.Lock()
						w.made[id] = time.Now()
						w.mu.Unlock()
						a.Changed(t.Context(), []int64{id}, nil)
					})
				}
			}
			writers.Wait()
			time.Sleep(time.Second)
			a.Changed(t.Context(), []int64{next.Add(1)}, nil)
			time.Sleep(time.Second)
			cancel()
			followers.Wait()
			if w.confirms == 0 || !w.forgotten[next.Load()] {
				t.Errorf("%d confirmations, the last change is forgotten: %t", w.confirms, w.forgotten[next.Load()])
			}
		})
	})
}

// store has counters that are incremented, and remembers when.
type store struct {
	mu       sync.Mutex
	versions map[int64][]time.Time // when it became one, two, and so on
	loads    int
}

func newStore() *store { return &store{versions: map[int64][]time.Time{}} }

func (s *store) increment(key int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.versions[key] = append(s.versions[key], time.Now())
}

// at is what a counter had come to by then.
func (s *store) at(key int64, then time.Time) (value int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range s.versions[key] {
		if !at.After(then) {
			value++
		}
	}
	return value
}

// gateway holds a store's counters and follows their changes.
type gateway struct {
	*cache.Held[int64, int]
}

func (g gateway) Forget(videos, _ []int64) { g.Held.Forget(videos...) }

// life is how long counts are held, and how old they may be.
const life = time.Second

// follow returns a gateway that follows until ctx ends; takes is how long a load does.
// It looks between the milliseconds, at which all else happens.
func (s *store) follow(ctx context.Context, group *sync.WaitGroup, j cache.Journal, takes func() time.Duration) gateway {
	g := gateway{cache.NewHeld(1000, life, time.Now, func(_ context.Context, keys []int64) (map[int64]int, error) {
		found := map[int64]int{}
		s.mu.Lock()
		s.loads++
		for _, key := range keys {
			found[key] = len(s.versions[key])
		}
		s.mu.Unlock()
		time.Sleep(takes()) // in a bubble
		return found, nil
	})}
	group.Go(func() {
		time.Sleep(500 * time.Microsecond)
		ticker := time.NewTicker(FollowEvery)
		defer ticker.Stop()
		NewFollower(j, g, time.Now, slog.New(slog.DiscardHandler)).Follow(ctx, ticker.C)
	})
	return g
}

// check reads a counter, which may lack what was counted in the latest second.
func (s *store) check(t *testing.T, g gateway, key int64) {
	t.Helper()
	began := time.Now()
	got, err := g.Get(t.Context(), key)
	if want := s.at(key, began.Add(-life)); err != nil || got[0] < want {
		t.Errorf("at %v, %d is %d, %v; a second before it was %d", began, key, got[0], err, want)
	}
}

func none() time.Duration { return 0 }

// Several gateways hold what several owners write. Nothing that is read is older than
// a second, however long loads take and when the journal is away.
func TestReadingsAreAtMostASecondOld(t *testing.T) {
	const keys, lasts = 5, 6 * time.Second
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		takes := rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 5, 30, 300, 800}), 1, 8).Draw(rt, "milliseconds of each load")
		delays := rapid.SliceOfN(rapid.IntRange(0, 40), 1, 8).Draw(rt, "milliseconds of each call")
		outages := rapid.SliceOfN(rapid.SampledFrom([]int{0, 0, 1, 100, 400, 1500}), 1, 8).Draw(rt, "milliseconds of each outage")
		pause := rapid.SampledFrom([]int{5, 20, 100}).Draw(rt, "milliseconds between writes, at most")
		synctest.Test(t, func(t *testing.T) {
			var turn atomic.Int64
			some := func(of []int) func() time.Duration {
				return func() time.Duration { return time.Duration(of[int(turn.Add(1))%len(of)]) * time.Millisecond }
			}
			s, j := newStore(), newJournal()
			j.delay = some(delays)
			ctx, cancel := context.WithCancel(t.Context())
			end := time.Now().Add(lasts)
			var followers, others sync.WaitGroup
			others.Go(func() {
				for i := 0; time.Now().Before(end); i++ {
					j.away.Store(outages[i%len(outages)] > 0)
					time.Sleep(time.Duration(outages[i%len(outages)]) * time.Millisecond)
					j.away.Store(false)
					time.Sleep(700 * time.Millisecond)
				}
			})
			var owners [2]*Announcer
			for i := range owners {
				owners[i] = NewAnnouncer(j, slog.New(slog.DiscardHandler))
			}
			for n := range uint64(4) {
				random, a := rand.New(rand.NewPCG(seed, n)), owners[n%2]
				others.Go(func() {
					for time.Now().Before(end) {
						time.Sleep(time.Duration(1+random.IntN(pause)) * time.Millisecond)
						// Some are seldom written, so that they are held for long.
						key := int64(random.IntN(1 + random.IntN(keys)))
						s.increment(key)
						a.Changed(t.Context(), []int64{key}, nil)
					}
				})
			}
			for n := range uint64(2) {
				g := s.follow(ctx, &followers, j, some(takes))
				for m := range uint64(2) {
					random := rand.New(rand.NewPCG(seed, 10+2*n+m))
					others.Go(func() {
						for time.Now().Before(end) {
							time.Sleep(time.Duration(random.IntN(40)) * time.Millisecond)
							s.check(t, g, int64(random.IntN(keys)))
						}
					})
				}
			}
			others.Wait()
			cancel()
			followers.Wait()
		})
	})
}

// What does not change is asked for once in minutes while all announcers are heard, and
// what does shows soon.
func TestFollowingSparesLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, j := newStore(), newJournal()
		a := NewAnnouncer(j, slog.New(slog.DiscardHandler))
		a.Start()
		ctx, cancel := context.WithCancel(t.Context())
		var followers sync.WaitGroup
		g := s.follow(ctx, &followers, j, none)
		time.Sleep(silence + 2*FollowEvery) // it has heard of all
		for range 2800 {
			s.check(t, g, 1)
			time.Sleep(100 * time.Millisecond)
		}
		if s.loads != 1 {
			t.Errorf("%d loads in nearly five minutes", s.loads)
		}
		s.increment(1)
		a.Changed(t.Context(), []int64{1}, nil)
		time.Sleep(FollowEvery + time.Millisecond)
		if got, err := g.Get(t.Context(), 1); err != nil || got[0] != 1 || s.loads != 2 {
			t.Errorf("got %d, %v after %d loads", got, err, s.loads)
		}
		cancel()
		followers.Wait()
		must(t, a.Close())
	})
}

// Owners that are killed leave changes that nobody is told of, others start and stop in
// order, and some are cut off from the journal for a while. What one left shows a
// moment after it is missed, however long counts have been held.
func TestWhatAKilledOwnerChangedShows(t *testing.T) {
	const keys, shows = 3, silence + 3*FollowEvery
	rapid.Check(t, func(rt *rapid.T) {
		acts := rapid.SliceOfN(rapid.SampledFrom([]string{"kill", "kill", "stop", "cut off", "begin anew"}), 1, 12).Draw(rt, "acts")
		pauses := rapid.SliceOfN(rapid.IntRange(1, 40_000), 1, 12).Draw(rt, "milliseconds between them")
		synctest.Test(t, func(t *testing.T) {
			s, j := newStore(), newJournal()
			log := slog.New(slog.DiscardHandler)
			start := func() (*Announcer, *journal) {
				way := &journal{Journal: j.Journal}
				a := NewAnnouncer(way, log)
				a.Start()
				return a, way
			}
			ctx, cancel := context.WithCancel(t.Context())
			var followers, readers sync.WaitGroup
			g := s.follow(ctx, &followers, j, none)
			readers.Go(func() {
				for ctx.Err() == nil {
					time.Sleep(250 * time.Millisecond)
					for key := range int64(keys) {
						began := time.Now()
						got, err := g.Get(t.Context(), key)
						if want := s.at(key, began.Add(-shows)); err != nil || got[0] < want {
							t.Errorf("at %v, %d is %d, %v; %v before it was %d, %q with %v ms between", began, key, got[0], err, shows, want, acts, pauses)
						}
					}
				}
			})
			lasting, _ := start()
			owner, way := start()
			for i, act := range acts {
				time.Sleep(time.Duration(pauses[i%len(pauses)])*time.Millisecond + time.Microsecond)
				key := int64(i % keys)
				switch act {
				case "kill":
					s.increment(key)
					way.away.Store(true) // of what it knows nobody is told
					must(t, owner.Close())
					owner, way = start()
				case "stop":
					s.increment(key)
					owner.Changed(t.Context(), []int64{key}, nil)
					must(t, owner.Close())
					owner, way = start()
				case "cut off":
					way.away.Store(true)
					s.increment(key)
					owner.Changed(t.Context(), []int64{key}, nil)
					time.Sleep(time.Duration(pauses[i%len(pauses)]) * time.Millisecond)
					way.away.Store(false)
				case "begin anew":
					j.away.Store(true)
					time.Sleep(2 * FollowEvery)
					j.away.Store(false)
				}
				lasting.Changed(t.Context(), []int64{keys}, nil)
			}
			time.Sleep(2 * shows)
			cancel()
			readers.Wait()
			followers.Wait()
			must(t, owner.Close())
			must(t, lasting.Close())
		})
	})
}

// Who missed an announcement, for whatever reason, sees the change ten seconds later.
func TestALostAnnouncementShowsInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, j := newStore(), newJournal()
		ctx, cancel := context.WithCancel(t.Context())
		var followers sync.WaitGroup
		g := s.follow(ctx, &followers, j, none)
		time.Sleep(FollowEvery + time.Millisecond) // it has begun
		s.check(t, g, 1)
		s.increment(1)
		for range 10 {
			time.Sleep(time.Second)
			_, _ = g.Get(t.Context(), 1)
		}
		if got, err := g.Get(t.Context(), 1); err != nil || got[0] != 1 {
			t.Errorf("got %d, %v after ten seconds", got, err)
		}
		cancel()
		followers.Wait()
	})
}

// An owner that rests after a failure does so while gateways follow again. What it
// changes then shows within a second, too, though nothing else changes.
func TestAChangeRightAfterAnOutageShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, j := newStore(), newJournal()
		a := NewAnnouncer(j, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		var followers sync.WaitGroup
		g := s.follow(ctx, &followers, j, none)
		write := func() {
			s.increment(1)
			a.Changed(t.Context(), []int64{1}, nil)
		}
		time.Sleep(time.Second)
		j.away.Store(true)
		time.Sleep(FollowEvery)
		write()
		j.away.Store(false)
		time.Sleep(2 * FollowEvery) // gateways follow again
		s.check(t, g, 1)
		write()
		for range 12 {
			time.Sleep(time.Second)
			s.check(t, g, 1)
		}
		cancel()
		followers.Wait()
	})
}

// A single announcement that fails, when the journal is away for an owner alone, is
// made up for though nothing else changes.
func TestAFailedAnnouncementIsMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, j := newStore(), newJournal()
		its := &journal{Journal: j.Journal} // the owner's way to the journal
		a := NewAnnouncer(its, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		var followers sync.WaitGroup
		g := s.follow(ctx, &followers, j, none)
		time.Sleep(time.Second)
		s.check(t, g, 1)
		its.away.Store(true)
		s.increment(1)
		a.Changed(t.Context(), []int64{1}, nil)
		its.away.Store(false)
		for range 12 {
			time.Sleep(time.Second)
			s.check(t, g, 1)
		}
		cancel()
		followers.Wait()
	})
}

// A look ends though ever more changes come while it reads: what was announced before
// it began is forgotten then.
func TestFollowerConfirmsWhileChangesCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, held := newJournal(), new(record)
		j.delay = func() time.Duration { return 2 * time.Millisecond }
		a := NewAnnouncer(j.Journal, slog.New(slog.DiscardHandler)) // at once
		ctx, cancel := context.WithCancel(t.Context())
		var followers sync.WaitGroup
		followers.Go(func() {
			ticker := time.NewTicker(FollowEvery)
			defer ticker.Stop()
			NewFollower(j, held, time.Now, slog.New(slog.DiscardHandler)).Follow(ctx, ticker.C)
		})
		time.Sleep(time.Second)
		for id := range int64(3000) {
			a.Changed(t.Context(), []int64{id}, nil)
			time.Sleep(time.Millisecond)
		}
		held.mu.Lock()
		behind := time.Since(held.asOf)
		held.mu.Unlock()
		if behind > 3*FollowEvery {
			t.Errorf("after three seconds with a change each millisecond, counts are confirmed as of %v ago", behind)
		}
		if reads := j.reads.Load(); reads > 100 {
			t.Errorf("it has read %d times", reads)
		}
		time.Sleep(2 * FollowEvery)
		cancel()
		followers.Wait()
	})
}
