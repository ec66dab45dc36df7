package local

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
)

// environment is all that a server sees of ours: variables of the user's shell
// (RABBITMQ_…, ETCD_…, PG…) must not change it.
func (s *Server) environment(more ...string) []string {
	return append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=" + s.data()}, more...)
}

// command is a program of the server, run in its data folder.
func (s *Server) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = s.data()
	cmd.Env = s.environment()
	return cmd
}

// run runs a command to its end; its output is part of the error.
func run(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd.Path, err, out)
	}
	return nil
}

// answers asks url and accepts any answer below 500.
func answers(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Close = true // no idle connection may outlive the question
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("%s answered %s", url, response.Status)
	}
	return nil
}
