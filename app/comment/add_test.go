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

	"backbeat/app/cache"
	"backbeat/app/errs"
	"backbeat/app/id"
	"backbeat/model"
	pb "backbeat/proto/comment"
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
func drafts(ctx context.Context, n int) []draft {
	all := make([]draft, n)
	for i := range all {
		all[i] = draft{ctx, model.Comment{UserID: int64(1000 + i), VideoID: int64(1 + i%3), Content: fmt.Sprint(i)}}
	}
	return all
}

// answered checks that each draft was answered with its own comment, ids rising.
func answered(t *testing.T, asked []draft, answers []*added) {
	t.Helper()
	before := int64(0)
	for i, one := range answers {
		if want := asked[i].row; one.err != nil || one.row.UserID != want.UserID || one.row.VideoID != want.VideoID || one.row.Content != want.Content {
			t.Errorf("draft %d was answered %v, %v", i, one.row, one.err)
		}
		if one.row.ID <= before {
			t.Errorf("comment %d has id %d after %d", i, one.row.ID, before)
		}
		before = one.row.ID
	}
}

func TestARoundIsTwoStatements(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		gone, leave := context.WithCancel(t.Context())
		leave()
		asked := slices.Insert(drafts(t.Context(), mostAdded-1), 5, draft{gone, model.Comment{UserID: ada, VideoID: 1, Content: "gone"}})
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
		answers, err := s.write(t.Context(), asked)
		if err != nil || len(answers) != len(asked) {
			t.Fatalf("%d answers, %v", len(answers), err)
		}
		if statements.Load() != 2 || dropped.trips.Load() != 1 {
			t.Errorf("it took %d statements and %d drops of versions", statements.Load(), dropped.trips.Load())
		}
		if err := answers[5].err; !errs.Is(err, errs.Unavailable) {
			t.Errorf("who left was answered %v", err)
		}
		answered(t, slices.Delete(asked, 5, 6), slices.Delete(answers, 5, 6))
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

// Everybody asks while the first ones are held up, so they share what follows. That
// many arrive a moment apart is no matter of correctness, so the bound is generous.
func TestAddsAtTheSameTimeShareStatements(t *testing.T) {
	const adds = 60
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		statements, open := tables.Statements(t, db), make(chan struct{})
		if err := db.Callback().Create().Before("*").Register("comment:gate", func(*gorm.DB) { <-open }); err != nil {
			t.Fatal(err)
		}
		var asking, group sync.WaitGroup
		asking.Add(adds)
		for n := range adds {
			group.Go(func() {
				asking.Done()
				var out pb.AddResponse
				in := &pb.AddRequest{UserId: int64(1 + n), VideoId: 1, Content: fmt.Sprint(n)}
				if err := s.Add(t.Context(), in, &out); err != nil || out.Comment.UserId != in.UserId || out.Comment.Content != in.Content {
					t.Errorf("Add of %d returned %v, %v", n, out.Comment, err)
				}
			})
		}
		asking.Wait()
		close(open)
		group.Wait()
		if n := statements.Load(); n > adds {
			t.Errorf("%d comments took %d statements", adds, n)
		}
		if contents, count, err := state(t.Context(), s, 1); err != nil || len(contents) != adds || count != adds {
			t.Errorf("%d comments, counted %d, %v", len(contents), count, err)
		}
	})
}

func TestATakenIDHarmsNoOther(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db)
		now := time.Now()
		s.store.ids = id.NewGenerator(func() time.Time { return now })
		next := s.store.ids.Next() + 1
		now = now.Add(-time.Hour) // a clock that went back makes the next ids predictable
		// One that the round draws, and one that either half draws.
		for _, taken := range []int64{next + 4, next + 9, next + 21} {
			if err := db.Create(&model.Comment{ID: taken, VideoID: 9, UserID: bob, Content: "theirs"}).Error; err != nil {
				t.Fatal(err)
			}
		}
		asked := drafts(t.Context(), 9)
		answers, err := s.write(t.Context(), asked)
		if err != nil {
			t.Fatal(err)
		}
		answered(t, asked, answers)
		wantState(t, s, 1, "6", "3", "0")
		wantState(t, s, 2, "7", "4", "1")
		wantState(t, s, 3, "8", "5", "2")
	})
}

func TestAFailingDatabaseFailsTheRound(t *testing.T) {
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
		answers, err := s.write(t.Context(), drafts(t.Context(), 3))
		if err != nil {
			t.Fatal(err)
		}
		for i, one := range answers {
			if !errs.Is(one.err, errs.Unavailable) {
				t.Errorf("draft %d was answered %v", i, one.err)
			}
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
					if err := s.Add(t.Context(), &pb.AddRequest{UserId: 1 + by, VideoId: video, Content: "x"}, &out); err != nil {
						t.Error(err)
						return
					}
					if n%3 == 0 {
						if err := remove(t.Context(), s, 1+by, video, out.Comment.Id); err != nil {
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
