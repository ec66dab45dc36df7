package media

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"backbeat/app/errs"
)

// NewUnnamed opens a file in dir, to write and to read. It is gone when it is closed,
// unless it was given to a store, and when the process dies.
func NewUnnamed(dir string) (*os.File, error) {
	file, err := openUnnamed(dir)
	if errors.Is(err, errors.ErrUnsupported) {
		file, err = unname(os.CreateTemp(dir, unnamedPattern))
	}
	return file, FileError(err, "creating a file without a name")
}

// unnamedPattern is what files are called for an instant where none can begin without
// a name.
const unnamedPattern = "unnamed-*"

func unname(file *os.File, err error) (*os.File, error) {
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// RemoveUnnamed removes files that a process which died in the instant left in dir,
// where nobody else makes any.
func RemoveUnnamed(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, unnamedPattern))
	if err != nil {
		return errs.Wrap(errs.Internal, err, "listing files without a name")
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return FileError(err, "removing a file without a name")
		}
	}
	return nil
}
