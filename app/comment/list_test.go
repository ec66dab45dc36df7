package comment

import (
	"testing"

	"gorm.io/gorm"

	pb "backbeat/proto/comment"
	"backbeat/test/harness/tables"
)

// Whatever one instance acknowledged, any other shows at once, and nobody is sent
// the comments that he knows.
func TestInstancesShowEachOthersComments(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		instances := newServers(t, db, 2)
		list := func(s *Server, known uint64) *pb.ListResponse {
			t.Helper()
			var out pb.ListResponse
			if err := s.List(t.Context(), &pb.ListRequest{VideoId: 7, Known: known}, &out); err != nil {
				t.Fatal(err)
			}
			return &out
		}
		var known uint64
		for n := range 6 {
			writer := instances[n%2]
			added := add(t, writer, ada, 7, "x")
			for i, s := range instances {
				got := list(s, known)
				if len(got.Comments) != 1 || got.Comments[0].Id != added.Id || got.Version == 0 || got.Version == known {
					t.Fatalf("round %d: instance %d lists %v", n, i, got)
				}
			}
			known = list(writer, 0).Version
			if got := list(instances[0], known); len(got.Comments) > 0 || got.Version != known {
				t.Errorf("round %d: sent again %v", n, got)
			}
			if err := remove(t.Context(), writer, ada, 7, added.Id); err != nil {
				t.Fatal(err)
			}
			for i, s := range instances {
				if got := list(s, known); len(got.Comments) != 0 || got.Version == known {
					t.Fatalf("round %d: instance %d lists %v", n, i, got)
				}
			}
		}
	})
}
