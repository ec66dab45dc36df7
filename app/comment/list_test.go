package comment

import (
	"context"
	"slices"
	"testing"
	"time"

	"gorm.io/gorm"

	"backbeat/app/batch"
	"backbeat/app/cache"
	"backbeat/app/errs"
	pb "backbeat/proto/comment"
	"backbeat/test/harness"
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

// Versions are those that lists come with, until an instance changes something.
func TestVersionsAreThoseOfTheLists(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		instances := newServers(t, db, 2)
		of := func(s *Server, videos ...int64) []uint64 {
			t.Helper()
			var out pb.VersionsResponse
			if err := s.Versions(t.Context(), &pb.VersionsRequest{VideoIds: videos}, &out); err != nil || len(out.Versions) != len(videos) {
				t.Fatalf("versions of %v are %v, %v", videos, out.Versions, err)
			}
			return out.Versions
		}
		list := func(video int64) uint64 {
			t.Helper()
			var out pb.ListResponse
			if err := instances[0].List(t.Context(), &pb.ListRequest{VideoId: video}, &out); err != nil {
				t.Fatal(err)
			}
			return out.Version
		}
		seven, eight := list(7), list(8)
		want := []uint64{eight, seven, eight}
		statements := tables.Statements(t, db)
		if got := of(instances[1], 8, 7, 8); !slices.Equal(got, want) || statements.Load() != 0 {
			t.Errorf("versions are %v by %d statements, want %v", got, statements.Load(), want)
		}
		added := add(t, instances[0], ada, 7, "x")
		if got := of(instances[1], 7, 8); got[0] == seven || got[1] != eight {
			t.Errorf("after a comment versions are %v, before %v", got, want)
		}
		seven = of(instances[0], 7)[0]
		if err := remove(t.Context(), instances[1], ada, 7, added.Id); err != nil {
			t.Fatal(err)
		}
		if got := of(instances[0], 7); got[0] == seven {
			t.Error("after a deletion the version stands")
		}
		of(instances[0])
	})
}

// away is a cache that can't be reached.
type away struct{ cache.Cache }

func (away) Get(context.Context, ...string) ([][]byte, error) {
	return nil, errs.New(errs.Unavailable, "")
}

func TestVersionsWithoutTheCacheAndOfTooMany(t *testing.T) {
	s := New(Deps{Cache: away{}, Now: time.Now, Log: harness.Logger(t)})
	for name, tt := range map[string]struct {
		videos  []int64
		refused bool
	}{
		"the most":     {slices.Repeat([]int64{7}, batch.Max), false},
		"none":         {nil, false},
		"too many":     {slices.Repeat([]int64{7}, batch.Max+1), true},
		"not positive": {[]int64{7, 0}, true},
	} {
		t.Run(name, func(t *testing.T) {
			var out pb.VersionsResponse
			err := s.Versions(t.Context(), &pb.VersionsRequest{VideoIds: tt.videos}, &out)
			switch {
			case tt.refused:
				if !errs.Is(err, errs.Invalid) {
					t.Errorf("Versions returned %v", err)
				}
			case err != nil || !slices.Equal(out.Versions, make([]uint64, len(tt.videos))):
				t.Errorf("versions are %v, %v", out.Versions, err)
			}
		})
	}
}
