package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"backbeat/config"
	"backbeat/test/harness"
)

// The live keys that are no gateway's own, and the way from the file to a gateway: a
// process that runs does what an edit of its file says.
func TestARunningProcessFollowsItsFile(t *testing.T) {
	spans, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var sent atomic.Int64
	received := make(chan struct{})
	go func() {
		defer close(received)
		for {
			if _, _, err := spans.ReadFrom(make([]byte, 64<<10)); err != nil {
				return
			}
			sent.Add(1)
		}
	}()
	t.Cleanup(func() { _ = spans.Close(); <-received })
	dir := t.TempDir()
	file := filepath.Join(dir, "backbeat.yaml")
	write := func(live string) {
		t.Helper()
		content := fmt.Sprintf("http: {listen: '127.0.0.1:0'}\ndata: {dir: %s}\n%s\n", dir, live)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	agent := "jaeger: {agent: '" + spans.LocalAddr().String() + "', "
	write(agent + "sampler: const, sampler_param: 0}")
	cfg, err := config.Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	level := new(slog.LevelVar)
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		process := Process{Config: cfg, File: file, Log: slog.New(slog.DiscardHandler), Level: level}
		ended <- Run(ctx, process, nil, func(parts []Part) { ready <- parts[len(parts)-1].Address })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	var app *harness.App
	select {
	case address := <-ready:
		app = harness.NewApp("http://" + address)
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	register := func() int {
		return app.Post(t, "/douyin/user/register/", "username", "neu", "password", "pass1234").StatusCode
	}
	// Whoever operates the process changed the level; only a change of the key does.
	level.Set(slog.LevelWarn)
	for _, row := range []struct {
		name, live string
		does       func() error
	}{
		{"features", agent + "sampler: const, sampler_param: 0}\nfeatures: {registration: false}", func() error {
			return unlessTrue(register() == 40300 && level.Level() == slog.LevelWarn && sent.Load() == 0)
		}},
		{"log.level", agent + "sampler: const, sampler_param: 0}\nlog: {level: debug}", func() error {
			return unlessTrue(register() != 40300 && level.Level() == slog.LevelDebug && sent.Load() == 0)
		}},
		{"jaeger.sampler_param", agent + "sampler: const, sampler_param: 1}", func() error {
			if response, err := http.Get(app.Base + "/douyin/feed/"); err == nil {
				response.Body.Close()
			}
			return unlessTrue(sent.Load() > 0 && level.Level() == slog.LevelInfo)
		}},
	} {
		write(row.live)
		harness.Eventually(t, 5*time.Second, row.does, row.name)
	}
}

func unlessTrue(ok bool) error {
	if ok {
		return nil
	}
	return errors.New("not so")
}
