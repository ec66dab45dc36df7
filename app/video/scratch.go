package video

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// scratchPrefix begins the names of the workers' folders.
const scratchPrefix = "worker-"

// scratch is a worker's own folder for files in work. Its owner holds a lock on
// it, which the system takes away when the owner dies, so that the next worker on
// this host can tell what is left over from what is in use.
type scratch struct {
	path string
	lock *os.File
}

// openScratch makes a folder for this worker under parent, and removes those
// whose workers have died. An empty parent is one in the system's temporary folder.
func openScratch(parent string) (*scratch, error) {
	if parent == "" {
		parent = filepath.Join(os.TempDir(), "backbeat-video-"+strconv.Itoa(os.Geteuid()))
	}
	if err := ownFolder(parent); err != nil {
		return nil, err
	}
	// One at a time: a folder is locked only after it was made.
	door, err := lockFolder(parent, syscall.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer door.Close()
	if err := removeDead(parent); err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp(parent, scratchPrefix)
	if err != nil {
		return nil, err
	}
	// ffmpeg may run as another user, who must reach the folder of its job.
	if err := os.Chmod(path, 0o711); err != nil {
		return nil, err
	}
	lock, err := lockFolder(path, syscall.LOCK_EX)
	return &scratch{path, lock}, err
}

// close removes the folder.
func (s *scratch) close() error {
	return errors.Join(os.RemoveAll(s.path), s.lock.Close())
}

// ownFolder makes a folder that others can pass through but not write to, and
// refuses one that somebody else has put there.
func ownFolder(path string) error {
	if err := os.MkdirAll(path, 0o711); err != nil {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(stat.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is not a folder that belongs to this user alone", path)
	}
	return nil
}

func lockFolder(path string, how int) (*os.File, error) {
	folder, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(folder.Fd()), how); err != nil {
		folder.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return folder, nil
}

func removeDead(parent string) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), scratchPrefix) {
			continue
		}
		path := filepath.Join(parent, entry.Name())
		lock, err := lockFolder(path, syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
			continue // in use, or just gone
		}
		if err != nil {
			return err
		}
		if err := errors.Join(os.RemoveAll(path), lock.Close()); err != nil {
			return err
		}
	}
	return nil
}
