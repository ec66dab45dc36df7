package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	// profileFor is how long a profile is of. Taking one costs CPU too, so it has a
	// load of its own after those that are measured.
	profileFor = 4 * time.Second
	// topMost is how many functions are told of.
	topMost = 5
)

// Profile is what a process did with its CPU while it answered a row's requests.
type Profile struct {
	Role string `json:"role"`
	// File is for `go tool pprof`.
	File string `json:"file"`
	// Flat are the functions that took most themselves, Cumulative those of our own
	// that took most with what they called. Each ends with its share.
	Flat       []string `json:"flat"`
	Cumulative []string `json:"cumulative"`
}

// profiled drives the row again, for a profile of the role that is asked for, or
// of that process of ours which costs most in it. It returns what came of that load
// beside it.
func (b *bench) profiled(ctx context.Context, r row, next source, by map[string]float64) (taken Profile, came tally, missing int64, err error) {
	taken.Role = b.profile
	if taken.Role == "" {
		taken.Role = b.costliest(by)
	}
	taken.File = filepath.Join(out, file(r.name)+"-"+taken.Role+".pprof")
	done := make(chan error, 1)
	go func() { done <- takeProfile(ctx, b.part(taken.Role).Metrics, taken.File, profileFor) }()
	came = drive(ctx, load{addr: b.world.addr, connections: many, length: profileFor, next: limited(next, r.most)})
	missing, err = b.world.settle(ctx)
	if err := errors.Join(err, <-done); err != nil {
		return taken, came, missing, err
	}
	if taken.Flat, err = top(ctx, taken.File, "", "-flat"); err != nil {
		return taken, came, missing, err
	}
	taken.Cumulative, err = top(ctx, taken.File, ours, "-cum")
	return taken, came, missing, err
}

// costliest returns the role whose process spent most.
func (b *bench) costliest(by map[string]float64) string {
	names := slices.SortedFunc(maps.Keys(by), func(x, y string) int { return cmp.Compare(by[y], by[x]) })
	for _, name := range names {
		if b.part(name) != nil {
			return name
		}
	}
	return "gateway"
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

// ours is what the names of our own functions begin with.
const ours = "backbeat/"

// top returns the functions of a profile whose names begin with a prefix, the first
// of them in the order of a flag of pprof's.
func top(ctx context.Context, path, prefix, by string) ([]string, error) {
	printed, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", by, "-nodecount=1000", path).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("go tool pprof: %w\n%s", err, printed)
	}
	return functions(string(printed), prefix, by == "-cum"), nil
}

// typeArguments are those of a generic function, too long to read.
var typeArguments = regexp.MustCompile(`\[go\.shape.*\]`)

// functions reads them from the lines of pprof's table: flat, flat%, sum%, cum,
// cum%, name.
func functions(table, prefix string, cumulative bool) (list []string) {
	const flat, cum, name = 1, 4, 5
	share := flat
	if cumulative {
		share = cum
	}
	_, table, _ = strings.Cut(table, "flat%")
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) <= name || !strings.HasSuffix(fields[cum], "%") || !strings.HasPrefix(fields[name], prefix) {
			continue
		}
		called := typeArguments.ReplaceAllString(strings.Join(fields[name:], " "), "[…]")
		called = strings.TrimSuffix(strings.TrimPrefix(called, ours), " (inline)")
		list = append(list, called+" "+fields[share])
		if len(list) == topMost {
			break
		}
	}
	return list
}
