// Command run gives a test command everything it needs, and takes it away again:
//
//	go run ./test/run -- go test -race ./...
//
// It installs the Debian packages that are missing, builds the test tools,
// starts the servers that test processes share, runs the command with the
// environment that names them, and ends with its exit code.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"backbeat/deploy/local"
	"backbeat/test/harness"
)

var packages = []string{"mariadb-server", "postgresql", "redis-server", "rabbitmq-server", "etcd-server", "ffmpeg", "nginx", "prometheus", "gcc", "libc6-dev"}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	flag.Parse() // there are none, but it knows "--" and -help
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: go run ./test/run [--] COMMAND [ARGUMENT…]")
		os.Exit(2)
	}
	err := run(ctx, flag.Args())
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		os.Exit(max(ended.ExitCode(), 1)) // the command has said why itself
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, command []string) (err error) {
	if err := local.Install(ctx, packages...); err != nil {
		return err
	}
	env, stop, err := prepare(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	return cmd.Run()
}

// prepare builds the tools while the servers start.
func prepare(ctx context.Context) (env []string, stop func() error, err error) {
	fmt.Fprintln(os.Stderr, "starting MariaDB, PostgreSQL and RabbitMQ, building Jaeger and other tools (the first time takes minutes)")
	var mu sync.Mutex
	building, buildCtx := errgroup.WithContext(ctx)
	var tools []string
	for _, name := range []string{"versitygw", "all-in-one", "manifests"} {
		building.Go(func() error {
			path, err := local.Tool(buildCtx, name)
			mu.Lock()
			defer mu.Unlock()
			tools = append(tools, local.ToolVariable(name)+"="+path)
			return err
		})
	}
	servers, stop, err := harness.Share(ctx)
	if buildErr := building.Wait(); err != nil || buildErr != nil {
		if err == nil {
			err = stop()
		}
		return nil, nil, errors.Join(buildErr, err)
	}
	return append(servers, tools...), stop, nil
}
