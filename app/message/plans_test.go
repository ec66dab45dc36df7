package message

import (
	"testing"
	"time"

	"gorm.io/gorm"

	"backbeat/app/id"
	pb "backbeat/proto/message"
	"backbeat/test/harness/tables"
)

// No query of the hot paths reads a table from end to end.
func TestQueriesUseIndexes(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(db, time.Now)
		const people = 40
		err := Seed(t.Context(), Deps{DB: db, IDs: id.NewGenerator(time.Now), Now: time.Now}, func(yield func(Line) bool) {
			for a := range int64(people) {
				for b := range a {
					for range 4 {
						if !yield(Line{ada + a, ada + b, "hi"}) {
							return
						}
					}
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		tables.Indexed(t, db, func() {
			wantChat(t, s, ada, ada+1, 0, 1, "hi")
			_, err := chat(t.Context(), s, ada, ada+1, 1, 10)
			if err == nil {
				_, err = latest(t.Context(), s, ada+20, ada, ada+1, ada+30)
			}
			if err == nil {
				err = s.Newer(t.Context(), &pb.NewerRequest{Chats: []*pb.NewerRequest_Chat{
					{ViewerId: ada, PeerId: ada + 1, After: 1}, {ViewerId: ada + 2, PeerId: ada + 1, After: 1},
				}}, &pb.NewerResponse{})
			}
			if err != nil {
				t.Error(err)
			}
			mustSend(t, s, ada, ada+1, "again")
		})
	})
}
