package ffmpeg

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	remuxLimits = limits{clock: time.Minute, computing: 20 * time.Second, nice: 5}
	coverLimits = limits{clock: 10 * time.Second, computing: 5 * time.Second, nice: 5}
)

// transcodeLimits bound the transcode of a video of the duration.
func transcodeLimits(duration time.Duration) limits {
	return limits{clock: 20*time.Second + 2*duration, computing: 15*time.Second + duration*3/2, nice: 10}
}

// fit keeps a picture within 1280×720, or 720×1280 when it is upright, with even
// sides as H.264 wants them.
const fit = "scale=w='if(gte(iw,ih),min(1280,iw),min(720,iw))':h='if(gte(iw,ih),min(720,ih),min(1280,ih))'" +
	":force_original_aspect_ratio=decrease:force_divisible_by=2,format=yuv420p"

// Remux copies the streams of the file from, unchanged, into an MP4 file to that
// plays while it loads. Nothing else of the file is kept, so no place or device
// it was made with, and nothing after most.
func (t *Tools) Remux(ctx context.Context, dir, from, to string, info *Info, most time.Duration) error {
	args := append(input(from), keep(info)...)
	args = append(args, "-c", "copy")
	_, err := t.run(ctx, run{"remux", dir, remuxLimits, t.ffmpeg, append(args, mp4(to, most)...)})
	return err
}

// Transcode makes of the file from an MP4 file to, as Remux does, but with H.264
// and AAC that every phone plays, at most 720p and 60 pictures a second. It may
// take 20 s and twice the duration, which is most when info doesn't say.
func (t *Tools) Transcode(ctx context.Context, dir, from, to string, info *Info, most time.Duration) error {
	duration := info.Duration
	if duration == 0 {
		duration = most
	}
	args := append(input(from), keep(info)...)
	args = append(args, "-vf", fit, "-fpsmax", "60")
	args = append(args, strings.Fields("-c:v libx264 -preset veryfast -crf 23 -maxrate 4M -bufsize 8M -profile:v high")...)
	args = append(args, strings.Fields("-c:a aac -b:a 128k -ac 2 -ar 44100 -threads 1")...)
	_, err := t.run(ctx, run{"transcode", dir, transcodeLimits(duration), t.ffmpeg, append(args, mp4(to, most)...)})
	return err
}

// Cover cuts the picture at a time out of the file from into the JPEG file to, at
// most 720 pixels wide and the way players turn it, and the same, as brightness
// alone, into the file gray: a byte for each of some parts of the picture. The files
// are missing or empty when there is no picture at that time.
func (t *Tools) Cover(ctx context.Context, dir, from, to, gray string, at time.Duration) error {
	args := slices.Concat([]string{"-ss", fmt.Sprintf("%.3f", at.Seconds())}, input(from),
		picture, strings.Fields("-vf scale='min(720,iw)':-2 -q:v 4 -map_metadata -1 -f mjpeg"), []string{"file:" + to},
		picture, strings.Fields("-vf scale=32:32:flags=area,format=gray -f rawvideo"), []string{"file:" + gray})
	_, err := t.run(ctx, run{"cover", dir, coverLimits, t.ffmpeg, args})
	return err
}

// picture begins an output of one picture.
var picture = strings.Fields("-map 0:V:0 -frames:v 1 -threads 1")

// input begins the arguments of ffmpeg. One thread is all a run gets.
func input(from string) []string {
	return slices.Concat([]string{"-nostdin", "-y", "-filter_threads", "1"}, hostile, []string{"-threads", "1", "-i", "file:" + from})
}

// keep picks the streams to keep: the video and, if there is one, the audio.
func keep(info *Info) []string {
	args := []string{"-map", "0:" + strconv.Itoa(info.Video.Index)}
	if info.Audio != nil {
		args = append(args, "-map", "0:"+strconv.Itoa(info.Audio.Index))
	}
	return args
}

// mp4 ends the arguments of ffmpeg with an MP4 file that holds no metadata and
// has its index first.
func mp4(to string, most time.Duration) []string {
	return []string{"-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact", "-movflags", "+faststart",
		"-t", fmt.Sprintf("%.3f", most.Seconds()), "-f", "mp4", "file:" + to}
}
