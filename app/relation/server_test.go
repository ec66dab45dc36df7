package relation

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"
	"pgregory.net/rapid"

	"backbeat/app/batch"
	"backbeat/app/cache"
	"backbeat/app/errs"
	"backbeat/app/id"
	"backbeat/model"
	pb "backbeat/proto/relation"
	"backbeat/test/harness"
	"backbeat/test/harness/tables"
)

const (
	ada   = int64(100)
	bob   = int64(101)
	carol = int64(102)
	dave  = int64(103)
)

func newServer(tb testing.TB, db *gorm.DB) *Server {
	tb.Helper()
	stopped := time.Now() // lists keep their order without a clock that moves
	return newServers(tb, db, 1, func() time.Time { return stopped })[0]
}

// newServers returns instances that share a cache and draw ids by a clock.
func newServers(tb testing.TB, db *gorm.DB, n int, clock func() time.Time) []*Server {
	tb.Helper()
	shared, err := cache.NewMemory(1 << 20)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = shared.Close() })
	servers := make([]*Server, n)
	for i := range servers {
		servers[i] = New(Deps{DB: db, IDs: id.NewGenerator(clock), Cache: shared, Now: time.Now, Log: harness.Logger(tb)})
	}
	return servers
}

func act(ctx context.Context, s *Server, userID, targetID int64, follow bool) (already bool, err error) {
	var out pb.ActResponse
	err = s.Act(ctx, &pb.ActRequest{UserId: userID, TargetId: targetID, Follow: follow}, &out)
	return out.Already, err
}

func mustAct(tb testing.TB, s *Server, userID, targetID int64, follow bool) {
	tb.Helper()
	if already, err := act(tb.Context(), s, userID, targetID, follow); err != nil || already {
		tb.Fatalf("Act(%d, %d, %t) returned %t, %v", userID, targetID, follow, already, err)
	}
}

func stats(ctx context.Context, s *Server, userIDs ...int64) (map[int64]*pb.UserStat, error) {
	var out pb.StatsResponse
	err := s.Stats(ctx, &pb.StatsRequest{UserIds: userIDs}, &out)
	return out.Users, err
}

func wantStat(t *testing.T, s *Server, viewerID, userID, follows, followers int64, isFollow bool) {
	t.Helper()
	users, err := stats(t.Context(), s, userID)
	if err != nil {
		t.Fatal(err)
	}
	got := users[userID]
	followed := len(flagsOf(t, s, viewerID, userID)) > 0
	if got.GetFollowCount() != follows || got.GetFollowerCount() != followers || followed != isFollow {
		t.Errorf("user %d for viewer %d: %v, want follows %d, followers %d, is_follow %t", userID, viewerID, got, follows, followers, isFollow)
	}
}

// lists returns the three lists of a user.
func lists(ctx context.Context, s *Server, userID int64, limit int32) (following, followers, friends []int64, err error) {
	var a, b pb.ListsResponse
	in := &pb.ListsRequest{Lists: []*pb.ListsRequest_List{{UserId: userID}}, Limit: limit}
	if err = s.Following(ctx, in, &a); err != nil {
		return
	}
	if err = s.Followers(ctx, in, &b); err != nil {
		return
	}
	var c pb.FriendsResponse
	err = s.Friends(ctx, &pb.FriendsRequest{UserId: userID, Limit: limit}, &c)
	return a.Lists[0].UserIds, b.Lists[0].UserIds, c.UserIds, err
}

func wantLists(t *testing.T, s *Server, userID int64, limit int32, following, followers, friends []int64) {
	t.Helper()
	a, b, c, err := lists(t.Context(), s, userID, limit)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(a, following) || !slices.Equal(b, followers) || !slices.Equal(c, friends) {
		t.Errorf("user %d follows %v, has followers %v, friends %v; want %v, %v, %v", userID, a, b, c, following, followers, friends)
	}
}

func TestFollowingHasADirection(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		mustAct(t, s, ada, bob, true)
		wantStat(t, s, ada, bob, 0, 1, true)
		wantStat(t, s, bob, ada, 1, 0, false)
		wantStat(t, s, bob, bob, 0, 1, false)
		wantStat(t, s, carol, bob, 0, 1, false)
		wantLists(t, s, ada, 0, []int64{bob}, nil, nil)
		wantLists(t, s, bob, 0, nil, []int64{ada}, nil)

		mustAct(t, s, bob, ada, true)
		wantStat(t, s, bob, ada, 1, 1, true)
		wantLists(t, s, ada, 0, []int64{bob}, []int64{bob}, []int64{bob})
		wantLists(t, s, bob, 0, []int64{ada}, []int64{ada}, []int64{ada})

		mustAct(t, s, ada, bob, false)
		wantStat(t, s, ada, bob, 1, 0, false)
		wantStat(t, s, bob, ada, 0, 1, true)
		wantLists(t, s, ada, 0, nil, []int64{bob}, nil)

		// That carol follows somebody makes her no friend of ada's.
		mustAct(t, s, ada, carol, true)
		mustAct(t, s, carol, bob, true)
		wantLists(t, s, ada, 0, []int64{carol}, []int64{bob}, nil)
	})
}

func TestActIsIdempotent(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		steps := []struct {
			name    string
			follow  bool
			already bool
			count   int64
		}{
			{"unfollow of nobody", false, true, 0},
			{"follow", true, false, 1},
			{"follow again", true, true, 1},
			{"unfollow", false, false, 0},
			{"unfollow again", false, true, 0},
			{"follow anew", true, false, 1},
		}
		for _, step := range steps {
			already, err := act(t.Context(), s, ada, bob, step.follow)
			if err != nil || already != step.already {
				t.Errorf("%s: Act returned %t, %v, want %t", step.name, already, err, step.already)
			}
			wantStat(t, s, ada, bob, 0, step.count, step.count == 1)
			wantStat(t, s, bob, ada, step.count, 0, false)
		}
	})
}

func TestActRefuses(t *testing.T) {
	tests := []struct {
		name             string
		userID, targetID int64
		want             errs.Kind
		text             string
	}{
		{"oneself", ada, ada, errs.Invalid, "不能对自己进行该操作！"},
		{"the system account", ada, model.SystemUserID, errs.Forbidden, "不能关注系统账号"},
		{"no target", ada, 0, errs.Invalid, ""},
		{"no user", 0, ada, errs.Invalid, ""},
		{"a negative target", ada, -bob, errs.Invalid, ""},
	}
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		statements := tables.Statements(t, db)
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				for _, follow := range []bool{true, false} {
					_, err := act(t.Context(), s, tt.userID, tt.targetID, follow)
					if !errs.Is(err, tt.want) || tt.text != "" && errs.Text(err) != tt.text {
						t.Errorf("Act(follow: %t) returned %v", follow, err)
					}
				}
			})
		}
		if statements.Load() != 0 {
			t.Errorf("refusals took %d statements", statements.Load())
		}
	})
}

func TestListsAreLatestFirstAndBounded(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		for _, target := range []int64{dave, bob, carol} {
			mustAct(t, s, ada, target, true)
		}
		for _, follower := range []int64{carol, dave, bob} {
			mustAct(t, s, follower, ada, true)
		}
		wantLists(t, s, ada, 0, []int64{carol, bob, dave}, []int64{bob, dave, carol}, []int64{bob, dave, carol})
		wantLists(t, s, ada, 2, []int64{carol, bob}, []int64{bob, dave}, []int64{bob, dave})

		// Who follows again is the latest, whichever side made the friendship new.
		mustAct(t, s, ada, dave, false)
		mustAct(t, s, ada, dave, true)
		wantLists(t, s, ada, 0, []int64{dave, carol, bob}, []int64{bob, dave, carol}, []int64{dave, bob, carol})

		rows := make([]model.Follow, 1001)
		for i := range rows {
			rows[i] = model.Follow{FollowerID: 7, FolloweeID: int64(1000 + i), Seq: int64(i + 1)}
		}
		if err := db.CreateInBatches(rows, 500).Error; err != nil {
			t.Fatal(err)
		}
		following, _, _, err := lists(t.Context(), s, 7, 5000)
		if err != nil || len(following) != 1000 || following[0] != 2000 || following[999] != 1001 {
			t.Errorf("%d users, from %d to %d: %v", len(following), following[0], following[len(following)-1], err)
		}
		for _, userID := range []int64{0, -1} {
			if _, _, _, err := lists(t.Context(), s, userID, 0); !errs.Is(err, errs.Invalid) {
				t.Errorf("lists of user %d: %v", userID, err)
			}
		}
	})
}

func TestEveryReadIsOneStatement(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		mustAct(t, s, ada, bob, true)
		statements := tables.Statements(t, db)
		users, err := stats(t.Context(), s, ada, bob, carol, bob)
		if err != nil || len(users) != 3 || users[carol] == nil {
			t.Errorf("Stats returned %v, %v", users, err)
		}
		if statements.Load() != 1 {
			t.Errorf("Stats took %d statements", statements.Load())
		}
		if _, _, _, err := lists(t.Context(), s, ada, 0); err != nil || statements.Load() != 4 {
			t.Errorf("three lists took %d statements, %v", statements.Load()-1, err)
		}
		if users, err := stats(t.Context(), s); err != nil || len(users) != 0 || statements.Load() != 4 {
			t.Errorf("Stats of nobody returned %v, %v after %d statements", users, err, statements.Load()-4)
		}
		if _, err := stats(t.Context(), s, make([]int64, batch.Max+1)...); !errs.Is(err, errs.Invalid) {
			t.Errorf("Stats of too many: %v", err)
		}
	})
}

// Users who follow and unfollow one another all at once end with counters that
// equal the rows, and no deadlock reaches them.
func TestTheCountersEqualTheRows(t *testing.T) {
	type step struct {
		from, to int
		follow   bool
	}
	const users = 3
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		var base int64
		rapid.Check(t, func(rt *rapid.T) {
			base += 1000 // users of this run
			steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
				from := rapid.IntRange(0, users-1).Draw(rt, "from")
				to := (from + rapid.IntRange(1, users-1).Draw(rt, "to")) % users
				return step{from, to, rapid.Bool().Draw(rt, "follow")}
			}), 1, 12).Draw(rt, "steps")

			var mu sync.Mutex
			changes := map[[2]int]int{} // new follows less ended ones
			var group sync.WaitGroup
			for _, step := range steps {
				group.Go(func() {
					already, err := act(t.Context(), s, base+int64(step.from), base+int64(step.to), step.follow)
					if err != nil {
						t.Error(err)
					}
					if already {
						return
					}
					mu.Lock()
					defer mu.Unlock()
					if step.follow {
						changes[[2]int{step.from, step.to}]++
					} else {
						changes[[2]int{step.from, step.to}]--
					}
				})
			}
			group.Wait()
			for user := range users {
				userID := base + int64(user)
				following, followers, _, err := lists(t.Context(), s, userID, 0)
				if err != nil {
					rt.Fatal(err)
				}
				counted, err := stats(t.Context(), s, userID)
				if err != nil {
					rt.Fatal(err)
				}
				if got := counted[userID]; got.FollowCount != int64(len(following)) || got.FollowerCount != int64(len(followers)) {
					rt.Fatalf("user %d has %v but follows %v and is followed by %v", user, got, following, followers)
				}
				for other := range users {
					rows := 0
					if slices.Contains(following, base+int64(other)) {
						rows = 1
					}
					if answered := changes[[2]int{user, other}]; answered != rows {
						rt.Fatalf("answers for %d → %d add up to %d, there are %d rows", user, other, answered, rows)
					}
				}
			}
		})
	})
}

func BenchmarkAct(b *testing.B) {
	tables.EachBench(b, func(b *testing.B, db *gorm.DB) {
		s := newServer(b, db)
		var fans int64
		var mu sync.Mutex
		b.RunParallel(func(loop *testing.PB) { // everybody follows one star
			for loop.Next() {
				mu.Lock()
				fans++
				fan := 1000 + fans
				mu.Unlock()
				if _, err := act(b.Context(), s, fan, ada, true); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

func BenchmarkStats(b *testing.B) {
	tables.EachBench(b, func(b *testing.B, db *gorm.DB) {
		s := newServer(b, db)
		ids := make([]int64, 30)
		for i := range ids {
			ids[i] = int64(1000 + i)
			mustAct(b, s, ada, ids[i], true)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := stats(b.Context(), s, ids...); err != nil {
				b.Fatal(err)
			}
		}
	})
}
