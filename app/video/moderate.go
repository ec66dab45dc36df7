package video

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"

	"backbeat/app/changes"
	"backbeat/app/errs"
	"backbeat/app/media"
	"backbeat/model"
	"backbeat/mq"
)

// Find returns the video, in whatever state; NotFound when there is none. It is for
// an operator: nobody else sees what is hidden or failed.
func Find(ctx context.Context, db *gorm.DB, id int64) (*model.Video, error) {
	return store{db}.get(ctx, id)
}

// Hide takes a published video out of every feed and list, and off its author's
// works. Its likes and comments stay, its files get other addresses: whoever knows the
// old ones finds nothing there. Conflict when it isn't published.
func Hide(ctx context.Context, db *gorm.DB, files media.Store, counted *changes.Announcer, id int64) error {
	row, err := Find(ctx, db, id)
	if err != nil {
		return err
	}
	if row.State != model.VideoPublished {
		return errs.New(errs.Conflict, "视频未发布")
	}
	play, cover := media.NewKey("play", "mp4"), media.NewKey("cover", "jpg")
	if err := errors.Join(media.Copy(ctx, files, row.PlayKey, play), media.Copy(ctx, files, row.CoverKey, cover)); err != nil {
		return errors.Join(err, files.Delete(context.WithoutCancel(ctx), play, cover))
	}
	err = store{db}.hide(ctx, row, play, cover)
	counted.Changed(ctx, nil, []int64{row.AuthorID})
	if err != nil {
		return err // perhaps it took effect: doctor finds which files nobody names
	}
	var unused []string
	for _, key := range []string{row.PlayKey, row.CoverKey} {
		// Those of a seeded database share one.
		var shared int64
		if err := db.WithContext(ctx).Model(&model.Video{}).Where("play_key = ? OR cover_key = ?", key, key).Count(&shared).Error; err != nil {
			return model.Wrap(err, "looking for other videos that use %s", key)
		}
		if shared == 0 {
			unused = append(unused, key)
		}
	}
	return files.Delete(ctx, unused...)
}

// Unhide publishes a hidden video again, as the newest. Conflict when it isn't
// hidden.
func Unhide(ctx context.Context, db *gorm.DB, counted *changes.Announcer, id int64, now time.Time) error {
	row, err := Find(ctx, db, id)
	if err != nil {
		return err
	}
	won, err := store{db}.release(ctx, row, model.VideoHidden, now.UnixMilli())
	counted.Changed(ctx, nil, []int64{row.AuthorID})
	if err == nil && !won {
		err = errs.New(errs.Conflict, "视频未隐藏")
	}
	return model.Wrap(err, "showing video %d again", id)
}

// Reprocess queues the job of a video in processing anew, which is harmless if the
// first one was not lost. Conflict when the video has left processing: a published
// one needs none, and the file of a failed one is deleted.
func Reprocess(ctx context.Context, db *gorm.DB, queue mq.Publisher, id int64, now time.Time) error {
	row, err := Find(ctx, db, id)
	if err != nil {
		return err
	}
	if row.State != model.VideoProcessing {
		return errs.New(errs.Conflict, "视频不在处理中")
	}
	message, err := job(publishType, id)
	if err != nil {
		return err
	}
	if err := queue.Publish(ctx, PublishQueue, message); err != nil {
		return err
	}
	return store{db}.markQueued(ctx, id, now.UnixMilli())
}

// Stuck returns up to limit videos that have been in processing since before the
// time, oldest first.
func Stuck(ctx context.Context, db *gorm.DB, since time.Time, limit int) ([]model.Video, error) {
	var rows []model.Video
	err := db.WithContext(ctx).Where("state = ? AND created_at < ?", model.VideoProcessing, since.UnixMilli()).
		Order("id").Limit(limit).Find(&rows).Error
	return rows, model.Wrap(err, "looking for stuck uploads")
}

// Keys yields the media keys that videos may still use, those of uploads in work
// included, reading a bounded number of rows at a time. What is not among them may be
// deleted, so they are the primary's.
func Keys(ctx context.Context, db *gorm.DB, yield func(keys ...string)) error {
	var rows []model.Video
	err := db.WithContext(ctx).Select("id", "original_key", "play_key", "cover_key", "state", "queued_at").
		FindInBatches(&rows, 1000, func(*gorm.DB, int) error {
			for _, row := range rows {
				yield(row.PlayKey, row.CoverKey)
				if row.State == model.VideoProcessing || row.QueuedAt > 0 { // until the sweep has been there
					yield(row.OriginalKey, playKey(row.OriginalKey), coverKey(row.OriginalKey))
				}
			}
			return nil
		}).Error
	return model.Wrap(err, "reading the media keys of videos")
}
