package favorite

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"backbeat/app/cache"
	"backbeat/app/errs"
	"backbeat/config"
	"backbeat/deploy/local"
	"backbeat/test/harness"
)

// hasty returns a RedisPending on the server, as it runs.
func hasty(tb testing.TB, server *local.Server) *RedisPending {
	tb.Helper()
	client, err := cache.Dial(config.Redis{Addr: server.URL})
	if err != nil {
		tb.Fatal(err)
	}
	closing(tb, client)
	return NewRedisPending(client)
}

// patient returns one that takes its time: on a busy machine the usual budget
// runs out now and then, and the rows alone are served.
func patient(tb testing.TB, server *local.Server) *RedisPending {
	tb.Helper()
	client := redis.NewClient(&redis.Options{Addr: server.URL})
	closing(tb, client)
	p := NewRedisPending(client)
	p.budget = time.Minute
	return p
}

func closing(tb testing.TB, client redis.UniversalClient) {
	tb.Cleanup(func() {
		if err := client.Close(); err != nil {
			tb.Error(err)
		}
	})
}

// pendings are all implementations, with the lives given.
func pendings(t *testing.T, l lives, test func(t *testing.T, p Pending)) {
	t.Run("memory", func(t *testing.T) {
		p := NewMemoryPending(time.Now)
		p.lives = l
		test(t, p)
	})
	t.Run("redis", func(t *testing.T) {
		p := patient(t, harness.Redis(t))
		p.lives = l
		test(t, p)
	})
}

const (
	alice, bob, carol = int64(1<<52 + 1), int64(1<<52 + 2), int64(1<<52 + 3)
	film, clip        = int64(1<<52 + 101), int64(1<<52 + 102)
	// epoch is a version of the usual size, in microseconds.
	epoch = int64(1_760_000_000_000_000)
)

// enter allocates an entry of alice for film with the version wanted.
func enter(t *testing.T, p Pending, version int64, liked bool) write {
	t.Helper()
	return enterAs(t, p, write{alice, film, bob, liked, version})
}

func enterAs(t *testing.T, p Pending, act write) write {
	t.Helper()
	made, err := allocate(t.Context(), p, act, write{})
	if err != nil || made.full {
		t.Fatalf("%+v, %v", made, err)
	}
	if made.version < act.version {
		t.Fatalf("allocated %d for a proposal of %d", made.version, act.version)
	}
	act.version = made.version
	return act
}

// allocate asks for one entry.
func allocate(ctx context.Context, p Pending, act, row write) (allocation, error) {
	made, err := p.allocate(ctx, []proposal{{act, row}})
	if err != nil {
		return allocation{}, err
	}
	return made[0], nil
}

func keep(ctx context.Context, p Pending, act write) error { return p.keep(ctx, []write{act}) }

func takeBack(ctx context.Context, p Pending, act write) error { return p.takeBack(ctx, []write{act}) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func showing(t *testing.T, p Pending, user int64) []write {
	t.Helper()
	found, err := p.of(t.Context(), user)
	must(t, err)
	return sorted(found[0].writes)
}

func sorted(writes []write) []write {
	return slices.SortedFunc(slices.Values(writes), func(a, b write) int { return int(a.video - b.video) })
}

func shows(t *testing.T, p Pending, want ...write) {
	t.Helper()
	if got := showing(t, p, alice); !slices.Equal(got, sorted(want)) {
		t.Fatalf("%v show, want %v", got, want)
	}
}

func TestPendingAllocate(t *testing.T) {
	tests := map[string]struct {
		// entry is what waits already, none at version 0.
		entry, row, act write
		version         int64
		known           bool
	}{
		"nothing known":                  {write{}, write{}, write{version: epoch}, epoch, false},
		"row is older":                   {write{}, write{version: epoch - 5, liked: true}, write{version: epoch}, epoch, true},
		"row is as new":                  {write{}, write{version: epoch, liked: true}, write{version: epoch}, epoch + 1, true},
		"row is from a faster clock":     {write{}, write{version: epoch + 7}, write{version: epoch}, epoch + 8, false},
		"entry is older":                 {write{version: epoch - 5, liked: true}, write{}, write{version: epoch}, epoch, true},
		"entry is as new":                {write{version: epoch, liked: true}, write{}, write{version: epoch}, epoch + 1, true},
		"entry is from a faster clock":   {write{version: epoch + 7, liked: true}, write{}, write{version: epoch}, epoch + 8, true},
		"entry is newer than the row":    {write{version: epoch + 7, liked: true}, write{version: epoch + 3}, write{version: epoch}, epoch + 8, true},
		"row is newer than the entry":    {write{version: epoch + 3, liked: true}, write{version: epoch + 7}, write{version: epoch}, epoch + 8, false},
		"entry is applied, clocks aside": {write{version: epoch, liked: true}, write{version: epoch, liked: true}, write{version: 1}, epoch + 1, true},
	}
	pendings(t, usualLives, func(t *testing.T, p Pending) {
		user := alice
		for name, tt := range tests {
			user--
			t.Run(name, func(t *testing.T) {
				for _, w := range []*write{&tt.entry, &tt.row, &tt.act} {
					w.user, w.video, w.author = user, film, bob
				}
				if tt.entry.version > 0 {
					enterAs(t, p, tt.entry)
				}
				made, err := allocate(t.Context(), p, tt.act, tt.row)
				must(t, err)
				if want := (allocation{tt.version, tt.known, false}); made != want {
					t.Errorf("%+v, want %+v", made, want)
				}
				tt.act.version = made.version
				if got := showing(t, p, user); !slices.Equal(got, []write{tt.act}) {
					t.Errorf("%v show, want %v", got, tt.act)
				}
			})
		}
	})
}

func TestPendingEntries(t *testing.T) {
	tests := map[string]func(t *testing.T, p Pending){
		"nothing at first": func(t *testing.T, p Pending) { shows(t, p) },
		"users do not see each other's": func(t *testing.T, p Pending) {
			enterAs(t, p, write{bob, film, carol, true, epoch})
			shows(t, p)
		},
		"one per video, the newest": func(t *testing.T, p Pending) {
			enter(t, p, epoch, true)
			unlike := enter(t, p, epoch+1, false)
			other := enterAs(t, p, write{alice, clip, carol, true, epoch})
			shows(t, p, unlike, other)
		},
		"taken back alone": func(t *testing.T, p Pending) {
			must(t, takeBack(t.Context(), p, enter(t, p, epoch, true)))
			shows(t, p)
		},
		"taking back spares other videos": func(t *testing.T, p Pending) {
			like := enter(t, p, epoch, true)
			must(t, takeBack(t.Context(), p, write{user: alice, video: clip, version: epoch}))
			shows(t, p, like)
		},
		"taking back uncovers what was confirmed": func(t *testing.T, p Pending) {
			like := enter(t, p, epoch, true)
			must(t, keep(t.Context(), p, like))
			must(t, takeBack(t.Context(), p, enter(t, p, epoch+1, false)))
			shows(t, p, like)
		},
		"two refused, older first": func(t *testing.T, p Pending) {
			older, newer := enter(t, p, epoch, true), enter(t, p, epoch+1, false)
			must(t, takeBack(t.Context(), p, older))
			shows(t, p, newer)
			must(t, takeBack(t.Context(), p, newer))
			shows(t, p)
		},
		"two refused, newer first": func(t *testing.T, p Pending) {
			older, newer := enter(t, p, epoch, true), enter(t, p, epoch+1, false)
			must(t, takeBack(t.Context(), p, newer))
			shows(t, p, older)
			must(t, takeBack(t.Context(), p, older))
			shows(t, p)
		},
		"the older refused after the newer was confirmed": func(t *testing.T, p Pending) {
			older, newer := enter(t, p, epoch, true), enter(t, p, epoch+1, false)
			must(t, keep(t.Context(), p, newer))
			must(t, takeBack(t.Context(), p, older))
			shows(t, p, newer)
		},
		"the newer refused after the older was confirmed": func(t *testing.T, p Pending) {
			older, newer := enter(t, p, epoch, true), enter(t, p, epoch+1, false)
			must(t, keep(t.Context(), p, older))
			shows(t, p, newer)
			must(t, takeBack(t.Context(), p, newer))
			shows(t, p, older)
		},
		"confirming buries what is older": func(t *testing.T, p Pending) {
			older, newer := enter(t, p, epoch, true), enter(t, p, epoch+1, false)
			must(t, keep(t.Context(), p, newer))
			must(t, keep(t.Context(), p, older))
			must(t, takeBack(t.Context(), p, newer))
			shows(t, p)
		},
		"settling deletes nothing": func(t *testing.T, p Pending) {
			like := enter(t, p, epoch, true)
			must(t, p.settle(t.Context(), []write{like}))
			shows(t, p, like)
		},
		"settling nothing": func(t *testing.T, p Pending) { must(t, p.settle(t.Context(), nil)) },
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { pendings(t, usualLives, test) })
	}
}

// gone waits until all lives that were short when it was called have ended.
func gone(t *testing.T, p Pending) {
	t.Helper()
	marker := enterAs(t, p, write{carol, clip, bob, true, epoch})
	harness.Eventually(t, 10*time.Second, func() error {
		if got := showing(t, p, carol); len(got) > 0 {
			return fmt.Errorf("%v still shows", marker)
		}
		return nil
	}, "a provisional entry goes by itself")
}

func TestPendingLives(t *testing.T) {
	const short, long = 300 * time.Millisecond, time.Hour
	tests := map[string]func(t *testing.T, p Pending){
		"provisional": func(t *testing.T, p Pending) {
			enter(t, p, epoch, true)
			gone(t, p)
			shows(t, p)
		},
		"kept": func(t *testing.T, p Pending) {
			like := enter(t, p, epoch, true)
			must(t, keep(t.Context(), p, like))
			gone(t, p)
			shows(t, p, like)
		},
		"kept, beside one that goes": func(t *testing.T, p Pending) {
			like := enter(t, p, epoch, true)
			must(t, keep(t.Context(), p, like))
			enterAs(t, p, write{alice, clip, bob, true, epoch})
			gone(t, p)
			shows(t, p, like)
		},
		"kept under one that goes": func(t *testing.T, p Pending) {
			like := enter(t, p, epoch, true)
			must(t, keep(t.Context(), p, like))
			enter(t, p, epoch+1, false)
			gone(t, p)
			shows(t, p, like)
		},
		"settled": func(t *testing.T, p Pending) {
			like := enter(t, p, epoch, true)
			must(t, keep(t.Context(), p, like))
			must(t, p.settle(t.Context(), []write{like}))
			gone(t, p)
			shows(t, p)
		},
		"settled before it is kept": func(t *testing.T, p Pending) {
			like := enter(t, p, epoch, true)
			must(t, p.settle(t.Context(), []write{like}))
			must(t, keep(t.Context(), p, like))
			gone(t, p)
			shows(t, p)
		},
		"settled by a newer write": func(t *testing.T, p Pending) {
			like := enter(t, p, epoch, true)
			must(t, keep(t.Context(), p, like))
			must(t, p.settle(t.Context(), []write{{alice, film, bob, false, epoch + 1}}))
			gone(t, p)
			shows(t, p)
		},
		"not settled by an older write": func(t *testing.T, p Pending) {
			like := enter(t, p, epoch, true)
			must(t, keep(t.Context(), p, like))
			must(t, p.settle(t.Context(), []write{{alice, film, bob, false, epoch - 1}}))
			gone(t, p)
			shows(t, p, like)
		},
		"not settled by another video": func(t *testing.T, p Pending) {
			like := enter(t, p, epoch, true)
			must(t, keep(t.Context(), p, like))
			must(t, p.settle(t.Context(), []write{enterAs(t, p, write{alice, clip, bob, true, epoch})}))
			gone(t, p)
			shows(t, p, like)
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { pendings(t, lives{short, long, short}, test) })
	}
}

func TestPendingIsBounded(t *testing.T) {
	pendings(t, usualLives, func(t *testing.T, p Pending) {
		for i := range int64(maxVideos) {
			enterAs(t, p, write{alice, film + i, bob, true, epoch})
		}
		made, err := allocate(t.Context(), p, write{alice, film + maxVideos, bob, true, epoch}, write{version: 7, liked: true})
		if err != nil || made != (allocation{7, true, true}) {
			t.Errorf("one video too many: %+v, %v", made, err)
		}
		for range maxEntries - 1 {
			enter(t, p, epoch, true)
		}
		made, err = allocate(t.Context(), p, write{alice, film, bob, true, epoch}, write{})
		if err != nil || made != (allocation{epoch + maxEntries - 1, true, true}) {
			t.Errorf("one entry too many: %+v, %v", made, err)
		}
		if got := len(showing(t, p, alice)); got != maxVideos {
			t.Errorf("%d entries, want %d", got, maxVideos)
		}
	})
}

func TestPendingMakesRoomForTheLiving(t *testing.T) {
	pendings(t, lives{300 * time.Millisecond, time.Hour, time.Hour}, func(t *testing.T, p Pending) {
		for i := range int64(maxVideos) {
			enterAs(t, p, write{alice, film + i, bob, true, epoch})
		}
		gone(t, p)
		late := enterAs(t, p, write{alice, film + maxVideos, bob, true, epoch})
		shows(t, p, late)
	})
}

func TestMemoryPendingForgetsUsersWhoNeverReturn(t *testing.T) {
	now := time.Now()
	p := NewMemoryPending(func() time.Time { return now })
	for user := range int64(10 * minSweep) {
		enterAs(t, p, write{user + 1, film, bob, true, epoch})
		now = now.Add(p.lives.provisional / 100)
		if len(p.users) > minSweep {
			t.Fatalf("%d users are held, about 100 of them live", len(p.users))
		}
	}
}

func TestRedisPendingLeavesNothingBehind(t *testing.T) {
	p := patient(t, harness.Redis(t))
	p.lives = lives{time.Hour, time.Hour, 200 * time.Millisecond}
	like := enter(t, p, epoch, true)
	must(t, keep(t.Context(), p, like))
	must(t, p.settle(t.Context(), []write{like}))
	harness.Eventually(t, 10*time.Second, func() error {
		if n := p.client.DBSize(t.Context()).Val(); n != 0 {
			return fmt.Errorf("%d keys", n)
		}
		return nil
	}, "the user's key goes with its last entry")
}

// Of many entries those that expired go now and then, but a mark lasts.
func TestRedisPendingCleansAmongMany(t *testing.T) {
	p := patient(t, harness.Redis(t))
	const many = 50
	likes := make([]write, many)
	for i := range likes {
		likes[i] = enterAs(t, p, write{alice, film + int64(i), bob, true, epoch})
	}
	must(t, p.keep(t.Context(), likes))
	must(t, p.settle(t.Context(), likes))
	key := pendingKey(alice)
	for try := 0; p.client.PTTL(t.Context(), key).Val() > settledLife; try++ {
		if try > 200 { // one in three cleans
			t.Fatal("their hash lives on")
		}
		must(t, p.settle(t.Context(), likes[:1]))
	}
	must(t, p.client.PExpire(t.Context(), key, time.Second).Err())
	must(t, p.settle(t.Context(), []write{{alice, film + many, bob, true, epoch}})) // which had no entry
	if left := p.client.PTTL(t.Context(), key).Val(); left < settledLife-time.Second || left > settledLife {
		t.Errorf("the mark goes in %v", left)
	}
	shows(t, p, likes...)
}

func TestPendingAllocatesNoVersionTwice(t *testing.T) {
	pendings(t, usualLives, func(t *testing.T, p Pending) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		seen := map[int64]bool{}
		for range maxEntries / 2 {
			wg.Go(func() {
				act := proposal{write{alice, film, bob, true, epoch}, write{}}
				made, err := p.allocate(t.Context(), []proposal{act, act})
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				for _, one := range made {
					if one.full || seen[one.version] {
						t.Errorf("%+v, twice or none", one)
					}
					seen[one.version] = true
				}
			})
		}
		wg.Wait()
	})
}

// Both implementations answer the same to whatever is asked of them.
func TestPendingImplementationsAgree(t *testing.T) {
	shared := patient(t, harness.Redis(t))
	user := int64(0)
	rapid.Check(t, func(rt *rapid.T) {
		user++
		local := NewMemoryPending(time.Now)
		var acts []write
		some := func() write {
			if len(acts) == 0 {
				return write{user, film, bob, true, epoch}
			}
			return rapid.SampledFrom(acts).Draw(rt, "act")
		}
		both := func(call func(p Pending) (any, error)) any {
			a, errA := call(local)
			b, errB := call(shared)
			if a != b || !errors.Is(errB, errA) {
				rt.Fatalf("memory says %v, %v; redis %v, %v", a, errA, b, errB)
			}
			return a
		}
		rt.Repeat(map[string]func(*rapid.T){
			"allocate": func(rt *rapid.T) {
				act := write{user, film + rapid.Int64Range(0, 2).Draw(rt, "video"), bob, rapid.Bool().Draw(rt, "liked"), epoch + rapid.Int64Range(0, 9).Draw(rt, "proposal")}
				row := write{version: epoch + rapid.Int64Range(-9, 20).Draw(rt, "row"), liked: rapid.Bool().Draw(rt, "row liked")}
				answer := both(func(p Pending) (any, error) {
					return allocate(t.Context(), p, act, row)
				})
				act.version = answer.(allocation).version
				acts = append(acts, act)
			},
			"keep": func(*rapid.T) {
				act := some()
				both(func(p Pending) (any, error) { return nil, keep(t.Context(), p, act) })
			},
			"take back": func(*rapid.T) {
				act := some()
				both(func(p Pending) (any, error) { return nil, takeBack(t.Context(), p, act) })
			},
			"settle": func(*rapid.T) {
				act := some()
				both(func(p Pending) (any, error) { return nil, p.settle(t.Context(), []write{act}) })
			},
			"": func(rt *rapid.T) {
				const nobody = 1 << 40
				a, errA := local.of(t.Context(), user, nobody)
				b, errB := shared.of(t.Context(), user, nobody)
				if errA != nil || errB != nil {
					rt.Fatalf("memory: %v; redis: %v", errA, errB)
				}
				if !slices.Equal(sorted(a[0].writes), sorted(b[0].writes)) || len(a[1].writes)+len(b[1].writes) > 0 {
					rt.Fatalf("memory shows %v; redis %v", a, b)
				}
			},
		})
	})
}

// While Redis stalls, few readings wait for it, and all read again soon after.
func TestRedisPendingSparesReadingsTheWaiting(t *testing.T) {
	server := harness.Redis(t)
	p := hasty(t, server)
	read := func() error { _, err := p.of(t.Context(), alice); return err }
	harness.Eventually(t, 5*time.Second, read, "redis is used")
	must(t, server.Pause())
	waited := 0
	for range 200 {
		began := time.Now()
		if err := read(); !errs.Is(err, errs.Unavailable) {
			t.Errorf("a reading returned %v", err)
		}
		if time.Since(began) > redisBudget/2 {
			waited++
		}
	}
	if waited < redisFailures || waited > 2*redisFailures {
		t.Errorf("%d of 200 readings waited, want %d and a few that look", waited, redisFailures)
	}
	must(t, server.Resume())
	harness.Eventually(t, 5*time.Second, read, "redis is read again")
	for range 2 {
		if !p.reading.Allows(time.Now()) {
			t.Error("Redis rests on")
		}
	}
}

// A stalled or dead Redis costs a call its budget and no more.
func TestRedisPendingIsBoundedInTime(t *testing.T) {
	server := harness.Redis(t)
	p := hasty(t, server)
	like := write{alice, film, bob, true, epoch}
	harness.Eventually(t, 5*time.Second, func() error { _, err := allocate(t.Context(), p, like, write{}); return err }, "redis is used")
	calls := map[string]func() error{
		"allocate":  func() error { _, err := allocate(t.Context(), p, like, write{}); return err },
		"keep":      func() error { return keep(t.Context(), p, like) },
		"take back": func() error { return takeBack(t.Context(), p, like) },
		"settle":    func() error { return p.settle(t.Context(), []write{like}) },
		"of":        func() error { _, err := p.of(t.Context(), alice); return err },
	}
	try := func(state string) {
		for _, name := range slices.Sorted(maps.Keys(calls)) {
			start := time.Now()
			err := calls[name]()
			if took := time.Since(start); !errs.Is(err, errs.Unavailable) || took > 5*redisBudget {
				t.Errorf("%s: %s returned %v after %v", state, name, err, took)
			}
		}
	}
	must(t, server.Pause())
	try("stalled")
	must(t, server.Resume())
	must(t, server.Kill())
	try("dead")
	must(t, server.Start(t.Context()))
	harness.Eventually(t, 5*time.Second, func() error { return calls["allocate"]() }, "redis is used again")
}
