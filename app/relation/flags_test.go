package relation

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"backbeat/app/batch"
	"backbeat/app/cache"
	"backbeat/app/errs"
	pb "backbeat/proto/relation"
	"backbeat/test/harness/tables"
)

func flagsOf(tb testing.TB, s *Server, viewer int64, users ...int64) []int64 {
	tb.Helper()
	var out pb.FlagsResponse
	err := s.Flags(tb.Context(), &pb.FlagsRequest{Viewers: []*pb.FlagsRequest_Viewer{{Id: viewer, UserIds: users}}}, &out)
	if err != nil || len(out.Viewers) != 1 {
		tb.Fatalf("flags of user %d: %v, %v", viewer, out.Viewers, err)
	}
	return out.Viewers[0].UserIds
}

// Viewers who are asked about together are each told their own.
func TestFlagsOfSeveral(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		mustAct(t, s, ada, bob, true)
		mustAct(t, s, bob, carol, true)
		all := []int64{carol, bob, ada}
		statements := tables.Statements(t, db)
		var out pb.FlagsResponse
		err := s.Flags(t.Context(), &pb.FlagsRequest{Viewers: []*pb.FlagsRequest_Viewer{
			{Id: ada, UserIds: all}, {Id: bob, UserIds: all}, {Id: carol, UserIds: all}, {Id: ada, UserIds: all[:1]},
		}}, &out)
		if err != nil || statements.Load() != 1 {
			t.Fatalf("%v, %d statements", err, statements.Load())
		}
		for i, want := range [][]int64{{bob}, {carol}, nil, nil} {
			if got := out.Viewers[i].UserIds; !slices.Equal(got, want) {
				t.Errorf("viewer %d is told %v, want %v", i, got, want)
			}
		}
		for name, viewers := range map[string][]*pb.FlagsRequest_Viewer{
			"nobody":           {{UserIds: all}},
			"too many users":   {{Id: ada, UserIds: make([]int64, batch.Max+1)}},
			"too many viewers": slices.Repeat([]*pb.FlagsRequest_Viewer{{Id: ada}}, batch.MaxViewers+1),
		} {
			if err := s.Flags(t.Context(), &pb.FlagsRequest{Viewers: viewers}, &out); !errs.Is(err, errs.Invalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// Two versions of a user's follows that are loaded together leave each other alone.
func TestVersionsLoadedTogether(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		mustAct(t, s, ada, carol, true)
		mustAct(t, s, ada, bob, true)
		of := []state{{ada, cache.Version{}}, {bob, cache.Version{}}, {ada, version(t, s, ada)}}
		sets, err := s.loadFollows(t.Context(), of)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range of {
			want := []int64{min(bob, carol), max(bob, carol)}
			if key.user == bob {
				want = nil
			}
			if got := sets[key].ids; !slices.Equal(got, want) {
				t.Errorf("%v follows %v, want %v", key, got, want)
			}
		}
	})
}

func version(tb testing.TB, s *Server, user int64) cache.Version {
	tb.Helper()
	versions, err := s.versions.Get(tb.Context(), user)
	if err != nil {
		tb.Fatal(err)
	}
	return versions[0]
}

// Whatever one instance acknowledged, any other shows at once.
func TestInstancesShowEachOthersFollows(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		instances := newServers(t, db, 2, time.Now)
		for n := range 8 {
			follow := n%2 == 0
			mustAct(t, instances[n%3%2], ada, bob, follow)
			var want []int64
			if follow {
				want = []int64{bob}
			}
			for i, s := range instances {
				flags := flagsOf(t, s, ada, carol, bob, dave)
				_, followers, _, err := lists(t.Context(), s, bob, 0)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(flags, want) || slices.Contains(followers, ada) != follow {
					t.Errorf("after act %d, instance %d shows %v and followers %v", n, i, flags, followers)
				}
			}
		}
	})
}

// Of a user who follows more than a list has, only those asked for are read, each once
// until somebody follows.
func TestFlagsOfOneWhoFollowsMany(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		follows := func(yield func(Pair) bool) {
			for target := int64(1000); target <= 1000+maxList+1; target++ {
				if !yield(Pair{ada, target}) {
					return
				}
			}
		}
		if err := Seed(t.Context(), Deps{DB: db, IDs: s.store.ids}, follows); err != nil {
			t.Fatal(err)
		}
		const latest, first = 1000 + maxList + 1, 1000
		statements := tables.Statements(t, db)
		for _, step := range []struct {
			name        string
			asked, want []int64
			statements  int64
		}{
			{"the latest", []int64{latest, latest - 1}, []int64{latest, latest - 1}, 1},
			{"others", []int64{1500, bob, first + 1, first}, []int64{1500, first + 1, first}, 1},
			{"known ones", []int64{first, bob, 1500}, []int64{first, 1500}, 0},
			{"known and unknown ones", []int64{carol, first, bob, latest}, []int64{first, latest}, 1},
			{"nobody", nil, nil, 0},
		} {
			statements.Store(0)
			if got := flagsOf(t, s, ada, step.asked...); !slices.Equal(got, step.want) || statements.Load() != step.statements {
				t.Errorf("%s: got %v by %d statements, want %v by %d", step.name, got, statements.Load(), step.want, step.statements)
			}
		}
		mustAct(t, s, ada, bob, true)
		mustAct(t, s, ada, first, false)
		if got, want := flagsOf(t, s, ada, first, bob, first+1), []int64{bob, first + 1}; !slices.Equal(got, want) {
			t.Errorf("after following and unfollowing: got %v, want %v", got, want)
		}
		following, _, _, err := lists(t.Context(), s, ada, 0)
		if err != nil || len(following) != maxList || following[0] != bob {
			t.Errorf("the list has %d, %v", len(following), err)
		}
	})
}

// Many who look at once at whom somebody follows that follows many are told the same.
func TestManyLookAtOneWhoFollowsMany(t *testing.T) {
	set := follows{rest: &rest{known: map[int64]bool{}}}
	store := func(users []int64) (even []int64) {
		for _, user := range users {
			if user%2 == 0 {
				even = append(even, user)
			}
		}
		slices.Sort(even)
		return even
	}
	var looking sync.WaitGroup
	for i := range int64(16) {
		looking.Go(func() {
			for n := range int64(2 * maxKnown / 20) {
				users := make([]int64, 20)
				for j := range users {
					users[j] = 1 + (20*n*(1+i%3)+int64(j)*7)%(2*maxKnown)
				}
				unknown := set.unknown(users)
				told := store(unknown)
				set.rest.learn(unknown, told)
				got, want := set.among(users, told), store(users)
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Errorf("got %v, want %v", got, want)
					return
				}
			}
		})
	}
	looking.Wait()
	if known := len(set.rest.known); known < maxKnown || known > maxKnown+20 {
		t.Errorf("%d are known", known)
	}
}

// Lists of several users tell each viewer whom of them they follow.
func TestListsAreFlaggedForTheirViewers(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		for _, pair := range [][2]int64{{ada, bob}, {ada, carol}, {bob, carol}, {carol, bob}, {dave, bob}, {dave, carol}} {
			mustAct(t, s, pair[0], pair[1], true)
		}
		in := &pb.ListsRequest{Lists: []*pb.ListsRequest_List{{UserId: ada, ViewerId: ada}, {UserId: ada, ViewerId: bob}, {UserId: ada}, {UserId: bob, ViewerId: dave}}}
		var following, followers pb.ListsResponse
		if err := errors.Join(s.Following(t.Context(), in, &following), s.Followers(t.Context(), in, &followers)); err != nil {
			t.Fatal(err)
		}
		// Followers of ada: nobody; of bob: dave, carol, ada.
		for i, want := range []struct{ following, followed, followers, followedOfThem []int64 }{
			{[]int64{carol, bob}, []int64{carol, bob}, nil, nil},
			{[]int64{carol, bob}, []int64{carol}, nil, nil},
			{[]int64{carol, bob}, nil, nil, nil},
			{[]int64{carol}, []int64{carol}, []int64{dave, carol, ada}, []int64{carol}},
		} {
			a, b := following.Lists[i], followers.Lists[i]
			if !slices.Equal(a.UserIds, want.following) || !slices.Equal(a.FollowedIds, want.followed) {
				t.Errorf("list %d: following %v, of whom followed %v; want %v", i, a.UserIds, a.FollowedIds, want)
			}
			if !slices.Equal(b.UserIds, want.followers) || !slices.Equal(b.FollowedIds, want.followedOfThem) {
				t.Errorf("list %d: followers %v, of whom followed %v; want %v", i, b.UserIds, b.FollowedIds, want)
			}
		}
	})
}
