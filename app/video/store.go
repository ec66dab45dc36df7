package video

import (
	"context"
	"errors"
	"slices"

	"gorm.io/gorm"

	"backbeat/app/errs"
	"backbeat/model"
)

// instants bounds how often a publish time is taken anew because another video
// got it first. Each round gives one of the competitors its time.
const instants = 100

// store is the tables videos and video_authors. What an author sees of own works, the
// first page of the feed, what workers and operators decide by, and counts are read from
// the primary; each read that may be late says why.
type store struct{ db *gorm.DB }

// insert adds a row; Conflict means that its id is taken.
func (s store) insert(ctx context.Context, row *model.Video) error {
	err := s.db.WithContext(ctx).Create(row).Error
	return model.Wrap(err, "inserting video %d", row.ID)
}

// markQueued records that the queue took the job of a video in processing.
func (s store) markQueued(ctx context.Context, id, now int64) error {
	err := s.db.WithContext(ctx).Model(&model.Video{}).
		Where("id = ? AND state = ?", id, model.VideoProcessing).Update("queued_at", now).Error
	return model.Wrap(err, "marking video %d as queued", id)
}

// get returns the video; NotFound when there is none.
func (s store) get(ctx context.Context, id int64) (*model.Video, error) {
	var row model.Video
	err := s.db.WithContext(ctx).Where("id = ?", id).Take(&row).Error
	return &row, model.Wrap(err, "reading video %d", id)
}

// feed returns the newest limit videos published strictly before the time. A
// video that is not published has no publish time, so the index is all it reads.
func (s store) feed(ctx context.Context, before int64, limit int) ([]model.Video, error) {
	rows, err := feed(s.db.WithContext(ctx), before, limit)
	return rows, model.Wrap(err, "reading the feed before %d", before)
}

// feedOfOld is feed before a time so long ago that nothing is being published there any
// more: late it lacks nothing, only what was hidden just now is still there.
func (s store) feedOfOld(ctx context.Context, before int64, limit int) (rows []model.Video, err error) {
	err = model.Late(ctx, s.db, func(db *gorm.DB) (err error) { rows, err = feed(db, before, limit); return err })
	return rows, model.Wrap(err, "reading the feed before %d", before)
}

func feed(db *gorm.DB, before int64, limit int) (rows []model.Video, err error) {
	return rows, db.Where("published_at < ?", before).Order("published_at DESC").Limit(limit).Find(&rows).Error
}

// byAuthor returns the author's newest limit videos that the viewer may see, and how
// many there are. To strangers both may be late; the author sees own uploads at once.
func (s store) byAuthor(ctx context.Context, author, viewer int64, limit int) (rows []model.Video, count int64, err error) {
	visible := []model.VideoState{model.VideoPublished}
	if viewer == author {
		visible = append(visible, model.VideoProcessing)
	}
	read := func(db *gorm.DB) error {
		err := db.Where("author_id = ? AND state IN ?", author, visible).Order("id DESC").Limit(limit).Find(&rows).Error
		if err != nil {
			return err
		}
		counts, err := works(db, []int64{author}, viewer)
		count = counts[author]
		return err
	}
	if viewer == author {
		err = read(s.db.WithContext(ctx))
	} else {
		err = model.Late(ctx, s.db, read)
	}
	return rows, count, model.Wrap(err, "reading the videos of author %d", author)
}

// byIDs returns those of the videos that the viewer may see, in no order. To nobody in
// particular they may be late: a published video stays as it is until an operator hides
// it, and one that is missing may be new. Somebody may ask for own uploads.
func (s store) byIDs(ctx context.Context, ids []int64, viewer int64) (rows []model.Video, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	find := func(db *gorm.DB) error {
		return db.Where("id IN ? AND (state = ? OR state = ? AND author_id = ?)",
			ids, model.VideoPublished, model.VideoProcessing, viewer).Find(&rows).Error
	}
	if viewer != 0 {
		err = find(s.db.WithContext(ctx))
	} else {
		err = model.Late(ctx, s.db, func(db *gorm.DB) error {
			err := find(db)
			if err == nil && len(rows) < len(ids) {
				err = model.ErrMissing
			}
			return err
		})
	}
	return rows, model.Wrap(err, "reading %d videos", len(ids))
}

// works returns how many works each user has, with an entry for every user. The
// viewer's own include those still processing. They are asked for right after a change
// was announced, so none may be late.
func (s store) works(ctx context.Context, users []int64, viewer int64) (map[int64]int64, error) {
	counts, err := works(s.db.WithContext(ctx), users, viewer)
	return counts, model.Wrap(err, "counting the works of %d users", len(users))
}

func works(db *gorm.DB, users []int64, viewer int64) (map[int64]int64, error) {
	counts := make(map[int64]int64, len(users))
	if len(users) == 0 {
		return counts, nil
	}
	for _, user := range users {
		counts[user] = 0
	}
	query, args := "SELECT author_id, works FROM video_authors WHERE author_id IN ?", []any{users}
	if slices.Contains(users, viewer) {
		query += " UNION ALL SELECT author_id, COUNT(*) FROM videos WHERE author_id = ? AND state = ? GROUP BY author_id"
		args = append(args, viewer, model.VideoProcessing)
	}
	var rows []model.VideoAuthor
	if err := db.Raw(query, args...).Scan(&rows).Error; err != nil {
		return nil, err
	}
	for _, row := range rows {
		counts[row.AuthorID] += row.Works
	}
	return counts, nil
}

// publish makes a video in processing a published one that plays as final says,
// and one more work of its author. It reports false when the video had left
// processing before.
func (s store) publish(ctx context.Context, final *model.Video, now int64) (won bool, err error) {
	return s.release(ctx, final, model.VideoProcessing, now)
}

// release is publish for a video in the state from.
func (s store) release(ctx context.Context, final *model.Video, from model.VideoState, now int64) (won bool, err error) {
	for attempt := range instants {
		err = model.Transact(ctx, s.db, func(tx *gorm.DB) error {
			at := now
			if attempt > 0 {
				var last int64
				if err := tx.Model(&model.Video{}).Select("COALESCE(MAX(published_at), 0)").Scan(&last).Error; err != nil {
					return err
				}
				at = max(now, last+1)
			}
			won, err = publishAt(tx, final, from, at, now)
			return err
		})
		if !errors.Is(err, gorm.ErrDuplicatedKey) {
			break
		}
	}
	return won && err == nil, model.Wrap(err, "publishing video %d", final.ID)
}

func publishAt(tx *gorm.DB, final *model.Video, from model.VideoState, at, now int64) (won bool, err error) {
	updated := tx.Model(&model.Video{}).Where("id = ? AND state = ?", final.ID, from).
		Updates(map[string]any{
			"state": model.VideoPublished, "published_at": at, "queued_at": now,
			"play_key": final.PlayKey, "cover_key": final.CoverKey,
			"duration_ms": final.DurationMS, "size": final.Size, "width": final.Width, "height": final.Height,
		})
	if updated.Error != nil || updated.RowsAffected == 0 {
		return false, updated.Error
	}
	return true, addWorks(tx, final.AuthorID, 1)
}

func addWorks(tx *gorm.DB, author, n int64) error {
	return model.Grow(tx, []model.VideoAuthor{{AuthorID: author, Works: n}}, "video_authors", "author_id", "works")
}

// hide makes a published video a hidden one with other files, and one work less of
// its author; Conflict when it isn't published.
func (s store) hide(ctx context.Context, row *model.Video, playKey, coverKey string) error {
	err := model.Transact(ctx, s.db, func(tx *gorm.DB) error {
		hidden := tx.Model(&model.Video{}).Where("id = ? AND state = ?", row.ID, model.VideoPublished).
			Updates(map[string]any{"state": model.VideoHidden, "published_at": nil, "play_key": playKey, "cover_key": coverKey})
		if hidden.Error != nil {
			return hidden.Error
		}
		if hidden.RowsAffected == 0 {
			return errs.New(errs.Conflict, "视频未发布")
		}
		return addWorks(tx, row.AuthorID, -1)
	})
	return model.Wrap(err, "hiding video %d", row.ID)
}

// fail ends a video in processing with a reason for people. It reports false
// when the video had left processing before.
func (s store) fail(ctx context.Context, id int64, reason string, now int64) (won bool, err error) {
	updated := s.db.WithContext(ctx).Model(&model.Video{}).Where("id = ? AND state = ?", id, model.VideoProcessing).
		Updates(map[string]any{"state": model.VideoFailed, "reason": reason, "queued_at": now})
	return updated.RowsAffected > 0, model.Wrap(updated.Error, "failing video %d", id)
}

// unqueued returns up to limit videos in processing, uploaded before created,
// whose job the queue took before queued or never.
func (s store) unqueued(ctx context.Context, created, queued int64, limit int) ([]model.Video, error) {
	var rows []model.Video
	err := s.db.WithContext(ctx).Where("state = ? AND queued_at < ? AND created_at < ?", model.VideoProcessing, queued, created).
		Order("queued_at").Limit(limit).Find(&rows).Error
	return rows, model.Wrap(err, "looking for uploads without a job")
}

// finished returns up to limit videos that left processing before the time and
// whose original is still stored.
func (s store) finished(ctx context.Context, before int64, limit int) ([]model.Video, error) {
	var rows []model.Video
	err := s.db.WithContext(ctx).Where("state IN ? AND queued_at BETWEEN 1 AND ?",
		[]model.VideoState{model.VideoPublished, model.VideoFailed, model.VideoHidden}, before).
		Order("queued_at").Limit(limit).Find(&rows).Error
	return rows, model.Wrap(err, "looking for originals to delete")
}

// forgetOriginal records that the original of a finished video is deleted.
func (s store) forgetOriginal(ctx context.Context, id int64) error {
	err := s.db.WithContext(ctx).Model(&model.Video{}).
		Where("id = ? AND state <> ?", id, model.VideoProcessing).Update("queued_at", 0).Error
	return model.Wrap(err, "forgetting the original of video %d", id)
}
