// Package ffmpeg looks into video files from strangers and converts them, with
// the programs ffprobe and ffmpeg. It promises for every file, hostile ones too:
//
//   - The programs read nothing but the file they are given: only the demuxers
//     and decoders that phones' videos need, no playlists, no URLs.
//   - They run with bounded time, memory, output and number of processes, at low
//     priority, without environment, input or network, and as a
//     stranger where the worker is root. When the worker dies, so do they; when one ends, what it
//     started does.
//   - What goes wrong is told apart: a BadFile is the file's own fault and will
//     fail again; anything else is ours, and trying again may help.
package ffmpeg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"backbeat/app/errs"
	"backbeat/app/trace"
)

const (
	formats = "mov,mp4,matroska,webm"
	// decoders holds ffmpeg's names: libdav1d decodes av1, mp3float mp3. Those of
	// the second line are for streams that cameras add and we leave out: ffprobe
	// gives up on a file with a stream it may not decode.
	decoders = "h264,hevc,vp8,vp9,libdav1d,av1,mpeg4,aac,mp3float,mp3,opus,vorbis," +
		"mjpeg,png,mov_text"
	// maxPixels bounds a picture: 4096 × 4096.
	maxPixels = "16777216"
	// maxStreams bounds what a file is searched for: to look at each of a thousand
	// takes longer than a probe may. The worker refuses far fewer.
	maxStreams = "64"
)

// hostile is how both programs are told to open a file that a stranger made.
var hostile = []string{
	"-v", "error", "-hide_banner",
	"-protocol_whitelist", "file", "-format_whitelist", formats, "-codec_whitelist", decoders, "-max_pixels", maxPixels,
	"-max_streams", maxStreams,
}

// BadFile is the error for a file that can't be read or converted, however often
// one tries.
type BadFile struct {
	// Slow is true when the file took more computing than it was granted.
	Slow bool
	// Foreign is true when the file is of a kind we don't decode.
	Foreign bool
	// Detail is for the log: the end of what the program had to say.
	Detail string
}

func (e *BadFile) Error() string { return e.Detail }

// Tools is the two programs in their sandbox. It is safe for concurrent use.
type Tools struct {
	ffmpeg, ffprobe string
	sandbox         sandbox
	starter         starter
}

// New finds the programs, names in PATH or paths, and the strongest sandbox that
// this host allows for work in folders under dir. They can be run until ctx ends.
func New(ctx context.Context, ffmpeg, ffprobe, dir string, log *slog.Logger) (*Tools, error) {
	t := &Tools{}
	var err error
	if t.ffmpeg, err = exec.LookPath(ffmpeg); err != nil {
		return nil, fmt.Errorf("finding ffmpeg: %w", err)
	}
	if t.ffprobe, err = exec.LookPath(ffprobe); err != nil {
		return nil, fmt.Errorf("finding ffprobe: %w", err)
	}
	for _, sandbox := range sandboxes() {
		if err = t.enter(ctx, sandbox, dir); err == nil {
			log.Info("ffmpeg is ready", "sandbox", sandbox.name)
			return t, nil
		}
		log.Warn("this host does not allow a sandbox", "sandbox", sandbox.name, "error", err)
	}
	return nil, fmt.Errorf("running ffmpeg: %w", err)
}

// enter takes a sandbox and tries it.
func (t *Tools) enter(ctx context.Context, s sandbox, parent string) (err error) {
	living, leave := context.WithCancel(ctx)
	defer func() {
		if err != nil {
			leave()
		}
	}()
	t.sandbox = s
	if t.starter, err = newStarter(living, s.seclude); err != nil {
		return err
	}
	dir, err := t.Dir(parent)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	_, err = t.run(ctx, run{"version", dir, probeLimits, t.ffmpeg, []string{"-version"}})
	return err
}

// Dir makes a folder under parent that the programs can work in and nobody else
// can enter: they run as who it belongs to. The caller removes it.
func (t *Tools) Dir(parent string) (string, error) {
	dir, err := os.MkdirTemp(parent, "job-")
	if err == nil && t.sandbox.user != nil {
		user := t.sandbox.user()
		err = os.Chown(dir, user, user)
	}
	if err != nil {
		return "", errs.Wrap(errs.Unavailable, err, "making a folder to work in")
	}
	return dir, nil
}

// run is one run of a program.
type run struct {
	// step names it in traces.
	step string
	// dir is the folder it works in.
	dir     string
	limits  limits
	program string
	args    []string
}

// run runs a program and returns what it wrote to standard output.
func (t *Tools) run(ctx context.Context, r run) (stdout []byte, err error) {
	span, ctx := trace.Start(ctx, "ffmpeg "+r.step)
	defer func() { trace.Fail(span, err); span.Finish() }()
	bounded, cancel := context.WithTimeout(ctx, r.limits.clock)
	defer cancel()
	cmd := exec.CommandContext(bounded, "/bin/sh", t.sandbox.shell(r.limits, r.program, r.args)...)
	attr, err := t.sandbox.attrIn(r.dir)
	if err != nil {
		return nil, errs.Wrap(errs.Unavailable, err, "preparing to run %s", r.program)
	}
	ended := watchEnd(attr)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = r.dir, []string{}, attr
	out, said := &tail{most: 1 << 20}, &tail{most: 2 << 10}
	cmd.Stdout, cmd.Stderr = out, said
	killAll := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = killAll
	cmd.WaitDelay = time.Second
	if err := t.starter.start(bounded, cmd); err != nil {
		return nil, errs.Wrap(errs.Unavailable, err, "starting %s", r.program)
	}
	ended()
	err = cmd.Wait()
	// What a taken over program left behind goes too; usually there is nothing.
	_ = killAll()
	switch {
	case err == nil:
		return out.data, nil
	case ctx.Err() != nil:
		return nil, errs.Wrap(errs.Unavailable, ctx.Err(), "running ffmpeg %s", r.step)
	case bounded.Err() != nil: // a victim of the host's other work
		return nil, fmt.Errorf("ffmpeg %s: not done within %s", r.step, r.limits.clock)
	default:
		return nil, verdict(r, cmd.ProcessState, string(bytes.TrimSpace(said.data)))
	}
}

// verdict says whose fault it is that a run failed. How the system counts the
// computing that it grants and what it reports afterwards differ a little.
func verdict(r run, state *os.ProcessState, said string) error {
	detail := fmt.Sprintf("ffmpeg %s: %s: %s", r.step, state, said)
	status, _ := state.Sys().(syscall.WaitStatus)
	switch {
	case strings.Contains(said, "No space left on device"):
		return errs.Wrap(errs.Unavailable, errors.New(detail), "working on a file")
	case state.UserTime()+state.SystemTime() > r.limits.computing/2:
		return &BadFile{Slow: true, Detail: detail}
	case status.Signaled() && status.Signal() == syscall.SIGKILL, // the system is short of memory
		strings.Contains(said, "Resource temporarily unavailable"): // or of processes
		return errors.New(detail)
	default:
		return &BadFile{Foreign: strings.Contains(said, "not on whitelist 'h264"), Detail: detail}
	}
}

// tail is a writer that keeps the end of what is written.
type tail struct {
	most int
	data []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p[max(0, len(p)-t.most):]...)
	t.data = t.data[max(0, len(t.data)-t.most):]
	return len(p), nil
}
