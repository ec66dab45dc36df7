package local

import (
	"context"
	"os/exec"
)

// StartEtcd starts an etcd of one member. Its URL is its address.
func StartEtcd(ctx context.Context, dir string, opts Options) (*Server, error) {
	program, err := find("etcd", "etcd-server")
	if err != nil {
		return nil, err
	}
	port, err := choose(opts.Port)
	if err != nil {
		return nil, err
	}
	peerPort, err := FreePort()
	if err != nil {
		return nil, err
	}
	client, peer := "http://"+loopback(port), "http://"+loopback(peerPort)
	s := &Server{Name: "etcd", Addr: loopback(port), URL: loopback(port), Metrics: client, Dir: dir, opts: opts}
	s.spec = spec{
		commands: func() []*exec.Cmd {
			args := []string{"--name", "backbeat", "--data-dir", s.data(),
				"--listen-client-urls", client, "--advertise-client-urls", client,
				"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "backbeat=" + peer}
			return []*exec.Cmd{s.command(program, append(args, opts.Args...)...)}
		},
		ready: func(ctx context.Context) error { return answers(ctx, client+"/health") },
	}
	return s, start(ctx, s)
}
