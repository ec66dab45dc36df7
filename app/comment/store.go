package comment

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"backbeat/app/errs"
	"backbeat/app/id"
	"backbeat/model"
)

// draws bounds how often an id is drawn for one row. Two instances collide about
// once in 4,096 rows of the same millisecond.
const draws = 5

type store struct {
	db  *gorm.DB
	ids *id.Generator
	now func() time.Time
}

// add inserts a comment, counts it and returns it.
func (s *store) add(ctx context.Context, userID, videoID int64, content string) (model.Comment, error) {
	row := model.Comment{VideoID: videoID, UserID: userID, Content: content, CreatedAt: s.now().UnixMilli()}
	var err error
	for range draws {
		row.ID = s.ids.Next()
		err = model.Transact(ctx, s.db, func(tx *gorm.DB) error {
			if err := tx.Create(&row).Error; err != nil {
				return err
			}
			return count(tx, videoID, 1)
		})
		if !errors.Is(err, gorm.ErrDuplicatedKey) {
			break
		}
	}
	return row, model.Wrap(err, "adding a comment of user %d to video %d", userID, videoID)
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
		return count(tx, videoID, -deleted.RowsAffected)
	})
	return model.Wrap(err, "deleting comment %d of user %d", commentID, userID)
}

// count adds to a video's counter. It comes last in a transaction, which holds
// the hottest row no longer than it must.
func count(tx *gorm.DB, videoID, change int64) error {
	return tx.Clauses(clause.OnConflict{
		Columns:   []clause.Column{{Name: "video_id"}},
		DoUpdates: clause.Assignments(map[string]any{"comments": gorm.Expr("comment_videos.comments + ?", change)}),
	}).Create(&model.CommentVideo{VideoID: videoID, Comments: change}).Error
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
