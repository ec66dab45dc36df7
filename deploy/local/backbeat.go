package local

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
)

// StartBackbeat starts the program backbeat with the given roles, and env over
// the bare environment of every server. Name tells instances apart. It is ready
// when it says so in its log, and shows its metrics and profiles at Metrics.
func StartBackbeat(ctx context.Context, dir, name, program string, roles, env []string, opts Options) (*Server, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	s := &Server{Name: name, Dir: dir, Metrics: "http://" + loopback(port), opts: opts}
	var from int64 // where the log of this start begins
	s.spec = spec{
		commands: func() []*exec.Cmd {
			from = 0
			if log, err := os.Stat(s.path("log")); err == nil {
				from = log.Size()
			}
			cmd := s.command(program, append(roles, opts.Args...)...)
			cmd.Env = s.environment(append([]string{"BACKBEAT_LOG_FORMAT=json", "BACKBEAT_ADMIN_LISTEN=" + loopback(port)}, env...)...)
			return []*exec.Cmd{cmd}
		},
		ready: func(context.Context) (err error) {
			s.Addr, err = running(s.path("log"), from)
			return err
		},
	}
	return s, start(ctx, s)
}

var runningLine = regexp.MustCompile(`"msg":"running".*"address":"([^"]*)"`)

// running looks for the line that says so in the log from an offset on, and
// returns where the role listens; "" for a worker.
func running(path string, from int64) (address string, err error) {
	log, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer log.Close()
	printed, err := io.ReadAll(io.NewSectionReader(log, from, 1<<20))
	if err != nil {
		return "", err
	}
	found := runningLine.FindSubmatch(printed)
	if found == nil {
		return "", errors.New("it does not say yet that it runs")
	}
	return string(found[1]), nil
}

// StartEmbedded starts the program backbeat as `run` does, on a port of loopback.
// Its URL is what one types into the app.
func StartEmbedded(ctx context.Context, dir, program string, env []string, opts Options) (*Server, error) {
	port, err := choose(opts.Port)
	if err != nil {
		return nil, err
	}
	s := &Server{Name: "embedded", Addr: loopback(port), URL: "http://" + loopback(port), Dir: dir, opts: opts}
	s.spec = spec{
		commands: func() []*exec.Cmd {
			cmd := s.command(program, append([]string{"run"}, opts.Args...)...)
			cmd.Env = s.environment(append([]string{"BACKBEAT_HTTP_LISTEN=" + s.Addr, "BACKBEAT_DATA_DIR=" + s.data()}, env...)...)
			return []*exec.Cmd{cmd}
		},
		ready: func(ctx context.Context) error { return answers(ctx, s.URL+"/douyin/feed/") },
	}
	return s, start(ctx, s)
}
