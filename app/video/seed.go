package video

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"gorm.io/gorm"

	"backbeat/app/media"
	"backbeat/app/video/ffmpeg"
	"backbeat/model"
)

// Clip is a stored file that plays, with its cover, for any number of videos.
type Clip struct{ row model.Video }

// Keys returns where the clip and its cover are stored.
func (c Clip) Keys() []string { return []string{c.row.PlayKey, c.row.CoverKey} }

// StoreClip makes of the file at path what a worker makes of an upload, playable
// on phones and with a cover, and stores it once. The worker needs no database
// and no queues for that. A file that can't be published is an error.
func StoreClip(ctx context.Context, cfg WorkerConfig, deps WorkerDeps, path string) (clip Clip, err error) {
	w := NewWorker(cfg, deps)
	if w.scratch, err = openScratch(cfg.Scratch); err != nil {
		return Clip{}, fmt.Errorf("preparing a folder: %w", err)
	}
	defer func() { err = errors.Join(err, w.scratch.close()) }()
	if w.tools, err = ffmpeg.New(ctx, cfg.FFmpeg, cfg.FFprobe, w.scratch.path, w.log); err != nil {
		return Clip{}, err
	}
	dir, err := w.tools.Dir(w.scratch.path)
	if err != nil {
		return Clip{}, err
	}
	if err := copyFile(path, filepath.Join(dir, originalFile)); err != nil {
		return Clip{}, err
	}
	info, err := w.inspect(ctx, dir)
	if err != nil {
		return Clip{}, err
	}
	final, err := w.convert(ctx, dir, info, lane{transcodes: !playable(info)})
	if err != nil {
		return Clip{}, err
	}
	return w.storeClip(ctx, dir, final)
}

func (w *Worker) storeClip(ctx context.Context, dir string, info *ffmpeg.Info) (Clip, error) {
	// The original's key names nothing: what plays is all there is.
	original := media.NewKey("video", "mp4")
	width, height := info.Video.DisplaySize()
	row := model.Video{
		OriginalKey: original, PlayKey: playKey(original), CoverKey: coverKey(original),
		State: model.VideoPublished, DurationMS: info.Duration.Milliseconds(), Width: int32(width), Height: int32(height),
	}
	var err error
	if _, err = w.put(ctx, dir, coverFile, row.CoverKey); err != nil {
		return Clip{}, err
	}
	row.Size, err = w.put(ctx, dir, playFile, row.PlayKey)
	return Clip{row}, err
}

// copyFile copies a file to where ffmpeg may read it as another user.
func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	copied, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(copied, source)
	return errors.Join(err, copied.Close())
}

// Work is a video to publish.
type Work struct {
	AuthorID int64
	Title    string
}

// Seed publishes the works in bulk, all or none, and returns their ids in the
// same order. All play the one clip. Each is published at what Deps.Now says when
// its turn comes, or a millisecond after the one before: a time of publishing
// that another video has is a Conflict. No job is queued and no sweep finds them,
// since no original is left to delete.
func Seed(ctx context.Context, deps Deps, clip Clip, works iter.Seq[Work]) ([]int64, error) {
	var ids []int64
	err := deps.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		videos, counts := model.NewBulk[model.Video](tx), map[int64]int64{}
		var published int64
		for work := range works {
			published = max(deps.Now().UnixMilli(), published+1)
			at, row := published, clip.row
			row.ID, row.AuthorID, row.Title = deps.IDs.Next(), work.AuthorID, work.Title
			row.PublishedAt, row.CreatedAt = &at, at
			if err := videos.Add(row); err != nil {
				return err
			}
			counts[work.AuthorID]++
			ids = append(ids, row.ID)
		}
		if err := videos.Flush(); err != nil {
			return err
		}
		authors := model.NewBulk[model.VideoAuthor](tx)
		for _, id := range slices.Sorted(maps.Keys(counts)) {
			if err := authors.Add(model.VideoAuthor{AuthorID: id, Works: counts[id]}); err != nil {
				return err
			}
		}
		return authors.Flush()
	})
	return ids, model.Wrap(err, "publishing videos in bulk")
}
