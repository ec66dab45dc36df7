package seed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"backbeat/app/video"
)

// storeClip stores the clip that all videos play: the file the options name, or
// four seconds that ffmpeg draws.
func storeClip(ctx context.Context, deps Deps, o Options) (clip video.Clip, err error) {
	path := o.Clip
	if path == "" {
		folder, err := os.MkdirTemp("", "backbeat-seed-")
		if err != nil {
			return video.Clip{}, err
		}
		defer os.RemoveAll(folder)
		path = filepath.Join(folder, "clip.mp4")
		if err := render(ctx, o.Video.FFmpeg, path); err != nil {
			return video.Clip{}, err
		}
	}
	return video.StoreClip(ctx, o.Video, video.WorkerDeps{Media: deps.Media, Now: deps.Now, Log: deps.Log}, path)
}

func render(ctx context.Context, ffmpeg, path string) error {
	command := exec.CommandContext(ctx, ffmpeg, append(strings.Fields(
		"-nostdin -v error -f lavfi -t 4 -i testsrc2=size=360x640:rate=24 -f lavfi -t 4 -i sine=frequency=440 "+
			"-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac -shortest"), path)...)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("making a clip with ffmpeg: %w", errors.Join(err, errors.New(strings.TrimSpace(string(output)))))
	}
	return nil
}
