package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// histories has test/linear play many more histories than its tests do, and a look
// whether every broken variant is caught.
func histories(ctx context.Context, s scale) (load, figure string, err error) {
	n := max(200, int(10_000*s.time))
	command := exec.CommandContext(ctx, "go", "run", "./test/run", "--",
		"go", "test", "-count=1", "-v", "-timeout", "3h", "-run", "^(TestHistories|TestBrokenVariants)$", "./test/linear")
	command.Env = append(os.Environ(), fmt.Sprint("BACKBEAT_HISTORIES=", n))
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = time.Minute
	printed, err := command.CombinedOutput()
	found := summary.FindAllString(string(printed), -1)
	if err != nil || len(found) != 2 {
		log := filepath.Join(out, "histories.log")
		err = errors.Join(err, fmt.Errorf("%s tells what was wrong", log), os.MkdirAll(out, 0o755), os.WriteFile(log, printed, 0o644))
	}
	return fmt.Sprintf("%d histories of 8 to 64 goroutines", n), strings.Join(found, "; "), err
}

// summary is what each of the two tests prints when it has ended.
var summary = regexp.MustCompile(`(?m)^(histories|broken variants): .*$`)
