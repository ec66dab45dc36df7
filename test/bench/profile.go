package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"backbeat/deploy/local"
)

// profile is a CPU profile of a part that is being taken.
type profile struct {
	path string
	// wait returns when it is there.
	wait func() error
}

// startProfile takes one for a while and keeps it at path.
func startProfile(ctx context.Context, part *local.Server, path string, length time.Duration) *profile {
	done := make(chan error, 1)
	go func() { done <- takeProfile(ctx, part.Metrics, path, length) }()
	return &profile{path, sync.OnceValue(func() error { return <-done })}
}

func takeProfile(ctx context.Context, from, path string, length time.Duration) error {
	url := fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", from, max(1, int(length.Seconds())))
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(ask)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("taking a profile: %s: %.200s", response.Status, content)
	}
	return os.WriteFile(path, content, 0o644)
}

// top waits for the profile and returns what took most, a line each.
func (p *profile) top(ctx context.Context) ([]string, error) {
	printed, err := p.print(ctx, "-nodecount=15")
	if err != nil {
		return nil, err
	}
	_, table, _ := strings.Cut(printed, "flat%")
	_, table, _ = strings.Cut(table, "\n")
	return append([]string{"go tool pprof " + p.path}, strings.FieldsFunc(table, func(r rune) bool { return r == '\n' })...), nil
}

func (p *profile) print(ctx context.Context, flags ...string) (string, error) {
	if err := p.wait(); err != nil {
		return "", err
	}
	args := append([]string{"tool", "pprof", "-top", "-unit=ms"}, flags...)
	printed, err := exec.CommandContext(ctx, "go", append(args, p.path)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go tool pprof: %w\n%s", err, printed)
	}
	return string(printed), nil
}
