package relation

import (
	"testing"
	"time"

	"gorm.io/gorm"

	"backbeat/app/id"
	pb "backbeat/proto/relation"
	"backbeat/test/harness/tables"
)

// No query of the hot paths reads a table from end to end.
func TestQueriesUseIndexes(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		const people = 60
		err := Seed(t.Context(), Deps{DB: db, IDs: id.NewGenerator(time.Now)}, func(yield func(Pair) bool) {
			for a := range int64(people) {
				for b := range int64(people) {
					if a != b && !yield(Pair{ada + a, ada + b}) {
						return
					}
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		tables.Indexed(t, db, func() {
			ask := func(err error) {
				if err != nil {
					t.Error(err)
				}
			}
			flagsOf(t, s, ada, ada+1, ada+2)
			lists := &pb.ListsRequest{Lists: []*pb.ListsRequest_List{{UserId: ada}, {UserId: bob, ViewerId: ada}}}
			ask(s.Following(t.Context(), lists, &pb.ListsResponse{}))
			ask(s.Followers(t.Context(), lists, &pb.ListsResponse{}))
			ask(s.Friends(t.Context(), &pb.FriendsRequest{UserId: ada}, &pb.FriendsResponse{}))
			_, err := stats(t.Context(), s, ada, ada+1)
			ask(err)
			_, err = s.store.followed(t.Context(), []wanted{{ada, []int64{ada + 1, ada + 2}}, {bob, []int64{ada, ada + 5}}})
			ask(err)
		})
	})
}
