package relation

import (
	"slices"
	"testing"
	"time"

	"gorm.io/gorm"

	pb "backbeat/proto/relation"
	"backbeat/test/harness/tables"
)

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
				var flags pb.FlagsResponse
				var followers pb.FollowersResponse
				if err := s.Flags(t.Context(), &pb.FlagsRequest{ViewerId: ada, UserIds: []int64{carol, bob, dave}}, &flags); err != nil {
					t.Fatal(err)
				}
				if err := s.Followers(t.Context(), &pb.FollowersRequest{UserId: bob, ViewerId: bob}, &followers); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(flags.UserIds, want) || slices.Contains(followers.UserIds, ada) != follow {
					t.Errorf("after act %d, instance %d shows %v and followers %v", n, i, flags.UserIds, followers.UserIds)
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
		got, err := s.flags(t.Context(), ada, []int64{1500, bob, 1001, 1000})
		if want := []int64{1500, 1001, 1000}; err != nil || !slices.Equal(got, want) {
			t.Errorf("got %v, %v", got, err)
		}
	})
}
