package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"backbeat/config"
)

// installers are the package managers that have ffmpeg, with what installs it.
var installers = []struct {
	program string
	steps   [][]string
	// root says that it needs root.
	root bool
}{
	{"apt-get", [][]string{{"apt-get", "update", "-qq"}, {"apt-get", "install", "-y", "-qq", "--no-install-recommends", "ffmpeg"}}, true},
	{"dnf", [][]string{{"dnf", "install", "-y", "ffmpeg-free"}}, true},
	{"apk", [][]string{{"apk", "add", "ffmpeg"}}, true},
	{"pacman", [][]string{{"pacman", "-S", "--noconfirm", "ffmpeg"}}, true},
	{"zypper", [][]string{{"zypper", "install", "-y", "ffmpeg"}}, true},
	{"brew", [][]string{{"brew", "install", "ffmpeg"}}, false},
}

// ensureFFmpeg installs ffmpeg through the platform's package manager when it is
// missing, saying so: without it no video could ever be published.
func ensureFFmpeg(ctx context.Context, cfg config.Media, w io.Writer) error {
	missing := func() bool {
		_, noEncoder := exec.LookPath(cfg.FFmpeg)
		_, noProbe := exec.LookPath(cfg.FFprobe)
		return noEncoder != nil || noProbe != nil
	}
	if !missing() {
		return nil
	}
	for _, installer := range installers {
		if _, err := exec.LookPath(installer.program); err != nil {
			continue
		}
		fmt.Fprintf(w, "ffmpeg is missing; installing it with %s …\n", installer.program)
		for _, step := range installer.steps {
			if installer.root && os.Geteuid() != 0 {
				step = append([]string{"sudo"}, step...)
			}
			command := exec.CommandContext(ctx, step[0], step[1:]...)
			command.Stdin, command.Stdout, command.Stderr = os.Stdin, w, w
			if err := command.Run(); err != nil {
				return fmt.Errorf("ffmpeg is missing and `%s` failed: %w", strings.Join(step, " "), err)
			}
		}
		if !missing() {
			return nil
		}
	}
	return fmt.Errorf("%s or %s is missing and could not be installed here: install ffmpeg, or name the programs in media.ffmpeg and media.ffprobe", cfg.FFmpeg, cfg.FFprobe)
}
