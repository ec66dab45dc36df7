package video

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"

	"backbeat/app/media"
	"backbeat/app/video/ffmpeg"
	"backbeat/model"
)

// Files in the folder of a job.
const (
	originalFile = "original"
	playFile     = "play.mp4"
	coverFile    = "cover.jpg"
	grayFile     = "cover.gray"
)

// playKey and coverKey return where the files made of an original are stored. They
// follow from its key, so that doing a job twice overwrites each file with its
// equal, and they don't tell it: the original holds what its author did not
// publish, such as where it was filmed.
func playKey(original string) string  { return derivedKey("play", original, "mp4") }
func coverKey(original string) string { return derivedKey("cover", original, "jpg") }

func derivedKey(kind, original, ext string) string {
	sum := sha256.Sum256([]byte(kind + " " + original))
	name := hex.EncodeToString(sum[:16])
	return kind + "/" + name[:2] + "/" + name + "." + ext
}

// persist makes the files to publish of an upload, stores them and publishes it.
// A file that can't be published is a refusal.
func (w *Worker) persist(ctx context.Context, row *model.Video, from lane) error {
	dir, err := w.tools.Dir(w.scratch.path)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := media.Fetch(ctx, w.media, row.OriginalKey, filepath.Join(dir, originalFile)); err != nil {
		return err
	}
	info, err := w.inspect(ctx, dir)
	if err != nil {
		return err
	}
	if !from.transcodes && !playable(info) {
		return w.transcodeLater(ctx, row)
	}
	final, err := w.convert(ctx, dir, info, from)
	var bad *ffmpeg.BadFile
	switch {
	case errors.As(err, &bad) && !from.transcodes:
		w.log.InfoContext(ctx, "will transcode what can't be remuxed", "video", row.ID, "cause", bad)
		return w.transcodeLater(ctx, row)
	case errors.As(err, &bad):
		return refuseFor(bad)
	case err != nil:
		return err
	}
	return w.publish(ctx, row, dir, final)
}

// convert makes the file to play and its cover.
func (w *Worker) convert(ctx context.Context, dir string, info *ffmpeg.Info, from lane) (*ffmpeg.Info, error) {
	convert := w.tools.Remux
	if from.transcodes {
		convert = w.tools.Transcode
	}
	// A little more than allowed, or what is too long would pass for just right.
	most := w.cfg.MaxDuration + 2*slack
	if err := convert(ctx, dir, originalFile, playFile, info, most); err != nil {
		return nil, err
	}
	final, err := w.review(ctx, dir, info)
	if err != nil {
		return nil, err
	}
	return final, w.cover(ctx, dir, final)
}

func (w *Worker) transcodeLater(ctx context.Context, row *model.Video) error {
	message, err := job(transcodeType, row.ID)
	if err != nil {
		return err
	}
	w.jobs.deferred.Inc()
	return w.publisher.Publish(ctx, TranscodeQueue, message)
}

// publish stores the files and publishes the upload. Should another worker have
// done so before, it has stored the same files.
func (w *Worker) publish(ctx context.Context, row *model.Video, dir string, info *ffmpeg.Info) error {
	final := &model.Video{
		ID: row.ID, AuthorID: row.AuthorID,
		PlayKey: playKey(row.OriginalKey), CoverKey: coverKey(row.OriginalKey),
		DurationMS: info.Duration.Milliseconds(),
	}
	width, height := info.Video.DisplaySize()
	final.Width, final.Height = int32(width), int32(height)
	var err error
	if _, err = w.put(ctx, dir, coverFile, final.CoverKey); err != nil {
		return err
	}
	if final.Size, err = w.put(ctx, dir, playFile, final.PlayKey); err != nil {
		return err
	}
	won, err := w.store.publish(ctx, final, w.now().UnixMilli())
	if won || err != nil {
		w.counted.Changed(ctx, nil, []int64{row.AuthorID})
	}
	if won {
		w.jobs.published.Inc()
		w.log.InfoContext(ctx, "published an upload", "video", row.ID)
	}
	return err
}

// put stores a file of the folder and returns its size.
func (w *Worker) put(ctx context.Context, dir, name, key string) (size int64, err error) {
	file, err := openMade(dir, name)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, media.FileError(err, "measuring %s", name)
	}
	return info.Size(), w.media.Put(ctx, key, file, info.Size(), media.ContentType(key))
}

// openMade opens a file that ffmpeg made in the folder. A file from a stranger
// may have taught ffmpeg to leave a link there instead: the root follows none
// that leads out.
func openMade(dir, name string) (*os.File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, media.FileError(err, "opening the folder of a job")
	}
	defer root.Close()
	info, err := root.Lstat(name)
	if err == nil && !info.Mode().IsRegular() {
		err = os.ErrInvalid
	}
	if err != nil {
		return nil, &ffmpeg.BadFile{Detail: "no file " + name + ": " + err.Error()}
	}
	file, err := root.Open(name)
	if err != nil {
		return nil, media.FileError(err, "opening %s", name)
	}
	return file, nil
}
