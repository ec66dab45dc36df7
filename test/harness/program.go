package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
)

// Program returns the path of backbeat, built once per process with the race
// detector, which ends a process with code 66 and says DATA RACE in its log.
func Program() (string, error) { return program() }

// FaultProgram is Program with the tag fault: its queues' handlers panic when a
// message asks for it.
func FaultProgram() (string, error) { return faultProgram() }

var (
	program      = sync.OnceValues(func() (string, error) { return build() })
	faultProgram = sync.OnceValues(func() (string, error) { return build("-tags", "fault") })
)

func build(flags ...string) (string, error) {
	dir, err := newFolder()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "backbeat")
	build := exec.Command("go", slices.Concat([]string{"build", "-race", "-o", path}, flags, []string{"backbeat/app"})...)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("building backbeat: %w", err)
	}
	// Processes under test may run as another user.
	return path, os.Chmod(path, 0o755)
}
