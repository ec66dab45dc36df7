package ffmpeg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"backbeat/test/harness"
	corpus "backbeat/test/hostile"
)

// Whatever a file holds, each program ends within its time, says whose fault it
// is, and leaves nothing. What the probe can read is converted here even if the
// worker would refuse it for what the probe says.
func TestHostileFilesLeaveNothing(t *testing.T) {
	tools, dir := newTools(t)
	files := corpus.Files(t)
	before := held(t)
	for _, file := range files {
		t.Run(file.Name, func(t *testing.T) {
			check(t, os.WriteFile(filepath.Join(dir, "original"), file.Data, 0o644))
			var info *Info
			step(t, "probe", probeLimits, func() error {
				probed, err := tools.Probe(t.Context(), dir, "original")
				info = probed
				return err
			})
			defer empty(t, dir)
			if info == nil || info.Video == nil {
				return
			}
			const most = 2 * time.Second
			info.Duration = min(info.Duration, most)
			step(t, "remux", remuxLimits, func() error { return tools.Remux(t.Context(), dir, "original", "play.mp4", info, most) })
			step(t, "transcode", transcodeLimits(most), func() error {
				// Some files would take all that a transcode is granted.
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				return tools.Transcode(ctx, dir, "original", "play.mp4", info, most)
			})
			step(t, "cover", coverLimits, func() error { return tools.Cover(t.Context(), dir, "original", "cover.jpg", "cover.gray", most/2) })
		})
	}
	harness.Eventually(t, 10*time.Second, func() error {
		if after := held(t); !slices.Equal(after, before) {
			return fmt.Errorf("before: %v, after: %v", before, after)
		}
		return nil
	}, "giving everything back")
}

// empty removes what the programs may make in the folder, and finds the rest.
func empty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	check(t, err)
	for _, entry := range entries {
		if !slices.Contains([]string{"original", "play.mp4", "cover.jpg", "cover.gray"}, entry.Name()) {
			t.Errorf("it left %s", entry.Name())
		}
		check(t, os.Remove(filepath.Join(dir, entry.Name())))
	}
}

// step does one step and fails the test if it took longer than it may, or failed
// by anybody's fault but the file's.
func step(t *testing.T, name string, bound limits, do func() error) {
	t.Helper()
	start := time.Now()
	err := do()
	took := time.Since(start)
	var bad *BadFile
	late := strings.Contains(fmt.Sprint(err), "not done within") || errors.Is(err, context.DeadlineExceeded)
	if err != nil && !errors.As(err, &bad) && !late {
		t.Errorf("%s: not the file's fault: %v", name, err)
	}
	if took > bound.clock+2*time.Second { // to kill and to tidy up
		t.Errorf("%s took %s", name, took)
	}
	if len(fmt.Sprint(err)) > 4<<10 {
		t.Errorf("%s says too much", name)
	}
	t.Logf("%s: %dms, %v", name, took.Milliseconds(), err)
}

// held is what this process holds of the system: open files, and children, those
// that have ended and that nobody has asked after too.
func held(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"/proc/self/fd/*", "/proc/self/task/*/children"} {
		paths, err := filepath.Glob(pattern)
		check(t, err)
		for _, path := range paths {
			if strings.HasSuffix(path, "/children") {
				children, err := os.ReadFile(path)
				if err != nil && !errors.Is(err, fs.ErrNotExist) { // a thread may end
					t.Fatal(err)
				}
				all = append(all, strings.Fields(string(children))...)
			} else if target, err := os.Readlink(path); err == nil { // the list itself is gone again
				all = append(all, target)
			}
		}
	}
	slices.Sort(all)
	return all
}
