package local

import (
	"context"
	"os/exec"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// StartRedis starts a Redis that keeps every acknowledged write through a kill
// of its process (append-only file). Its URL is its address.
func StartRedis(ctx context.Context, dir string, opts Options) (*Server, error) {
	program, err := find("redis-server", "redis-server")
	if err != nil {
		return nil, err
	}
	port, err := choose(opts.Port)
	if err != nil {
		return nil, err
	}
	s := &Server{Name: "redis", Addr: loopback(port), URL: loopback(port), Dir: dir, opts: opts}
	s.spec = spec{
		commands: func() []*exec.Cmd {
			args := []string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", s.data(), "--save", "", "--appendonly", "yes"}
			return []*exec.Cmd{s.command(program, append(args, opts.Args...)...)}
		},
		ready: func(ctx context.Context) error {
			client := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1})
			defer client.Close()
			return client.Ping(ctx).Err()
		},
	}
	return s, start(ctx, s)
}
