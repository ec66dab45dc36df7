package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Tool returns the path of a program of the modules in test/tools: versitygw,
// all-in-one (Jaeger), manifests or golangci-lint. A path in the variable of that name
// (VERSITYGW, JAEGER) wins, then a program in PATH (versitygw,
// jaeger-all-in-one), then a build of our own. The first build on a machine
// takes up to two minutes; Go's build cache keeps it, and processes that want
// tools at the same time wait for each other instead of building twice. To build,
// the working directory must be inside the repository.
func Tool(ctx context.Context, name string) (string, error) {
	if path, err := givenTool(name); path != "" || err != nil {
		return path, err
	}
	root, err := repository(ctx)
	if err != nil {
		return "", err
	}
	unlock, err := lockTools()
	if err != nil {
		return "", fmt.Errorf("locking the tools: %w", err)
	}
	defer func() { _ = unlock() }() // the process's end unlocks too
	// -n prints where the program lies instead of running it, after building it.
	cmd := exec.CommandContext(ctx, "go", "tool", "-n", name)
	cmd.Dir = filepath.Join(root, "test", "tools")
	switch name {
	case "all-in-one":
		cmd.Dir = filepath.Join(cmd.Dir, "jaeger") // doesn't run with the others' newer OpenTelemetry
	case "manifests":
		cmd.Dir = filepath.Join(cmd.Dir, "manifests")
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("building the tool %s: %w\n%s", name, err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
}

// ToolVariable is the environment variable that names a tool's program.
func ToolVariable(name string) string {
	if name == "all-in-one" {
		return "JAEGER"
	}
	return strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// givenTool returns a program that is there without building, or "".
func givenTool(name string) (string, error) {
	if path := os.Getenv(ToolVariable(name)); path != "" {
		return exec.LookPath(path)
	}
	if name == "all-in-one" {
		name = "jaeger-all-in-one"
	}
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrNotFound) {
		return "", nil
	}
	return path, err
}

func repository(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("looking for go.mod: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

// lockTools waits for its turn among the processes of this user.
func lockTools() (unlock func() error, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "backbeat")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.Create(filepath.Join(dir, "tools.lock"))
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock.Close, nil
}
