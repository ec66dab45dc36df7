// Command jmeter runs the JMeter plans beside it without JMeter's window, and
// prints what its Aggregate Report would show:
//
//	go run ./test/jmeter [-jmeter jmeter] [-url http://127.0.0.1:8080] [-only like] [-- -Jthreads=50 …]
//
// Without -url it starts a cluster of its own, one process of each role and real
// servers on loopback, and seeds it; with -url Backbeat runs there already and
// was filled by `backbeat seed`, since users.csv names the users that it makes.
// What follows -- is for JMeter. Samples and JMeter's logs stay in out/.
//
// It fails when a sample did. The plans bring a load that a small machine bears:
// what the machine can bear, and at what cost, is for test/bench to say.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"backbeat/deploy/local"
)

// folder holds the plans.
const folder = "test/jmeter"

// plans are the names of all plans, in the order they run.
var plans = []string{"login", "like", "comment", "feed", "mixed"}

func main() {
	if err := command(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func command(args []string) error {
	flags := flag.NewFlagSet("jmeter", flag.ContinueOnError)
	launcher := flags.String("jmeter", "jmeter", "program that starts JMeter")
	url := flags.String("url", "", "a Backbeat that runs and was seeded (default one of its own)")
	only := flags.String("only", "", "run the plans whose names hold this")
	if err := flags.Parse(args); err != nil {
		return errors.New("usage: jmeter [flags] [-- what JMeter is told]")
	}
	chosen := choose(*only)
	if len(chosen) == 0 {
		return fmt.Errorf("no plan's name holds %q: there are %s", *only, strings.Join(plans, ", "))
	}
	path, err := exec.LookPath(*launcher)
	if err != nil {
		return fmt.Errorf("%w: unpack JMeter and name its launcher, such as JMETER=/opt/apache-jmeter-5.6.3/bin/jmeter make jmeter", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r := &runner{launcher: path, folder: folder, out: filepath.Join(folder, "out"), args: flags.Args()}
	return r.run(ctx, *url, chosen)
}

func choose(only string) (chosen []string) {
	for _, plan := range plans {
		if strings.Contains(plan, only) {
			chosen = append(chosen, plan)
		}
	}
	return chosen
}

// run runs the plans against base, or against a cluster that it starts when base
// is empty.
func (r *runner) run(ctx context.Context, base string, chosen []string) (err error) {
	if base == "" {
		fmt.Fprintln(os.Stderr, "starting and filling a cluster")
		var stop func() error
		if base, stop, err = startCluster(ctx, filepath.Join(r.folder, "users.csv")); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	var faults []error
	for _, plan := range chosen {
		if err := r.show(ctx, os.Stdout, base, plan); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", plan, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(faults...)
}

// startCluster starts a cluster that holds the users of the file.
func startCluster(ctx context.Context, users string) (base string, stop func() error, err error) {
	if err := local.Install(ctx, local.ClusterPackages...); err != nil {
		return "", nil, err
	}
	list, err := os.ReadFile(users)
	if err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp("", "backbeat-jmeter-")
	if err != nil {
		return "", nil, err
	}
	remove := func() error { return os.RemoveAll(dir) }
	if err := os.Chmod(dir, 0o755); err != nil { // servers run as other users
		return "", nil, errors.Join(err, remove())
	}
	program := filepath.Join(dir, "backbeat")
	if err := quietly(ctx, nil, "go", "build", "-o", program, "backbeat/app"); err != nil {
		return "", nil, errors.Join(err, remove())
	}
	cluster, err := local.StartCluster(ctx, filepath.Join(dir, "cluster"), local.ClusterOptions{Program: program, Instances: 1})
	if err != nil {
		return "", nil, errors.Join(err, remove())
	}
	stop = func() error { return errors.Join(cluster.Stop(), remove()) }
	err = quietly(ctx, append(cluster.Env, "BACKBEAT_DATA_DIR="+filepath.Join(dir, "seed")), program, "seed",
		"-users", fmt.Sprint(bytes.Count(list, []byte("\n"))), "-videos", "60", "-likes", "2000", "-comments", "2000", "-follows", "2000", "-messages", "2000")
	if err != nil {
		return "", nil, errors.Join(err, stop())
	}
	return cluster.Base, stop, nil
}

// quietly runs a command with env over our own environment; what it prints is
// part of the error.
func quietly(ctx context.Context, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	if printed, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, printed)
	}
	return nil
}
