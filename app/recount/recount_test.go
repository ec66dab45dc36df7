package recount_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"gorm.io/gorm"

	"backbeat/app/comment"
	"backbeat/app/favorite"
	"backbeat/app/recount"
	"backbeat/app/relation"
	"backbeat/app/video"
	"backbeat/model"
	"backbeat/test/harness/tables"
)

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// Rows and counters that differ in every way they can.
func spoil(t *testing.T, db *gorm.DB) {
	at := int64(1)
	for _, rows := range []any{
		[]model.Favorite{
			{UserID: 1, VideoID: 10, AuthorID: 2, Liked: true, Version: 1},
			{UserID: 2, VideoID: 10, AuthorID: 2, Liked: true, Version: 1},
			{UserID: 3, VideoID: 10, AuthorID: 2, Version: 1}, // taken back
			{UserID: 1, VideoID: 11, AuthorID: 2, Liked: true, Version: 1},
		},
		[]model.FavoriteVideo{{VideoID: 10, Likes: 3}, {VideoID: 11, Likes: 1}, {VideoID: 12, Likes: 5}},
		[]model.FavoriteUser{{UserID: 1, Given: 2}, {UserID: 2, Received: 3, Given: 7}},
		[]model.Comment{{ID: 1, VideoID: 10, UserID: 1, Content: "好"}},
		[]model.Follow{{FollowerID: 1, FolloweeID: 2, Seq: 1}},
		[]model.FollowUser{{UserID: 1, Follows: 1}, {UserID: 2, Followers: 2}},
		[]model.Video{{ID: 1, AuthorID: 5, State: model.VideoPublished, PublishedAt: &at}, {ID: 2, AuthorID: 5, State: model.VideoProcessing}},
		[]model.VideoAuthor{{AuthorID: 5, Works: 2}},
	} {
		must(t, db.Create(rows).Error)
	}
}

func TestCountersThatAreWrongAreFoundAndMended(t *testing.T) {
	counters := slices.Concat(favorite.Counters, comment.Counters, relation.Counters, video.Counters)
	want := []string{
		"favorite_videos.likes says 3 where video_id is 10, and there are 2",
		"favorite_videos.likes says 5 where video_id is 12, and there are 0",
		"favorite_users.given says 7 where user_id is 2, and there are 1",
		"comment_videos.comments says 0 where video_id is 10, and there are 1",
		"follow_users.followers says 2 where user_id is 2, and there are 1",
		"video_authors.works says 2 where author_id is 5, and there are 1",
	}
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		spoil(t, db)
		var found []string
		for _, table := range counters {
			drifts, err := recount.Find(t.Context(), db, table, 10)
			must(t, err)
			for _, d := range drifts {
				found = append(found, d.String())
				must(t, recount.Mend(t.Context(), db, d.Table, d.ID))
			}
			again, err := recount.Find(t.Context(), db, table, 10)
			must(t, err)
			if len(again) > 0 {
				t.Errorf("after it was mended: %v", again)
			}
		}
		if !slices.Equal(found, want) {
			t.Errorf("found %q", found)
		}
	})
}

func TestNoMoreIsFoundThanAskedFor(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		var rows []model.CommentVideo
		for id := range int64(5) {
			rows = append(rows, model.CommentVideo{VideoID: id + 1, Comments: 1})
		}
		must(t, db.Create(rows).Error)
		drifts, err := recount.Find(t.Context(), db, comment.Counters[0], 3)
		must(t, err)
		if len(drifts) != 3 || drifts[0].ID != 1 {
			t.Errorf("found %v", drifts)
		}
	})
}

// Counters may be mended while people go on.
func TestMendingLosesNoWrite(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		const writers, comments, mends = 4, 25, 40
		var group sync.WaitGroup
		for writer := range writers {
			group.Go(func() {
				for i := range comments {
					err := model.Transact(t.Context(), db, func(tx *gorm.DB) error {
						row := model.Comment{ID: int64(1 + writer*comments + i), VideoID: 10, UserID: 1, Content: fmt.Sprint(i)}
						if err := tx.Create(&row).Error; err != nil {
							return err
						}
						return model.Grow(tx, []model.CommentVideo{{VideoID: 10, Comments: 1}}, "comment_videos", "video_id", "comments")
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Go(func() {
			for range mends {
				if err := recount.Mend(t.Context(), db, comment.Counters[0], 10); err != nil {
					t.Error(err)
				}
			}
		})
		group.Wait()
		var counter model.CommentVideo
		must(t, db.Where("video_id = 10").Take(&counter).Error)
		if counter.Comments != writers*comments {
			t.Errorf("the counter says %d of %d", counter.Comments, writers*comments)
		}
	})
}
