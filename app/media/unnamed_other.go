//go:build !linux

package media

import (
	"errors"
	"os"
)

// openUnnamed knows no files that have never had a name.
func openUnnamed(string) (*os.File, error) { return nil, errors.ErrUnsupported }

// name can't name an open file.
func name(_, _ *os.File, _ string) error { return errors.ErrUnsupported }
