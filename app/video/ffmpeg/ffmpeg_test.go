package ffmpeg

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"backbeat/app/errs"
	"backbeat/test/harness"
)

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// newTools returns the programs and a folder that whoever they run as can enter.
func newTools(t *testing.T) (*Tools, string) {
	t.Helper()
	parent, err := os.MkdirTemp("", "backbeat-ffmpeg-test-")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(parent)) })
	check(t, os.Chmod(parent, 0o711))
	tools, err := New(t.Context(), "ffmpeg", "ffprobe", parent, harness.Logger(t))
	check(t, err)
	dir, err := tools.Dir(parent)
	check(t, err)
	return tools, dir
}

// script is a run of the shell in place of a program that a file took over.
func script(dir string, clock time.Duration, text string) run {
	return run{"script", dir, limits{clock: clock, computing: time.Second, nice: 10}, "/bin/sh", []string{"-c", text}}
}

// networks lists those that there are.
const networks = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '"

func TestSandboxHoldsWhatRunsInIt(t *testing.T) {
	tools, dir := newTools(t)
	t.Setenv("BACKBEAT_TOKEN_KEYS", "secret")
	check(t, os.WriteFile(filepath.Join(filepath.Dir(dir), "ours"), []byte("secret"), 0o600))
	tests := map[string]struct{ script, want string }{
		"works in its folder":         {"echo x > made && cat made", "x"},
		"sees no environment":         {"echo $BACKBEAT_TOKEN_KEYS", ""},
		"gets no input":               {"cat", ""},
		"is polite":                   {"nice", "10"},
		"computes for a bounded time": {"ulimit -t", "1"},
		"has bounded memory":          {"ulimit -v", "2097152"},
		"writes bounded files":        {"ulimit -f", "1048576"},
		"opens few files":             {"ulimit -n", "64"},
		"is who its folder is for":    {"test $(id -u) = $(stat -c %u .) && echo yes", "yes"},
		"is nobody known":             {"getent passwd $(id -u)", ""},
		"has no other group":          {"test \"$(id -G)\" = $(stat -c %g .) && echo yes", "yes"},
		"starts few processes":        {"ulimit -p", "64"},
		"is the first to go":          {"cat /proc/self/oom_score_adj", "1000"},
		"reads no other's files":      {"cat ../ours 2>/dev/null", ""},
		"reaches no network":          {networks, "lo"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			out, err := tools.run(t.Context(), script(dir, 5*time.Second, tt.script+" || :"))
			check(t, err)
			if got := strings.TrimSpace(string(out)); got != tt.want {
				t.Errorf("the script printed %q, want %q", got, tt.want)
			}
		})
	}
}

// What one host forbids another allows, so each sandbox has to work by itself.
func TestEverySandboxWorks(t *testing.T) {
	tools, dir := newTools(t)
	for _, sandbox := range sandboxes() {
		t.Run(sandbox.name, func(t *testing.T) {
			weaker := &Tools{ffmpeg: tools.ffmpeg}
			check(t, weaker.enter(t.Context(), sandbox, filepath.Dir(dir)))
			dir, err := weaker.Dir(filepath.Dir(dir))
			check(t, err)
			out, err := weaker.run(t.Context(), script(dir, 5*time.Second, "echo x > made; stat -c %u . made; id -u; id -G"))
			check(t, err)
			if who := strings.Fields(string(out)); len(who) < 4 || len(slices.Compact(who)) > 1 {
				t.Errorf("the owners of folder and file, the user and the groups are %q", out)
			}
			if !strings.Contains(sandbox.name, "no network") {
				return
			}
			out, err = weaker.run(t.Context(), script(dir, 5*time.Second, networks))
			check(t, err)
			if got := strings.TrimSpace(string(out)); got != "lo" {
				t.Errorf("it has the networks %q", got)
			}
		})
	}
}

func TestFailuresAreToldApart(t *testing.T) {
	tools, dir := newTools(t)
	tests := map[string]struct {
		script    string
		clock     time.Duration
		bad, slow bool
		kind      errs.Kind
	}{
		"the file's fault":     {script: "echo Invalid data >&2; exit 1", clock: time.Minute, bad: true},
		"a crash":              {script: "kill -SEGV $$", clock: time.Minute, bad: true},
		"computes for ever":    {script: "while :; do :; done", clock: time.Minute, bad: true, slow: true},
		"waits for ever":       {script: "sleep 60", clock: 100 * time.Millisecond, kind: errs.Internal},
		"killed from outside":  {script: "kill -KILL $$", clock: time.Minute, kind: errs.Internal},
		"no process to be had": {script: "echo 'Cannot fork: Resource temporarily unavailable' >&2; exit 1", clock: time.Minute, kind: errs.Internal},
		"disk full":            {script: "echo 'play.mp4: No space left on device' >&2; exit 1", clock: time.Minute, kind: errs.Unavailable},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := tools.run(t.Context(), script(dir, tt.clock, tt.script))
			var bad *BadFile
			if errors.As(err, &bad) != tt.bad || tt.bad && bad.Slow != tt.slow {
				t.Errorf("got %v, want a bad file: %t, slow: %t", err, tt.bad, tt.slow)
			}
			if !tt.bad && !errs.Is(err, tt.kind) {
				t.Errorf("got %v, want %s", err, tt.kind)
			}
		})
	}
}

func TestWhatProgramsSayIsBounded(t *testing.T) {
	tools, dir := newTools(t)
	_, err := tools.run(t.Context(), script(dir, 5*time.Second, "head -c 9000000 /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 1"))
	var bad *BadFile
	if !errors.As(err, &bad) || len(bad.Detail) > 4<<10 || !strings.HasSuffix(bad.Detail, "the end") {
		t.Errorf("got an error of %d bytes", len(err.Error()))
	}
}

// A program that was taken over ends, but what it started would go on.
func TestEndedRunLeavesNothingRunning(t *testing.T) {
	tools, dir := newTools(t)
	out, err := tools.run(t.Context(), script(dir, time.Minute, "sleep 600 >/dev/null 2>&1 & echo $!"))
	check(t, err)
	ended(t, strings.TrimSpace(string(out)))
}

// The bound holds a bomb of processes, and is no reason to give up on a file.
func TestForkBombIsBounded(t *testing.T) {
	tools, dir := newTools(t)
	const bomb = "for i in $(seq 200); do sleep 600 >/dev/null 2>&1 & echo $! >> pids; done"
	_, err := tools.run(t.Context(), script(dir, time.Minute, bomb))
	started, readErr := os.ReadFile(filepath.Join(dir, "pids"))
	check(t, readErr)
	pids := strings.Fields(string(started))
	if err == nil || len(pids) == 0 || len(pids) >= 64 {
		t.Errorf("%d processes were started, %v", len(pids), err)
	}
	for _, pid := range pids {
		ended(t, pid)
	}
}

// ended waits until the process is gone or nothing but an entry in a table.
func ended(t *testing.T, pid string) {
	t.Helper()
	harness.Eventually(t, 5*time.Second, func() error {
		status, err := os.ReadFile("/proc/" + pid + "/stat")
		if err == nil && !strings.Contains(string(status), ") Z ") {
			return errors.New("it runs on")
		}
		return nil
	}, "ending process "+pid)
}

// What a program has started goes with it.
func TestCanceledRunLeavesNothingRunning(t *testing.T) {
	tools, dir := newTools(t)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() {
		_, err := tools.run(ctx, script(dir, time.Minute, "sleep 600 & echo $! > pid; mv pid ready; wait"))
		result <- err
	}()
	var pid string
	harness.Eventually(t, 5*time.Second, func() error {
		data, err := os.ReadFile(filepath.Join(dir, "ready"))
		pid = strings.TrimSpace(string(data))
		return err
	}, "starting a child")
	cancel()
	if err := <-result; !errs.Is(err, errs.Unavailable) {
		t.Errorf("a canceled run returned %v, want Unavailable", err)
	}
	ended(t, pid)
}

func TestMissingProgramsAreNamed(t *testing.T) {
	_, err := New(t.Context(), "no-such-ffmpeg", "ffprobe", t.TempDir(), harness.Logger(t))
	if err == nil || !strings.Contains(err.Error(), "no-such-ffmpeg") {
		t.Errorf("New returned %v", err)
	}
}

func TestProbeReadsWhatFilesSay(t *testing.T) {
	tests := map[string]struct {
		seconds string
		want    time.Duration
	}{
		"plain": {"2.500000", 2500 * time.Millisecond}, "not said": {"N/A", 0}, "empty": {"", 0},
		"negative": {"-3", 0}, "senseless": {"1e300", 0}, "no number": {"NaN", 0},
	}
	for name, tt := range tests {
		if got := seconds(tt.seconds); got != tt.want {
			t.Errorf("%s: seconds(%q) is %v, want %v", name, tt.seconds, got, tt.want)
		}
	}
	for text, want := range map[string]float64{"25/1": 25, "0/0": 0, "30": 0, "x/y": 0} {
		if got := ratio(text); got != want {
			t.Errorf("ratio(%q) is %v, want %v", text, got, want)
		}
	}
}
