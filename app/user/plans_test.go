package user

import (
	"fmt"
	"testing"
	"time"

	"gorm.io/gorm"

	"backbeat/app/id"
	pb "backbeat/proto/user"
	"backbeat/test/harness/tables"
)

// No query of the hot paths reads a table from end to end.
func TestQueriesUseIndexes(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		ids, err := Seed(t.Context(), Deps{DB: db, Passwords: &quick{}, IDs: id.NewGenerator(time.Now), Now: time.Now}, "pass1234", func(yield func(string) bool) {
			for n := range 3000 {
				if !yield(fmt.Sprintf("user%04d", n)) {
					return
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		s, _ := newServer(db)
		tables.Indexed(t, db, func() {
			if err := s.BatchGet(t.Context(), &pb.BatchGetRequest{Ids: ids[:20]}, &pb.BatchGetResponse{}); err != nil {
				t.Error(err)
			}
			if _, err := login(t, s, "user0007", "another"); err == nil {
				t.Error("a wrong password was taken")
			}
		})
	})
}
