package local

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os/exec"
	"strconv"
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
		ready: func(ctx context.Context) error { return pingRedis(ctx, s.Addr) },
	}
	return s, start(ctx, s)
}

// pingRedis speaks for itself: a client library would log every attempt.
func pingRedis(ctx context.Context, addr string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && answer != "+PONG\r\n" {
		err = fmt.Errorf("it answered %q", answer) // -LOADING, for one
	}
	return err
}
