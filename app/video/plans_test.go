package video

import (
	"testing"
	"time"

	"gorm.io/gorm"

	"backbeat/app/id"
	"backbeat/model"
	pb "backbeat/proto/video"
	"backbeat/test/harness/tables"
)

// No query of the hot paths reads a table from end to end.
func TestQueriesUseIndexes(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		deps := Deps{DB: db, IDs: id.NewGenerator(time.Now), Now: time.Now}
		clip := Clip{row: model.Video{State: model.VideoPublished, PlayKey: "play/a.mp4", CoverKey: "cover/a.jpg"}}
		ids, err := Seed(t.Context(), deps, clip, func(yield func(Work) bool) {
			for n := range int64(3000) {
				if !yield(Work{100 + n%100, "海边"}) {
					return
				}
			}
		})
		check(t, err)
		s := newServer(t, db, &outbox{})
		tables.Indexed(t, db, func() {
			var page pb.FeedResponse
			check(t, s.Feed(t.Context(), &pb.FeedRequest{}, &page))
			check(t, s.Feed(t.Context(), &pb.FeedRequest{Before: page.Videos[29].PublishedAt}, &page))
			check(t, s.ListByAuthor(t.Context(), &pb.ListByAuthorRequest{AuthorId: 100, ViewerId: 100}, &pb.ListByAuthorResponse{}))
			check(t, s.ListByAuthor(t.Context(), &pb.ListByAuthorRequest{AuthorId: 100, ViewerId: 101}, &pb.ListByAuthorResponse{}))
			check(t, s.BatchGet(t.Context(), &pb.BatchGetRequest{Ids: ids[:30]}, &pb.BatchGetResponse{}))
			check(t, s.WorkCounts(t.Context(), &pb.WorkCountsRequest{UserIds: []int64{100, 101, 102}}, &pb.WorkCountsResponse{}))
		})
	})
}
