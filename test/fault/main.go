package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"backbeat/deploy/local"
)

// out is where the records go.
const out = "test/fault/out"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	full := scale{}
	flag.Float64Var(&full.load, "load", 1, "multiply the `rate` of each load, for a slower machine")
	flag.Float64Var(&full.time, "time", 1, "multiply the `length` of each load and fault")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: go run ./test/fault [flags] [CASE…]")
		flag.PrintDefaults()
		fmt.Fprintln(flag.CommandLine.Output(), "cases:", strings.Join(names(), " "))
	}
	flag.Parse()
	passed, err := proveAll(ctx, flag.Args(), full)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil || !passed {
		os.Exit(1)
	}
}

func names() (all []string) {
	for _, c := range cases() {
		all = append(all, c.name)
	}
	return all
}

// proveAll runs the named cases, or all, and prints and keeps what they came to.
func proveAll(ctx context.Context, chosen []string, s scale) (passed bool, err error) {
	for _, name := range chosen {
		if !slices.Contains(names(), name) {
			return false, fmt.Errorf("no case %q; there are: %s", name, strings.Join(names(), " "))
		}
	}
	if err := local.Install(ctx, local.ClusterPackages...); err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp("", "backbeat-fault-")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	program, clip, err := provide(ctx, dir)
	if err != nil {
		return false, err
	}
	records := proveEach(ctx, chosen, s, func() (*world, error) {
		return newWorld(ctx, program, clip, nil, size{users: 2000, videos: 200})
	})
	failures := 0
	for _, r := range records {
		if !r.Passed {
			failures++
		}
	}
	err = keep(records)
	fmt.Printf("%d passed, %d failed\n", len(records)-failures, failures)
	return failures == 0, err
}

// proveEach runs cases in one world after the other: the next case takes over the
// world of one that passed, and a fresh one after one that failed.
func proveEach(ctx context.Context, chosen []string, s scale, fresh func() (*world, error)) (records []record) {
	var w *world
	fmt.Println("fault | load | promise | figure | verdict")
	for _, c := range cases() {
		wanted := slices.Contains(chosen, c.name) || len(chosen) == 0 && !c.apart
		if !wanted || ctx.Err() != nil || c.suite != nil && s.patient {
			continue
		}
		if c.suite != nil {
			r := c.runSuite(ctx, s)
			r.print()
			records = append(records, r)
			continue
		}
		var err error
		if w == nil {
			w, err = fresh()
		}
		r := record{Case: c.name, Fault: c.fault, Promise: c.promise}
		if err != nil {
			r.Wrong = []string{"no world: " + err.Error()}
		} else {
			r = c.run(ctx, w, s)
		}
		if w != nil && !r.Passed {
			r.leave(w)
			w = nil
		}
		r.print()
		records = append(records, r)
	}
	if w != nil {
		records[len(records)-1].leave(w)
	}
	return records
}

// leave ends the world; what its logs should not hold is a failure.
func (r *record) leave(w *world) {
	if err := w.close(); err != nil {
		r.Passed, r.Wrong = false, append(r.Wrong, err.Error())
		fmt.Println(err)
	}
}

func (r *record) print() {
	fmt.Println(r)
	for _, note := range r.Notes {
		fmt.Println("    " + note)
	}
}

// provide builds the program, without the race detector, and makes the video that
// loads upload.
func provide(ctx context.Context, dir string) (program, clip string, err error) {
	if err := os.Chmod(dir, 0o755); err != nil { // processes may run as other users
		return "", "", err
	}
	program, clip = filepath.Join(dir, "backbeat"), filepath.Join(dir, "clip.mp4")
	for _, command := range []string{
		"go build -tags fault -o " + program + " backbeat/app",
		"ffmpeg -y -loglevel error -f lavfi -i testsrc2=size=64x64:rate=25:duration=1 -c:v libx264 -preset ultrafast -pix_fmt yuv420p -movflags +faststart " + clip,
	} {
		words := strings.Fields(command)
		if printed, err := exec.CommandContext(ctx, words[0], words[1:]...).CombinedOutput(); err != nil {
			return "", "", fmt.Errorf("%s: %w\n%s", command, err, printed)
		}
	}
	return program, clip, nil
}

// keep writes the records for machines.
func keep(records []record) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	written, err := json.MarshalIndent(records, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "latest.json"), append(written, '\n'), 0o644)
}
