package comment

import (
	"context"
	"errors"
	"maps"
	"slices"

	"gorm.io/gorm"

	"backbeat/app/errs"
	"backbeat/app/id"
	"backbeat/model"
)

// draws bounds how often ids are drawn for the same rows. Two instances collide
// about once in 4,096 rows of the same millisecond.
const draws = 5

// store is the tables comments and comment_videos. None of its reads may be late: lists
// are held under a version that ends with a write, for its writer too, and counts are
// asked for right after a change was announced.
type store struct {
	db  *gorm.DB
	ids *id.Generator
}

// add inserts comments, giving them their ids, and counts them, in one transaction.
// An id that is taken has all drawn anew.
func (s *store) add(ctx context.Context, rows []model.Comment) error {
	changes := map[int64]int64{}
	for _, row := range rows {
		changes[row.VideoID]++
	}
	var err error
	for range draws {
		for i := range rows {
			rows[i].ID = s.ids.Next()
		}
		err = model.Transact(ctx, s.db, func(tx *gorm.DB) error {
			if err := tx.Create(&rows).Error; err != nil {
				return err
			}
			return count(tx, changes)
		})
		if !errors.Is(err, gorm.ErrDuplicatedKey) {
			break
		}
	}
	return model.Wrap(err, "adding %d comments", len(rows))
}

// remove deletes a comment if this user wrote it under this video, else it
// returns NotFound.
func (s *store) remove(ctx context.Context, userID, videoID, commentID int64) error {
	err := model.Transact(ctx, s.db, func(tx *gorm.DB) error {
		deleted := tx.Where("id = ? AND user_id = ? AND video_id = ?", commentID, userID, videoID).Delete(&model.Comment{})
		if deleted.Error != nil {
			return deleted.Error
		}
		if deleted.RowsAffected == 0 {
			return errs.New(errs.NotFound, "评论不存在")
		}
		return count(tx, map[int64]int64{videoID: -deleted.RowsAffected})
	})
	return model.Wrap(err, "deleting comment %d of user %d", commentID, userID)
}

// count adds to the counters of videos. It comes last in a transaction, which holds
// the hottest rows no longer than it must, and takes them in order.
func count(tx *gorm.DB, changes map[int64]int64) error {
	rows := make([]model.CommentVideo, 0, len(changes))
	for _, videoID := range slices.Sorted(maps.Keys(changes)) {
		rows = append(rows, model.CommentVideo{VideoID: videoID, Comments: changes[videoID]})
	}
	return model.Grow(tx, rows, "comment_videos", "video_id", "comments")
}

// newest returns up to limit comments of a video, newest first.
func (s *store) newest(ctx context.Context, videoID int64, limit int) ([]model.Comment, error) {
	var rows []model.Comment
	err := s.db.WithContext(ctx).Where("video_id = ?", videoID).Order("id DESC").Limit(limit).Find(&rows).Error
	return rows, model.Wrap(err, "listing the comments of video %d", videoID)
}

// counts returns the counter of each video, 0 where there is none.
func (s *store) counts(ctx context.Context, videoIDs []int64) (map[int64]int64, error) {
	counts := make(map[int64]int64, len(videoIDs))
	if len(videoIDs) == 0 {
		return counts, nil
	}
	var rows []model.CommentVideo
	if err := s.db.WithContext(ctx).Where("video_id IN ?", videoIDs).Find(&rows).Error; err != nil {
		return nil, model.Wrap(err, "counting the comments of %d videos", len(videoIDs))
	}
	for _, videoID := range videoIDs {
		counts[videoID] = 0
	}
	for _, row := range rows {
		counts[row.VideoID] = row.Comments
	}
	return counts, nil
}
