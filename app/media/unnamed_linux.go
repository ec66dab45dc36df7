package media

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// openUnnamed opens a file in dir that has never had a name; ErrUnsupported where the
// file system knows no such files.
func openUnnamed(dir string) (*os.File, error) {
	file, err := os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, 0o600)
	if errors.Is(err, unix.EISDIR) { // so say those that have not heard of them
		err = errors.Join(err, errors.ErrUnsupported)
	}
	return file, err
}

// name gives an open file one more name in a folder of its file system. It never
// replaces a file.
func name(file, dir *os.File, base string) error {
	descriptor := "/proc/self/fd/" + strconv.Itoa(int(file.Fd()))
	return unix.Linkat(unix.AT_FDCWD, descriptor, int(dir.Fd()), base, unix.AT_SYMLINK_FOLLOW)
}
