// Package harness gives tests real databases and servers, fresh and empty.
//
// MariaDB, PostgreSQL and RabbitMQ take seconds to start, so one of each is
// shared by all tests of a process, or of a whole `make test` when the
// environment names it (see EnvMariaDB); every call still returns a database or virtual
// host of its own. Redis, etcd, S3 and Jaeger start in a blink, and each call
// starts one. A test that kills or freezes its server asks for one of its own.
//
// A server that can't be started fails the test; nothing is ever skipped.
package harness

import (
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"backbeat/deploy/local"
)

// FreePort returns a port of 127.0.0.1 that nobody else uses or is promised.
func FreePort(tb testing.TB) int {
	tb.Helper()
	port, err := local.FreePort()
	check(tb, err)
	return port
}

// Eventually calls probe until it returns nil and fails the test with its last
// error if it hasn't after within. What is a phrase for that message. The longer it
// waits the less often it looks: on a busy machine looking delays what it waits for.
func Eventually(tb testing.TB, within time.Duration, probe func() error, what string) {
	tb.Helper()
	for began := time.Now(); ; {
		err := probe()
		if err == nil {
			return
		}
		waited := time.Since(began)
		if waited > within {
			tb.Fatalf("%s: not within %v: %v", what, within, err)
		}
		time.Sleep(min(max(waited/8, time.Millisecond), 250*time.Millisecond)) // what lasts a moment is seen
	}
}

// Logger returns a logger that writes to the test's own log, and nowhere once
// the test has ended.
func Logger(tb testing.TB) *slog.Logger {
	w := &testLog{tb: tb}
	tb.Cleanup(w.end)
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type testLog struct {
	tb    testing.TB
	mu    sync.Mutex
	ended bool
}

func (l *testLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.tb.Log(strings.TrimSuffix(string(line), "\n"))
	}
	return len(line), nil
}

func (l *testLog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}

// LeakOptions makes goleak accept the goroutines that wait for the servers
// which the process shares.
func LeakOptions() []goleak.Option {
	return []goleak.Option{goleak.IgnoreAnyFunction("backbeat/deploy/local.(*process).run")}
}

// private stops a test's own server when the test ends.
func private(tb testing.TB, s *local.Server) {
	tb.Cleanup(func() {
		if err := s.Kill(); err != nil {
			tb.Error(err)
		}
		if tb.Failed() {
			tb.Logf("%s printed:\n%s", s.Name, s.LogTail())
		}
	})
}

// Folder returns an empty folder that other users can enter, as servers and ffmpeg
// run under their own, and that goes with the test.
func Folder(tb testing.TB) string {
	tb.Helper()
	dir, err := newFolder()
	check(tb, err)
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	return dir
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
