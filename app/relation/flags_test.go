package relation

import (
	"errors"
	"slices"
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

// Of a user who follows more than is held, only those asked for are read.
func TestFlagsOfOneWhoFollowsMany(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		for target := int64(1000); target <= 1000+maxHeld; target++ {
			if _, err := s.store.follow(t.Context(), ada, target); err != nil {
				t.Fatal(err)
			}
		}
		got := flagsOf(t, s, ada, 1500, bob, 1001, 1000)
		if want := []int64{1500, 1001, 1000}; !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
	})
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
