package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"backbeat/deploy/local"
)

func main() {
	if err := command(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func command(args []string) error {
	switch {
	case len(args) > 0 && args[0] == "floor":
		return runFloor(args[1:])
	case len(args) == 3 && args[0] == "compare":
		a, err := readResult(args[1])
		b, more := readResult(args[2])
		if err := errors.Join(err, more); err != nil {
			return err
		}
		return compare(os.Stdout, a, b)
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := flags.String("only", "", "measure the rows whose names hold this")
	seconds := flags.Float64("seconds", 4, "length of each load")
	seed := flags.String("seed", "-users 1000 -videos 200 -likes 100000 -comments 20000 -follows 20000 -messages 20000", "what backbeat seed is told")
	role := flags.String("profile", "", "take the CPU profiles of this role, such as gateway, and not of each row's costliest")
	times := flags.Int("growth", 0, "measure the seed's numbers, and so many times them")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return errors.New("usage: bench [flags], or bench compare OLD.json NEW.json")
	}
	if *times < 0 || *times == 1 {
		return fmt.Errorf("%d times the data is no growth", *times)
	}
	if len(choose(*only)) == 0 && !slices.ContainsFunc([]string{crowdName, eagerName, hotName, shardsName}, func(name string) bool { return strings.Contains(name, *only) }) {
		return fmt.Errorf("no row holds %q", *only)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	result := &Result{
		Machine: fmt.Sprintf("%d × %s", runtime.NumCPU(), processor()), Began: time.Now().UTC().Format(time.RFC3339),
		Seed: strings.Fields(*seed), Seconds: *seconds,
	}
	if err := prepare(ctx); err != nil {
		return err
	}
	if *times > 0 {
		if err := result.grow(ctx, *times, *only); err != nil {
			return err
		}
		return errors.Join(result.printGrowth(os.Stdout), result.write(filepath.Join(out, "growth.json")))
	}
	if err := result.run(ctx, *only, *role); err != nil {
		return errors.Join(err, result.print(os.Stdout)) // what was measured before it failed
	}
	return errors.Join(result.print(os.Stdout), result.keep())
}

func choose(only string) (chosen []row) {
	for _, r := range rows() {
		if strings.Contains(r.name, only) {
			chosen = append(chosen, r)
		}
	}
	return chosen
}

// prepare makes sure of what every bench needs.
func prepare(ctx context.Context) error {
	if err := local.Install(ctx, local.ClusterPackages...); err != nil {
		return err
	}
	return os.MkdirAll(out, 0o755)
}

// run measures the rows.
func (result *Result) run(ctx context.Context, only, profile string) error {
	return filled(ctx, result.Seed, func(b *bench) error {
		b.seconds, b.profile = result.Seconds, profile
		if profile != "" && b.part(profile) == nil {
			return fmt.Errorf("there is no role %q to profile", profile)
		}
		result.rest(b.idle)
		return result.measure(ctx, b, only)
	})
}

// filled starts everything, fills it with what seed makes of its arguments, and
// calls do before it is taken away.
func filled(ctx context.Context, seed []string, do func(*bench) error) (err error) {
	fmt.Fprintln(os.Stderr, "starting and filling a cluster")
	w, err := newWorld(ctx, seed)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	b := &bench{world: w, counters: counters{w.store, w.redis, w.cluster.Part("gateway-1")}}
	if b.floors, err = startFloors(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.floors.close()) }()
	if err := b.rest(ctx); err != nil {
		return err
	}
	return do(b)
}

// measure measures each row whose name holds only, between the floors of the last
// row's end and its own.
func (result *Result) measure(ctx context.Context, b *bench, only string) error {
	chosen := choose(only)
	before, err := b.floors.measure(ctx, many, floorFor)
	if err != nil {
		return err
	}
	for i, r := range chosen {
		fmt.Fprintf(os.Stderr, "%d of %d: %s\n", i+1, len(chosen), r.name)
		crowd, handful, err := b.measure(ctx, r)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		after, err := b.floors.measure(ctx, many, floorFor)
		if err != nil {
			return err
		}
		around := before.mean(after)
		crowd.judge(r, around)
		handful.judge(r, around)
		result.Rows, result.Few = append(result.Rows, crowd), append(result.Few, handful)
		result.Floors.Prebuilt += around.Prebuilt / float64(len(chosen))
		result.Floors.RPC += around.RPC / float64(len(chosen))
		before = after
	}
	if strings.Contains(crowdName, only) {
		if err := result.measureCrowd(ctx, b, before); err != nil {
			return fmt.Errorf("a crowd of %d: %w", phones, err)
		}
	}
	if strings.Contains(eagerName, only) {
		if err := result.measureEager(ctx, b); err != nil {
			return fmt.Errorf("eager clients: %w", err)
		}
	}
	if len(chosen) == 0 {
		result.Floors = before
	}
	return result.measureLikes(ctx, b, only)
}

// measureCrowd measures it between the floors before and those after.
func (result *Result) measureCrowd(ctx context.Context, b *bench, before Floors) error {
	fmt.Fprintln(os.Stderr, "a crowd of", phones)
	crowd, err := b.crowd(ctx)
	if err != nil {
		return err
	}
	after, err := b.floors.measure(ctx, many, floorFor)
	if err != nil {
		return err
	}
	crowd.judge(row{}, before.mean(after))
	result.Crowd = []Row{crowd}
	return nil
}

// measureLikes measures what happens when everybody likes the same, and queues that
// share the work.
func (result *Result) measureLikes(ctx context.Context, b *bench, only string) error {
	hot, shards := strings.Contains(hotName, only), strings.Contains(shardsName, only)
	if !hot && !shards {
		return nil
	}
	fmt.Fprintln(os.Stderr, "gathering", fanCount, "fans")
	f, err := gather(ctx, b.world)
	if err != nil {
		return fmt.Errorf("gathering fans: %w", err)
	}
	if hot {
		fmt.Fprintln(os.Stderr, hotName)
		if result.Hot, err = b.hot(ctx, f); err != nil {
			return fmt.Errorf("%s: %w", hotName, err)
		}
	}
	if shards {
		fmt.Fprintln(os.Stderr, shardsName)
		if result.Drains, err = b.shards(ctx, f); err != nil {
			return fmt.Errorf("%s: %w", shardsName, err)
		}
	}
	return nil
}

// processor is the machine's, as Linux calls it.
func processor() string {
	content, _ := os.ReadFile("/proc/cpuinfo") // not everywhere is one
	_, name, _ := strings.Cut(string(content), "model name\t: ")
	name, _, _ = strings.Cut(name, "\n")
	return name
}
