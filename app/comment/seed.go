package comment

import (
	"context"
	"iter"
	"maps"
	"slices"

	"gorm.io/gorm"

	"backbeat/model"
)

// Text is a comment to write.
type Text struct {
	UserID, VideoID int64
	Content         string
}

// Seed writes comments in bulk, all or none, each at what Deps.Now says when its
// turn comes. It is for videos that are new: one that has a count already is a
// Conflict.
func Seed(ctx context.Context, deps Deps, texts iter.Seq[Text]) error {
	err := deps.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		rows, counts := model.NewBulk[model.Comment](tx), map[int64]int64{}
		for t := range texts {
			err := rows.Add(model.Comment{
				ID: deps.IDs.Next(), VideoID: t.VideoID, UserID: t.UserID, Content: t.Content, CreatedAt: deps.Now().UnixMilli(),
			})
			if err != nil {
				return err
			}
			counts[t.VideoID]++
		}
		if err := rows.Flush(); err != nil {
			return err
		}
		videos := model.NewBulk[model.CommentVideo](tx)
		for _, id := range slices.Sorted(maps.Keys(counts)) {
			if err := videos.Add(model.CommentVideo{VideoID: id, Comments: counts[id]}); err != nil {
				return err
			}
		}
		return videos.Flush()
	})
	return model.Wrap(err, "commenting in bulk")
}
