package local

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// StartNginx starts nginx with the configuration of deploy/nginx.conf in front of
// the gateway at host:port; only addresses and the folder it writes to are other
// ones. Its URL is what one types into the app. The working directory must be
// inside the repository.
func StartNginx(ctx context.Context, dir, gateway string, opts Options) (*Server, error) {
	program, err := find("nginx", "nginx")
	if err != nil {
		return nil, err
	}
	port, err := choose(opts.Port)
	if err != nil {
		return nil, err
	}
	root, err := repository(ctx)
	if err != nil {
		return nil, err
	}
	shipped, err := os.ReadFile(filepath.Join(root, "deploy", "nginx.conf"))
	if err != nil {
		return nil, err
	}
	s := &Server{Name: "nginx", Addr: loopback(port), URL: "http://" + loopback(port), Dir: dir, opts: opts}
	s.spec = spec{
		configure: func() error {
			conf := string(shipped)
			for _, change := range []struct{ from, to string }{
				{"listen 8080 ", "listen " + s.Addr + " "},
				{"server gateway:8080 ", "server " + gateway + " "},
				{" /tmp/", " " + s.data() + "/"},
			} {
				if !strings.Contains(conf, change.from) {
					return fmt.Errorf("deploy/nginx.conf lacks %q", change.from)
				}
				conf = strings.ReplaceAll(conf, change.from, change.to)
			}
			return os.WriteFile(s.path("nginx.conf"), []byte(conf), 0o644)
		},
		commands: func() []*exec.Cmd {
			// Without a master there is no worker that could outlive it.
			args := []string{"-p", s.data(), "-e", "stderr", "-c", s.path("nginx.conf"), "-g", "daemon off; master_process off;"}
			return []*exec.Cmd{s.command(program, append(args, opts.Args...)...)}
		},
		ready: func(ctx context.Context) error { return answers(ctx, s.URL+"/-/healthy") },
	}
	return s, start(ctx, s)
}
