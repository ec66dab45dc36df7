package local

import (
	"context"
	"os/exec"
)

// S3 is an S3 service that keeps objects as files (versitygw).
type S3 struct {
	*Server
	// AccessKey and SecretKey are the owner's.
	AccessKey, SecretKey string
}

// StartS3 starts an S3 service without buckets. Its URL is its endpoint.
func StartS3(ctx context.Context, dir string, opts Options) (*S3, error) {
	program, err := Tool(ctx, "versitygw")
	if err != nil {
		return nil, err
	}
	port, err := choose(opts.Port)
	if err != nil {
		return nil, err
	}
	s := &S3{
		Server:    &Server{Name: "s3", Addr: loopback(port), URL: "http://" + loopback(port), Dir: dir, opts: opts},
		AccessKey: "backbeat", SecretKey: "backbeat-secret",
	}
	s.spec = spec{
		commands: func() []*exec.Cmd {
			cmd := s.command(program, append(opts.Args, "--port", s.Addr, "posix", s.data())...)
			cmd.Env = s.environment("ROOT_ACCESS_KEY="+s.AccessKey, "ROOT_SECRET_KEY="+s.SecretKey)
			return []*exec.Cmd{cmd}
		},
		ready: func(ctx context.Context) error { return answers(ctx, s.URL) },
	}
	return s, start(ctx, s.Server)
}
