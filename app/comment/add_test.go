package comment

import (
	"context"
	"database/sql/driver"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"

	"backbeat/app/batch"
	"backbeat/app/cache"
	"backbeat/app/errs"
	"backbeat/app/id"
	"backbeat/model"
	pb "backbeat/proto/comment"
	"backbeat/test/harness"
	"backbeat/test/harness/tables"
)

// drops counts the round trips that end versions.
type drops struct {
	cache.Cache
	trips atomic.Int64
}

func (d *drops) Delete(ctx context.Context, keys ...string) error {
	d.trips.Add(1)
	return d.Cache.Delete(ctx, keys...)
}

// drafts are n comments of as many users, by turns under three videos.
func drafts(n int) *pb.AddRequest {
	in := &pb.AddRequest{}
	for i := range n {
		in.Drafts = append(in.Drafts, &pb.AddRequest_Draft{UserId: int64(1000 + i), VideoId: int64(1 + i%3), Content: fmt.Sprint(i)})
	}
	return in
}

// mustAdd adds what is asked for and checks that each draft is answered with its own
// comment, ids rising.
func mustAdd(t *testing.T, s *Server, in *pb.AddRequest) {
	t.Helper()
	var out pb.AddResponse
	if err := s.Add(t.Context(), in, &out); err != nil || len(out.Comments) != len(in.Drafts) {
		t.Fatalf("%d answers, %v", len(out.Comments), err)
	}
	before := int64(0)
	for i, got := range out.Comments {
		if want := in.Drafts[i]; got.UserId != want.UserId || got.VideoId != want.VideoId || got.Content != want.Content {
			t.Errorf("draft %d was answered %v", i, got)
		}
		if got.Id <= before {
			t.Errorf("comment %d has id %d after %d", i, got.Id, before)
		}
		before = got.Id
	}
}

func TestCommentsTravelTogether(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		shared, err := cache.NewMemory(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = shared.Close() })
		dropped := &drops{Cache: shared}
		s.versions = cache.NewVersions(dropped, "comment:", time.Now)
		before, err := s.versions.Get(t.Context(), 1, 2, 3)
		if err != nil {
			t.Fatal(err)
		}
		statements := tables.Statements(t, db)
		mustAdd(t, s, drafts(63))
		if statements.Load() != 2 || dropped.trips.Load() != 1 {
			t.Errorf("it took %d statements and %d drops of versions", statements.Load(), dropped.trips.Load())
		}
		after, err := s.versions.Get(t.Context(), 1, 2, 3)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range [][]string{{"60", "57"}, {"61", "58"}, {"62", "59"}} {
			if before[i] == after[i] {
				t.Errorf("video %d has the version of before", i+1)
			}
			contents, count, err := state(t.Context(), s, int64(i+1))
			if err != nil || len(contents) != 21 || count != 21 || !slices.Equal(contents[:2], want) {
				t.Errorf("video %d has %d comments %v, counted %d, %v", i+1, len(contents), contents, count, err)
			}
		}
	})
}

// What is wrong with one of several is wrong with all, and nothing is written.
func TestAddWritesAllOrNone(t *testing.T) {
	tests := map[string]func(*pb.AddRequest){
		"a blank one": func(in *pb.AddRequest) { in.Drafts[1].Content = " " },
		"no author":   func(in *pb.AddRequest) { in.Drafts[2].UserId = 0 },
		"no video":    func(in *pb.AddRequest) { in.Drafts[0].VideoId = -1 },
		"too many":    func(in *pb.AddRequest) { in.Drafts = drafts(batch.MaxViewers + 1).Drafts },
	}
	s := newServer(t, tables.Open(t, harness.SQLite(t)))
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			in := drafts(3)
			spoil(in)
			if err := s.Add(t.Context(), in, &pb.AddResponse{}); !errs.Is(err, errs.Invalid) {
				t.Errorf("Add returned %v", err)
			}
			for video := range int64(3) {
				wantState(t, s, 1+video)
			}
		})
	}
	if err := s.Add(t.Context(), &pb.AddRequest{}, &pb.AddResponse{}); err != nil {
		t.Errorf("nothing to add: %v", err)
	}
}

func TestATakenIDHarmsNobody(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		now := time.Now()
		s.store.ids = id.NewGenerator(func() time.Time { return now })
		next := s.store.ids.Next() + 1
		now = now.Add(-time.Hour)                                      // a clock that went back makes the next ids predictable
		for _, taken := range []int64{next + 4, next + 9, next + 21} { // of the first draws
			if err := db.Create(&model.Comment{ID: taken, VideoID: 9, UserID: bob, Content: "theirs"}).Error; err != nil {
				t.Fatal(err)
			}
		}
		mustAdd(t, s, drafts(9))
		wantState(t, s, 1, "6", "3", "0")
		wantState(t, s, 2, "7", "4", "1")
		wantState(t, s, 3, "8", "5", "2")
	})
}

func TestAFailingDatabaseFailsThemAll(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		away := atomic.Bool{}
		away.Store(true)
		err := db.Callback().Create().Before("gorm:create").Register("comment:away", func(tx *gorm.DB) {
			if away.Load() && tx.Statement.Table == "comment_videos" {
				_ = tx.AddError(driver.ErrBadConn)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Add(t.Context(), drafts(3), &pb.AddResponse{}); !errs.Is(err, errs.Unavailable) {
			t.Errorf("Add returned %v", err)
		}
		away.Store(false)
		wantState(t, s, 1)
		add(t, s, ada, 1, "again")
		wantState(t, s, 1, "again")
	})
}

// Two instances write and delete under the same videos.
func TestTheCountersEqualTheRowsOfManyVideos(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		instances := newServers(t, db, 2)
		var group sync.WaitGroup
		for by := range int64(16) {
			group.Go(func() {
				s := instances[by%2]
				for n := range int64(6) {
					video := 1 + (by+n*(1+by%2))%3
					var out pb.AddResponse
					if err := s.Add(t.Context(), one(1+by, video, "x"), &out); err != nil {
						t.Error(err)
						return
					}
					if n%3 == 0 {
						if err := remove(t.Context(), s, 1+by, video, out.Comments[0].Id); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		group.Wait()
		total := 0
		for video := range int64(3) {
			contents, count, err := state(t.Context(), instances[0], 1+video)
			if err != nil || int64(len(contents)) != count {
				t.Errorf("video %d has %d comments, counted %d, %v", 1+video, len(contents), count, err)
			}
			total += len(contents)
		}
		if total != 16*4 {
			t.Errorf("%d comments remain, want %d", total, 16*4)
		}
	})
}
