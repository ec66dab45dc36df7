package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
)

// backbeat runs a command of the program as an operator of this cluster would.
func (w *world) backbeat(ctx context.Context, args ...string) ([]byte, error) {
	var printed, complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, w.program, args...)
	cmd.Env = append(os.Environ(), w.env...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = w.dir, &printed, &complaints
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("backbeat %v: %w: %s", args, err, complaints.String())
	}
	return printed.Bytes(), nil
}
