package comment

import (
	"testing"
	"time"

	"gorm.io/gorm"

	"backbeat/app/id"
	pb "backbeat/proto/comment"
	"backbeat/test/harness/tables"
)

// No query of the hot paths reads a table from end to end.
func TestQueriesUseIndexes(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		err := Seed(t.Context(), Deps{DB: db, IDs: id.NewGenerator(time.Now), Now: time.Now}, func(yield func(Text) bool) {
			for n := range int64(4000) {
				if !yield(Text{100 + n%50, 1000 + n%200, "好看"}) {
					return
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
			ask(s.List(t.Context(), &pb.ListRequest{VideoId: 1000}, &pb.ListResponse{}))
			ask(s.Counts(t.Context(), &pb.CountsRequest{VideoIds: []int64{1000, 1001}}, &pb.CountsResponse{}))
			var added pb.AddResponse
			ask(s.Add(t.Context(), one(100, 1000, "x"), &added))
			ask(s.Delete(t.Context(), &pb.DeleteRequest{UserId: 100, VideoId: 1000, CommentId: added.Comments[0].Id}, &pb.DeleteResponse{}))
		})
	})
}
