package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// Program returns the path of backbeat, built once per process with the race
// detector, which ends a process with code 66 and says DATA RACE in its log.
func Program() (string, error) { return program() }

var program = sync.OnceValues(func() (string, error) {
	dir, err := newFolder()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "backbeat")
	build := exec.Command("go", "build", "-race", "-o", path, "backbeat/app")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("building backbeat: %w", err)
	}
	// Processes under test may run as another user.
	return path, os.Chmod(path, 0o755)
})
