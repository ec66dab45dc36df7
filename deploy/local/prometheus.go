package local

import (
	"context"
	"os/exec"
)

// StartPrometheus starts a Prometheus with the configuration in the file config,
// whose rules lie where that says. Its URL is the API and the page.
func StartPrometheus(ctx context.Context, dir, config string, opts Options) (*Server, error) {
	program, err := find("prometheus", "prometheus")
	if err != nil {
		return nil, err
	}
	port, err := choose(opts.Port)
	if err != nil {
		return nil, err
	}
	s := &Server{Name: "prometheus", Addr: loopback(port), URL: "http://" + loopback(port), Metrics: "http://" + loopback(port), Dir: dir, opts: opts}
	s.spec = spec{
		commands: func() []*exec.Cmd {
			args := []string{"--config.file=" + config, "--storage.tsdb.path=" + s.data(), "--web.listen-address=" + s.Addr,
				"--enable-feature=exemplar-storage"}
			return []*exec.Cmd{s.command(program, append(args, opts.Args...)...)}
		},
		ready: func(ctx context.Context) error { return answers(ctx, s.URL+"/-/ready") },
	}
	return s, start(ctx, s)
}
