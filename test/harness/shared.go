package harness

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"

	"backbeat/deploy/local"
)

// The variables that name servers which several test processes share. Without
// them a process starts its own.
const (
	EnvMariaDB   = "BACKBEAT_TEST_MARIADB"    // DSN of a user who may create databases
	EnvPostgres  = "BACKBEAT_TEST_POSTGRES"   // the same
	EnvAMQP      = "BACKBEAT_TEST_AMQP"       // amqp://guest:guest@HOST:PORT/
	EnvAMQPAdmin = "BACKBEAT_TEST_AMQP_ADMIN" // base URL of its management API
)

// Share starts the servers that test processes can share and returns the
// environment that names them. Stop kills them; what Share started before an
// error it has stopped itself. Their data goes when this process ends.
func Share(ctx context.Context) (env []string, stop func() error, err error) {
	dir, err := newFolder()
	if err != nil {
		return nil, nil, err
	}
	var maria, postgres *local.Server
	var rabbit *local.RabbitMQ
	starting, ctx := errgroup.WithContext(ctx)
	starting.Go(func() (err error) { maria, err = startMariaDB(ctx, filepath.Join(dir, "mariadb")); return err })
	starting.Go(func() (err error) { postgres, err = startPostgres(ctx, filepath.Join(dir, "postgres")); return err })
	starting.Go(func() (err error) { rabbit, err = startRabbitMQ(ctx, filepath.Join(dir, "rabbitmq")); return err })
	err = starting.Wait()
	stop = func() error {
		var faults []error
		if maria != nil {
			faults = append(faults, maria.Kill())
		}
		if postgres != nil {
			faults = append(faults, postgres.Kill())
		}
		if rabbit != nil {
			faults = append(faults, rabbit.Kill())
		}
		return errors.Join(faults...)
	}
	if err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return []string{EnvMariaDB + "=" + maria.URL, EnvPostgres + "=" + postgres.URL,
		EnvAMQP + "=" + rabbit.URL, EnvAMQPAdmin + "=" + rabbit.Admin}, stop, nil
}

// What is committed survives the death of a database's process, though not a power cut.
var (
	mariaDBArgs  = []string{"--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=64M", "--max-connections=500"}
	postgresArgs = []string{"-c", "fsync=off", "-c", "max_connections=300"}
)

func startMariaDB(ctx context.Context, dir string, args ...string) (*local.Server, error) {
	return local.StartMariaDB(ctx, dir, local.Options{Args: slices.Concat(mariaDBArgs, args)})
}

func startPostgres(ctx context.Context, dir string, args ...string) (*local.Server, error) {
	return local.StartPostgres(ctx, dir, local.Options{Args: slices.Concat(postgresArgs, args)})
}

func startRabbitMQ(ctx context.Context, dir string) (*local.RabbitMQ, error) {
	return local.StartRabbitMQ(ctx, dir, local.Options{})
}

// The servers of this process, each started by the first test that asks.
var (
	sharedMariaDB  = sync.OnceValues(func() (string, error) { return share(EnvMariaDB, startMariaDB) })
	sharedPostgres = sync.OnceValues(func() (string, error) { return share(EnvPostgres, startPostgres) })
	sharedRabbitMQ = sync.OnceValues(shareRabbitMQ)
)

type broker struct{ url, admin string }

func shareRabbitMQ() (broker, error) {
	b := broker{url: os.Getenv(EnvAMQP), admin: os.Getenv(EnvAMQPAdmin)}
	if b.url != "" && b.admin != "" {
		return b, nil
	}
	dir, err := newFolder()
	if err != nil {
		return broker{}, err
	}
	s, err := startRabbitMQ(context.Background(), dir)
	if err != nil {
		return broker{}, err
	}
	return broker{url: s.URL, admin: s.Admin}, nil
}

// share starts a server for the rest of this process, which no test's context
// may end, unless the environment names one.
func share(variable string, start func(context.Context, string, ...string) (*local.Server, error)) (url string, err error) {
	if url := os.Getenv(variable); url != "" {
		return url, nil
	}
	dir, err := newFolder()
	if err != nil {
		return "", err
	}
	s, err := start(context.Background(), dir)
	if err != nil {
		return "", err
	}
	return s.URL, nil
}

// newFolder returns an empty folder inside this process's swept one.
func newFolder() (string, error) {
	root, err := sweptFolder()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(root, "")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755) // PostgreSQL enters as a user of its own
}

// sweptFolder is deleted after this process has ended, however it ends. A test
// process has no last moment of its own, so a shell waits for the end of a pipe
// that only this process holds open: the raw descriptor is never closed.
var sweptFolder = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "backbeat-test-")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	var pipe [2]int
	if err := syscall.Pipe2(pipe[:], syscall.O_CLOEXEC); err != nil {
		return "", err
	}
	end := os.NewFile(uintptr(pipe[0]), "pipe")
	defer end.Close()
	sweeper := exec.Command("sh", "-c", `read -r _; until rm -rf "$0"; do sleep 1; done`, dir)
	sweeper.Stdin = end
	sweeper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is for the tests
	return dir, sweeper.Start()
})
