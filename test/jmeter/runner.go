package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// patience is how long a plan may take, JMeter's start included; as they are,
// they take a tenth of it.
const patience = 5 * time.Minute

// runner runs plans without JMeter's window.
type runner struct {
	launcher string
	// folder holds the plans, out what comes of them.
	folder, out string
	// args are for JMeter, after our own.
	args []string
}

// show runs a plan against base and prints its table. Failed samples are an
// error, and so is a request of the plan without any.
func (r *runner) show(ctx context.Context, w io.Writer, base, plan string) error {
	requests, err := readRequests(r.path(plan))
	if err != nil {
		return err
	}
	samples, err := r.samples(ctx, base, plan)
	if err != nil {
		return err
	}
	if err := printTable(w, plan, samples); err != nil {
		return err
	}
	var labels []string
	for _, request := range requests {
		labels = append(labels, request.label)
	}
	return verdict(labels, samples)
}

func (r *runner) path(plan string) string { return filepath.Join(r.folder, plan+".jmx") }

// samples runs a plan and returns what JMeter noted.
func (r *runner) samples(ctx context.Context, base, plan string) ([]sample, error) {
	where, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	port := where.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[where.Scheme]
	}
	if where.Hostname() == "" || port == "" {
		return nil, fmt.Errorf("%q is no address such as http://127.0.0.1:8080", base)
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return nil, err
	}
	notes := filepath.Join(r.out, plan+".jtl")
	if err := os.Remove(notes); err != nil && !errors.Is(err, os.ErrNotExist) { // JMeter would append
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.launcher, append([]string{
		"-n", "-t", r.path(plan), "-l", notes, "-j", filepath.Join(r.out, plan+".log"),
		"-Jprotocol=" + where.Scheme, "-Jhost=" + where.Hostname(), "-Jport=" + port,
		// Versions differ in what they note if not told.
		"-Jjmeter.save.saveservice.output_format=csv", "-Jjmeter.save.saveservice.print_field_names=true",
		"-Jjmeter.save.saveservice.timestamp_format=ms", "-Jjmeter.save.saveservice.assertion_results_failure_message=true",
	}, r.args...)...)
	// The launcher is a script: its Java has to end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if printed, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", r.launcher, err, printed)
	}
	file, err := os.Open(notes)
	if err != nil {
		return nil, fmt.Errorf("JMeter noted nothing, its log may say why: %w", err)
	}
	defer func() { _ = file.Close() }() // only read
	return readSamples(file)
}
