package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// ClipOptions says what is unusual about a clip. The zero value is what a phone
// records: 2 s of upright 360×640 H.264 with AAC sound, playable while it loads.
type ClipOptions struct {
	// Codec is h264, hevc, or vp9, which comes in a webm file; empty is h264.
	Codec string
	// Silent leaves out the sound track.
	Silent bool
	// BlackStart makes the first second black.
	BlackStart bool
	// MoovLast puts the index at the end of the file, where cameras leave it.
	MoovLast bool
	// Seconds is the length; 0 is 2.
	Seconds int
	// Width and Height are in pixels and even; 0 is 360 and 640.
	Width, Height int
}

// Clip returns the path of a real, short video, made by ffmpeg once per process
// and options. The file is shared: don't change it.
func Clip(tb testing.TB, o ClipOptions) (path string) {
	tb.Helper()
	if o.Codec == "" {
		o.Codec = "h264"
	}
	if o.Seconds == 0 {
		o.Seconds = 2
	}
	if o.Width == 0 || o.Height == 0 {
		o.Width, o.Height = 360, 640
	}
	once, _ := clips.LoadOrStore(o, sync.OnceValues(func() (string, error) { return makeClip(o) }))
	path, err := once.(func() (string, error))()
	check(tb, err)
	return path
}

var (
	clips      sync.Map // ClipOptions → func() (path string, err error)
	clipFolder = sync.OnceValues(newFolder)
)

func makeClip(o ClipOptions) (path string, err error) {
	dir, err := clipFolder()
	if err != nil {
		return "", err
	}
	file, err := os.CreateTemp(dir, "clip-*"+clipSuffix(o))
	if err != nil {
		return "", err
	}
	if err := file.Close(); err != nil {
		return "", err
	}
	args := append(clipInput(o), clipCodecs(o)...)
	if out, err := exec.Command("ffmpeg", append(args, file.Name())...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("making a clip with ffmpeg (Debian package ffmpeg): %w\n%s", err, out)
	}
	return filepath.Clean(file.Name()), nil
}

func clipSuffix(o ClipOptions) string {
	if o.Codec == "vp9" {
		return ".webm"
	}
	return ".mp4"
}

func clipInput(o ClipOptions) []string {
	args := []string{"-y", "-hide_banner", "-loglevel", "error",
		"-f", "lavfi", "-i", fmt.Sprintf("testsrc2=size=%dx%d:rate=25:duration=%d", o.Width, o.Height, o.Seconds)}
	if !o.Silent {
		args = append(args, "-f", "lavfi", "-i", fmt.Sprintf("sine=frequency=440:duration=%d", o.Seconds))
	}
	if o.BlackStart {
		args = append(args, "-vf", "drawbox=color=black:t=fill:enable='lt(t,1)'")
	}
	return args
}

func clipCodecs(o ClipOptions) []string {
	var args []string
	switch o.Codec {
	case "h264":
		args = strings.Fields("-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac")
	case "hevc":
		args = strings.Fields("-c:v libx265 -preset ultrafast -x265-params log-level=none -tag:v hvc1 -pix_fmt yuv420p -c:a aac")
	case "vp9":
		return strings.Fields("-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus")
	}
	if !o.MoovLast {
		args = append(args, "-movflags", "+faststart")
	}
	return args
}
