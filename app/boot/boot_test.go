package boot

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"backbeat/config"
)

func TestChoose(t *testing.T) {
	cluster := func(cfg *config.Config) {
		cfg.Etcd.Endpoints, cfg.DB.DSN, cfg.Redis.Addr = []string{"etcd:2379"}, "mysql://db/backbeat", "redis:6379"
		cfg.Media.Dir, cfg.Token.Keys = "/media", "k1:x"
	}
	for _, row := range []struct {
		name   string
		roles  []string
		change func(*config.Config)
		want   string // roles in order, or what the error must hold
		ok     bool
	}{
		{"no name is every role", nil, func(*config.Config) {}, "user video favorite comment relation message video-worker favorite-worker message-worker gateway", true},
		{"the table's order, not the caller's", []string{"gateway", "user"}, cluster, "user gateway", true},
		{"unknown role", []string{"users"}, cluster, `no role "users"`, false},
		{"a gateway alone without etcd", []string{"gateway"}, func(cfg *config.Config) { cluster(cfg); cfg.Etcd.Endpoints = nil }, "etcd.endpoints", false},
		{"a gateway alone without keys", []string{"gateway"}, func(cfg *config.Config) { cluster(cfg); cfg.Token.Keys = "" }, "token.keys", false},
		{"a service alone on its own SQLite", []string{"user"}, func(cfg *config.Config) { cluster(cfg); cfg.DB.DSN = "" }, "db.dsn", false},
		{"likes alone without Redis", []string{"favorite"}, func(cfg *config.Config) { cluster(cfg); cfg.Redis.Addr = "" }, "redis.addr", false},
		{"a worker alone without media", []string{"video-worker"}, func(cfg *config.Config) { cluster(cfg); cfg.Media.Dir = "" }, "media.dir", false},
		{"a service needs no keys", []string{"comment"}, func(cfg *config.Config) { cluster(cfg); cfg.Token.Keys = "" }, "comment", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			cfg := config.Default()
			row.change(cfg)
			chosen, err := choose(cfg, row.roles)
			if !row.ok {
				if err == nil || !strings.Contains(err.Error(), row.want) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, r := range chosen {
				names = append(names, r.name)
			}
			if got := strings.Join(names, " "); got != row.want {
				t.Errorf("got %s", got)
			}
		})
	}
}

// Everything starts, answers, and stops when asked to; a second start finds the
// key that signed the first one's tokens.
func TestRunEmbedded(t *testing.T) {
	cfg := config.Default()
	cfg.Data.Dir, cfg.HTTP.Listen = t.TempDir(), "127.0.0.1:0"
	quiet := slog.New(slog.DiscardHandler)
	var keys []string
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		var gateway string
		err := Run(ctx, Process{Config: cfg, Log: quiet, Level: new(slog.LevelVar)}, nil, func(parts []Part) {
			for _, p := range parts {
				if p.Role == "gateway" {
					gateway = p.Address
				} else if p.Address == "" && !strings.HasSuffix(p.Role, "-worker") {
					t.Errorf("%s listens nowhere", p.Role)
				}
			}
			response, err := http.Get("http://" + gateway + "/douyin/feed/")
			if err != nil {
				t.Error(err)
			} else {
				response.Body.Close()
			}
			cancel()
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := http.Get("http://" + gateway + "/douyin/feed/"); err == nil {
			t.Error("it still answers")
		}
		path := filepath.Join(cfg.Data.Dir, keyFile)
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the key's file is %v, %v", info.Mode(), err)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, string(content))
	}
	if keys[0] != keys[1] || keys[0] == "" {
		t.Error("the second start made another key")
	}
}

// A role that ends by itself takes the process down, with its reason.
func TestWork(t *testing.T) {
	broken := errors.New("broken")
	failing := work(t.Context(), func(context.Context) error { return broken })
	if err := <-failing.failed; !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	process, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	steady := work(process, func(ctx context.Context) error {
		<-ctx.Done()
		close(stopped)
		return nil
	})
	cancel() // the process's signal is not the worker's
	select {
	case <-stopped:
		t.Error("the worker stopped before its turn")
	default:
	}
	if err := steady.stop(t.Context()); err != nil {
		t.Error(err)
	}
	<-stopped
	stuck := work(t.Context(), func(context.Context) error { <-stopped; select {} })
	brief, end := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer end()
	if err := stuck.stop(brief); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
