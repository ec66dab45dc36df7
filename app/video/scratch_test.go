package video

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"backbeat/app/video/ffmpeg"
)

func TestScratchOfTheDeadIsRemoved(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "scratch")
	alive, err := openScratch(parent)
	check(t, err)
	dead, err := openScratch(parent)
	check(t, err)
	for _, s := range []*scratch{alive, dead} {
		check(t, os.WriteFile(filepath.Join(s.path, "file"), []byte("x"), 0o600))
	}
	check(t, dead.lock.Close()) // as the system does for a process that ends
	next, err := openScratch(parent)
	check(t, err)
	if _, err := os.Stat(filepath.Join(alive.path, "file")); err != nil {
		t.Errorf("a living worker's file is gone: %v", err)
	}
	if _, err := os.Stat(dead.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a dead worker's folder is still there (%v)", err)
	}
	check(t, errors.Join(alive.close(), next.close()))
	left, err := os.ReadDir(parent)
	check(t, err)
	if len(left) != 0 {
		t.Errorf("workers that ended left %v", left)
	}
}

func TestScratchInAForeignFolderIsRefused(t *testing.T) {
	tests := map[string]func(path string) error{
		"a link":                    func(path string) error { return os.Symlink(os.TempDir(), path) },
		"a file":                    func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"a folder open to everyone": func(path string) error { return errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, 0o777)) },
	}
	for name, prepare := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "scratch")
			check(t, prepare(path))
			if s, err := openScratch(path); err == nil {
				check(t, s.close())
				t.Error("the folder was taken")
			}
		})
	}
}

// A file that took over ffmpeg must not get at ours by leaving a link.
func TestLinksFromTheSandboxAreNotFollowed(t *testing.T) {
	dir := t.TempDir()
	check(t, os.Symlink("/etc/passwd", filepath.Join(dir, playFile)))
	file, err := openMade(dir, playFile)
	var bad *ffmpeg.BadFile
	if !errors.As(err, &bad) {
		t.Errorf("opening a link returned %v, %v", file, err)
	}
}
