package favorite

import (
	"context"
	"iter"
	"maps"
	"slices"

	"gorm.io/gorm"

	"backbeat/model"
)

// Like says that a user likes a video of an author.
type Like struct{ UserID, VideoID, AuthorID int64 }

// Seed writes likes in bulk, all or none, past the queue. Each has the version
// that Deps.Now gives when its turn comes. Sorted by user they go in fastest. It
// is for users and videos that are new: a like or a count that is there already is
// a Conflict.
//
// No pending view knows of those users, and a cached count of theirs lives half a
// second, so nothing is invalidated.
func Seed(ctx context.Context, deps Deps, likes iter.Seq[Like]) error {
	err := deps.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		versions := &clock{now: deps.Now}
		rows := model.NewBulk[model.Favorite](tx)
		liked, received, given := map[int64]int64{}, map[int64]int64{}, map[int64]int64{}
		for like := range likes {
			err := rows.Add(model.Favorite{
				UserID: like.UserID, VideoID: like.VideoID, AuthorID: like.AuthorID, Liked: true, Version: versions.after(0),
			})
			if err != nil {
				return err
			}
			liked[like.VideoID]++
			received[like.AuthorID]++
			given[like.UserID]++
		}
		if err := rows.Flush(); err != nil {
			return err
		}
		return seedCounts(tx, liked, received, given)
	})
	return model.Wrap(err, "liking in bulk")
}

func seedCounts(tx *gorm.DB, liked, received, given map[int64]int64) error {
	videos := model.NewBulk[model.FavoriteVideo](tx)
	for _, id := range slices.Sorted(maps.Keys(liked)) {
		if err := videos.Add(model.FavoriteVideo{VideoID: id, Likes: liked[id]}); err != nil {
			return err
		}
	}
	if err := videos.Flush(); err != nil {
		return err
	}
	ids := maps.Clone(received)
	maps.Copy(ids, given)
	users := model.NewBulk[model.FavoriteUser](tx)
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		if err := users.Add(model.FavoriteUser{UserID: id, Received: received[id], Given: given[id]}); err != nil {
			return err
		}
	}
	return users.Flush()
}
