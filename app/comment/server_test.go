package comment

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"
	"pgregory.net/rapid"

	"backbeat/app/batch"
	"backbeat/app/cache"
	"backbeat/app/errs"
	"backbeat/app/id"
	"backbeat/model"
	pb "backbeat/proto/comment"
	"backbeat/proto/entity"
	"backbeat/test/harness"
	"backbeat/test/harness/tables"
)

const (
	ada = int64(100)
	bob = int64(101)
)

func newServer(tb testing.TB, db *gorm.DB) *Server {
	tb.Helper()
	return newServers(tb, db, 1)[0]
}

// newServers returns instances that share a cache.
func newServers(tb testing.TB, db *gorm.DB, n int) []*Server {
	tb.Helper()
	shared, err := cache.NewMemory(1 << 20)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = shared.Close() })
	servers := make([]*Server, n)
	for i := range servers {
		servers[i] = New(Deps{DB: db, IDs: id.NewGenerator(time.Now), Cache: shared, Now: time.Now, Log: harness.Logger(tb)})
	}
	return servers
}

func add(tb testing.TB, s *Server, userID, videoID int64, content string) *entity.Comment {
	tb.Helper()
	var out pb.AddResponse
	if err := s.Add(tb.Context(), one(userID, videoID, content), &out); err != nil {
		tb.Fatal(err)
	}
	return out.Comments[0]
}

// one is a request with one draft.
func one(userID, videoID int64, content string) *pb.AddRequest {
	return &pb.AddRequest{Drafts: []*pb.AddRequest_Draft{{UserId: userID, VideoId: videoID, Content: content}}}
}

func remove(ctx context.Context, s *Server, userID, videoID, commentID int64) error {
	return s.Delete(ctx, &pb.DeleteRequest{UserId: userID, VideoId: videoID, CommentId: commentID}, &pb.DeleteResponse{})
}

// state returns what a video has: its contents as listed, and its counter.
func state(ctx context.Context, s *Server, videoID int64) (contents []string, count int64, err error) {
	var list pb.ListResponse
	if err := s.List(ctx, &pb.ListRequest{VideoId: videoID}, &list); err != nil {
		return nil, 0, err
	}
	for _, comment := range list.Comments {
		contents = append(contents, comment.Content)
	}
	var counts pb.CountsResponse
	if err := s.Counts(ctx, &pb.CountsRequest{VideoIds: []int64{videoID}}, &counts); err != nil {
		return nil, 0, err
	}
	return contents, counts.Counts[videoID], nil
}

func wantState(t *testing.T, s *Server, videoID int64, want ...string) {
	t.Helper()
	contents, count, err := state(t.Context(), s, videoID)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(contents) != fmt.Sprint(want) || count != int64(len(want)) {
		t.Errorf("video %d has %q and counts %d, want %q", videoID, contents, count, want)
	}
}

func TestAddReturnsTheCommentAsStored(t *testing.T) {
	tests := map[string]struct {
		content string
		ok      bool
	}{
		"text with emoji": {"好听🎬", true},
		"longest":         {strings.Repeat("评", 1024), true},
		"longest emoji":   {strings.Repeat("🎬", 1024), true},
		"too long":        {strings.Repeat("a", 1025), false},
		"empty":           {"", false},
		"blank":           {" \n\t", false},
		"NUL":             {"a\x00b", false},
		"not UTF-8":       {"a\xff", false},
	}
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		now := time.UnixMilli(1_700_000_000_123)
		s.now = func() time.Time { return now }
		video := int64(1)
		for name, tt := range tests {
			video++
			t.Run(name, func(t *testing.T) {
				var out pb.AddResponse
				err := s.Add(t.Context(), one(ada, video, tt.content), &out)
				if !tt.ok {
					if !errs.Is(err, errs.Invalid) || out.Comments != nil {
						t.Errorf("Add returned %v, %v", out.Comments, err)
					}
					wantState(t, s, video)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				c := out.Comments[0]
				if c.Id <= 0 || c.Id > id.Max || c.UserId != ada || c.VideoId != video || c.Content != tt.content || c.CreatedAt != now.UnixMilli() {
					t.Errorf("Add returned %v", c)
				}
				wantState(t, s, video, tt.content)
			})
		}
	})
}

func TestOnlyTheAuthorDeletes(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		first, second := add(t, s, ada, 1, "first"), add(t, s, ada, 1, "second")
		elsewhere := add(t, s, bob, 2, "elsewhere")
		tests := []struct {
			name                   string
			user, video, commentID int64
			want                   errs.Kind
		}{
			{"somebody else's", bob, 1, first.Id, errs.NotFound},
			{"under another video", ada, 2, first.Id, errs.NotFound},
			{"another's under another video", ada, 1, elsewhere.Id, errs.NotFound},
			{"unknown", ada, 1, second.Id + 1, errs.NotFound},
			{"without an id", ada, 1, 0, errs.Invalid},
			{"negative id", ada, 1, -1, errs.Invalid},
			{"without a user", 0, 1, first.Id, errs.Invalid},
			{"without a video", ada, 0, first.Id, errs.Invalid},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				if err := remove(t.Context(), s, tt.user, tt.video, tt.commentID); !errs.Is(err, tt.want) {
					t.Errorf("Delete returned %v, want %v", err, tt.want)
				}
				wantState(t, s, 1, "second", "first")
				wantState(t, s, 2, "elsewhere")
			})
		}
		if err := remove(t.Context(), s, ada, 1, first.Id); err != nil {
			t.Error(err)
		}
		wantState(t, s, 1, "second")
		if err := remove(t.Context(), s, ada, 1, first.Id); !errs.Is(err, errs.NotFound) {
			t.Errorf("the second Delete returned %v", err)
		}
		wantState(t, s, 1, "second")
	})
}

func TestListIsNewestFirstAndBounded(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		stopped := time.Now()
		s.store.ids = id.NewGenerator(func() time.Time { return stopped })
		add(t, s, ada, 9, "of another video")
		for i := range 5 {
			add(t, s, ada, 1, fmt.Sprint(i))
		}
		wantState(t, s, 1, "4", "3", "2", "1", "0")
		for limit, want := range map[int32]int{0: 5, 1: 1, 3: 3, 5: 5, 1000: 5, 2000: 5, -1: 5} {
			var out pb.ListResponse
			if err := s.List(t.Context(), &pb.ListRequest{VideoId: 1, Limit: limit}, &out); err != nil {
				t.Fatal(err)
			}
			if len(out.Comments) != want || out.Comments[0].Content != "4" {
				t.Errorf("limit %d: %v", limit, out.Comments)
			}
		}
		rows := make([]model.Comment, 1001)
		for i := range rows {
			rows[i] = model.Comment{ID: int64(i + 1), VideoID: 3, UserID: bob, Content: "x"}
		}
		if err := db.CreateInBatches(rows, 500).Error; err != nil {
			t.Fatal(err)
		}
		var out pb.ListResponse
		if err := s.List(t.Context(), &pb.ListRequest{VideoId: 3, Limit: 5000}, &out); err != nil {
			t.Fatal(err)
		}
		if len(out.Comments) != 1000 || out.Comments[999].Id != 2 {
			t.Errorf("%d comments, the last is %v", len(out.Comments), out.Comments[len(out.Comments)-1])
		}
	})
}

func TestCountsAnswersForEveryVideoInOneStatement(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		add(t, s, ada, 1, "a")
		add(t, s, bob, 1, "b")
		add(t, s, ada, 2, "c")
		statements := tables.Statements(t, db)
		var out pb.CountsResponse
		if err := s.Counts(t.Context(), &pb.CountsRequest{VideoIds: []int64{1, 2, 3, 1}}, &out); err != nil {
			t.Fatal(err)
		}
		if want := (map[int64]int64{1: 2, 2: 1, 3: 0}); fmt.Sprint(out.Counts) != fmt.Sprint(want) {
			t.Errorf("counts are %v, want %v", out.Counts, want)
		}
		if statements.Load() != 1 {
			t.Errorf("it took %d statements", statements.Load())
		}
		if err := s.Counts(t.Context(), &pb.CountsRequest{}, &out); err != nil || len(out.Counts) != 0 || statements.Load() != 1 {
			t.Errorf("no videos: %v, %v, %d statements", out.Counts, err, statements.Load()-1)
		}
		if err := s.Counts(t.Context(), &pb.CountsRequest{VideoIds: make([]int64, batch.Max+1)}, &out); !errs.Is(err, errs.Invalid) {
			t.Errorf("too many: %v", err)
		}
	})
}

func TestATakenIDIsDrawnAgainAndCountedOnce(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		now := time.Now()
		s.store.ids = id.NewGenerator(func() time.Time { return now })
		taken := s.store.ids.Next() + 1
		now = now.Add(-time.Hour) // a clock that went back makes the next id predictable
		if err := db.Create(&model.Comment{ID: taken, VideoID: 2, UserID: bob, Content: "theirs"}).Error; err != nil {
			t.Fatal(err)
		}
		if got := add(t, s, ada, 1, "mine"); got.Id != taken+1 {
			t.Errorf("Add returned %v, want id %d", got, taken+1)
		}
		wantState(t, s, 1, "mine")
	})
}

// Adding and deleting at once, the same comment by several too, leaves a counter
// that equals the rows.
func TestTheCounterEqualsTheRows(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		var video int64
		rapid.Check(t, func(rt *rapid.T) {
			video++
			before := rapid.IntRange(0, 4).Draw(rt, "comments before")
			adds := rapid.IntRange(0, 4).Draw(rt, "added meanwhile")
			var existing []int64
			for range before {
				existing = append(existing, add(t, s, ada, video, "x").Id)
			}
			var deletes []int
			if before > 0 {
				deletes = rapid.SliceOfN(rapid.IntRange(0, before-1), 0, 6).Draw(rt, "deleted")
			}
			var deleted atomic.Int64
			var group sync.WaitGroup
			for range adds {
				group.Go(func() {
					if err := s.Add(t.Context(), one(bob, video, "y"), &pb.AddResponse{}); err != nil {
						t.Error(err)
					}
				})
			}
			for _, which := range deletes {
				group.Go(func() {
					switch err := remove(t.Context(), s, ada, video, existing[which]); {
					case err == nil:
						deleted.Add(1)
					case !errs.Is(err, errs.NotFound):
						t.Error(err)
					}
				})
			}
			group.Wait()
			contents, count, err := state(t.Context(), s, video)
			if err != nil {
				rt.Fatal(err)
			}
			want := before + adds - int(deleted.Load())
			if len(contents) != want || count != int64(want) {
				rt.Fatalf("%d rows, counted %d, want %d", len(contents), count, want)
			}
		})
	})
}

func BenchmarkAdd(b *testing.B) {
	tables.EachBench(b, func(b *testing.B, db *gorm.DB) {
		s := newServer(b, db)
		in := one(ada, 1, "好听")
		b.RunParallel(func(loop *testing.PB) {
			for loop.Next() {
				if err := s.Add(b.Context(), in, &pb.AddResponse{}); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
