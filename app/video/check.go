package video

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"backbeat/app/media"
	"backbeat/app/video/ffmpeg"
)

// refusal is the error for an upload that will never be published.
type refusal struct {
	// reason is for its author, in Chinese.
	reason string
	// cause is for the log.
	cause error
}

func (r *refusal) Error() string { return r.cause.Error() }

func refuse(reason, because string, args ...any) error {
	return &refusal{reason, fmt.Errorf(because, args...)}
}

func refuseFor(bad *ffmpeg.BadFile) error {
	switch {
	case bad.Slow:
		return &refusal{"视频处理超时，请降低清晰度后重新上传", bad}
	case bad.Foreign:
		return &refusal{"不支持的视频格式", bad}
	default:
		return &refusal{"无法识别的视频文件", bad}
	}
}

// Bounds of what we look at closer.
const (
	maxStreams = 16
	minSide    = 16
	maxSide    = 4096
	// maxRate admits the slow motion of phones.
	maxRate = 250
	// maxFlow is in pixels a second: 4096×2304 at 60, or 1080p at 240, and a little
	// more. Nobody films more, but a small file can hold more than we can decode.
	maxFlow = 4096 * 2304 * 61
	// slack is by how much a duration may differ from what it should be.
	slack = time.Second
)

// inspect probes the original and refuses what can't be published.
func (w *Worker) inspect(ctx context.Context, dir string) (*ffmpeg.Info, error) {
	if whole, err := indexIsWhole(filepath.Join(dir, originalFile)); err != nil {
		return nil, media.FileError(err, "looking at an original")
	} else if !whole {
		return nil, refuse("视频文件不完整", "its index is cut off")
	}
	info, err := w.tools.Probe(ctx, dir, originalFile)
	var bad *ffmpeg.BadFile
	if errors.As(err, &bad) {
		return nil, refuseFor(bad)
	}
	if err != nil {
		return nil, err
	}
	return info, w.admit(info)
}

// maxBoxes bounds how many boxes of a file are looked at: people's have a handful.
const maxBoxes = 10_000

// indexIsWhole reports false for an MP4 or QuickTime file that ends within its index:
// ffmpeg takes what it finds of one, and a video would lose its sound without a word.
func indexIsWhole(path string) (bool, error) {
	file, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return false, err
	}
	// A box begins with its length, in 4 bytes or, after a 1, in the 8 that follow its
	// name. A length of 0 is up to the end.
	head := make([]byte, 16)
	for at, boxes := int64(0), 0; info.Size()-at >= 8 && boxes < maxBoxes; boxes++ {
		left := info.Size() - at
		if _, err := file.ReadAt(head[:min(left, 16)], at); err != nil {
			return false, err
		}
		length := int64(binary.BigEndian.Uint32(head))
		if length == 1 && left >= 16 {
			length = int64(binary.BigEndian.Uint64(head[8:]))
		}
		switch {
		case length < 8: // the last one, or no box
			return true, nil
		case length > left:
			return string(head[4:8]) != "moov", nil
		}
		at += length
	}
	return true, nil
}

func (w *Worker) admit(info *ffmpeg.Info) error {
	video := info.Video
	switch {
	case video == nil:
		return refuse("文件中没有视频画面", "no video stream")
	case info.Streams > maxStreams:
		return refuse("无法识别的视频文件", "%d streams", info.Streams)
	case !slices.Contains([]string{"h264", "hevc", "vp8", "vp9", "av1", "mpeg4"}, video.Codec):
		return refuse("不支持的视频格式", "video is %s", video.Codec)
	case info.Audio != nil && !slices.Contains([]string{"aac", "mp3", "opus", "vorbis"}, info.Audio.Codec):
		return refuse("不支持的音频格式", "audio is %s", info.Audio.Codec)
	case min(video.Width, video.Height) < minSide:
		return refuse("无法识别的视频文件", "%d×%d pixels", video.Width, video.Height)
	case max(video.Width, video.Height) > maxSide:
		return refuse("视频分辨率过高", "%d×%d pixels", video.Width, video.Height)
	case video.Rate > maxRate || float64(video.Width)*float64(video.Height)*video.Rate > maxFlow:
		return refuse("视频帧率过高", "%d×%d pixels, %.0f times a second", video.Width, video.Height, video.Rate)
	default:
		return w.checkDuration(info.Duration)
	}
}

func (w *Worker) checkDuration(duration time.Duration) error {
	most := w.cfg.MaxDuration
	if duration <= most+slack {
		return nil
	}
	bound := fmt.Sprintf("%.0f秒", most.Seconds())
	if most%time.Minute == 0 {
		bound = fmt.Sprintf("%d分钟", most/time.Minute)
	}
	return refuse("视频时长超过"+bound, "%s long", duration)
}

// playable reports whether every phone plays the streams as they are.
func playable(info *ffmpeg.Info) bool {
	video, audio := info.Video, info.Audio
	return video.Codec == "h264" &&
		slices.Contains([]string{"Constrained Baseline", "Baseline", "Main", "High"}, video.Profile) &&
		slices.Contains([]string{"yuv420p", "yuvj420p"}, video.Pixels) &&
		max(video.Width, video.Height) <= 1920 && min(video.Width, video.Height) <= 1088 && video.Rate <= 61 &&
		(audio == nil || audio.Codec == "aac" && slices.Contains([]string{"LC", "HE-AAC", "HE-AACv2"}, audio.Profile))
}

// review probes the file to publish: what the original said of itself may be
// wrong, and one that was cut off converts without complaint, to less.
func (w *Worker) review(ctx context.Context, dir string, original *ffmpeg.Info) (*ffmpeg.Info, error) {
	final, err := w.tools.Probe(ctx, dir, playFile)
	if err != nil {
		return nil, err
	}
	switch declared := original.Duration; {
	case final.Video == nil || final.Duration == 0:
		return nil, &ffmpeg.BadFile{Detail: "nothing to play came out"}
	case final.Duration+slack+declared/50 < declared:
		return nil, refuse("视频文件不完整", "%s of %s", final.Duration, declared)
	}
	return final, w.checkDuration(final.Duration)
}

// darkest is the mean brightness, of 255, that a cover should have.
const darkest = 28

// maxGray is more than there is of a cover's brightness, in bytes.
const maxGray = 64 << 10

// cover cuts a picture that isn't black: the first of several times that gives
// one, else the brightest there is.
func (w *Worker) cover(ctx context.Context, dir string, final *ffmpeg.Info) error {
	brightest, best := -1.0, time.Duration(0)
	for _, part := range []float64{0.1, 0.3, 0.5, 0.7, 0.9, 0} {
		at := time.Duration(part * float64(final.Duration))
		bright, err := w.cut(ctx, dir, at)
		if err != nil || bright >= darkest {
			return err
		}
		if bright > brightest {
			brightest, best = bright, at
		}
	}
	if brightest < 0 {
		return &ffmpeg.BadFile{Detail: "no picture came out"}
	}
	_, err := w.cut(ctx, dir, best)
	return err
}

// cut makes the cover of the picture at a time and returns its mean brightness, of
// 255; -1 when there is no picture.
func (w *Worker) cut(ctx context.Context, dir string, at time.Duration) (float64, error) {
	if err := w.tools.Cover(ctx, dir, playFile, coverFile, grayFile, at); err != nil {
		return 0, err
	}
	file, err := openMade(dir, grayFile)
	if err != nil {
		return -1, nil
	}
	defer file.Close()
	gray, err := io.ReadAll(io.LimitReader(file, maxGray))
	if err != nil {
		return 0, media.FileError(err, "looking at a cover")
	}
	if len(gray) == 0 {
		return -1, nil
	}
	var sum int
	for _, light := range gray {
		sum += int(light)
	}
	return float64(sum) / float64(len(gray)), nil
}
