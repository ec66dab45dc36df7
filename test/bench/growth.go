package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Size is what rows cost with so many times the seed's numbers.
type Size struct {
	Times int `json:"times"`
	// Filled is how long `backbeat seed` took, in seconds.
	Filled float64 `json:"filled_s"`
	// Draws are the rows by how users and videos were drawn.
	Draws map[string][]Row `json:"draws"`
}

// draws are how a load can draw users and videos. By Zipf few get most, as the seed
// has it too: a process that holds what was asked lately has most of it. Drawn
// uniformly all get the same, so the more there are, the fewer are asked again.
var draws = []struct {
	name string
	rank func() func(n int) int
	// goal bounds what a row may cost more with more data.
	goal float64
}{
	{"zipf", zipf, 1.3},
	{"uniform", func() func(int) int { return uniform }, 2},
}

// zipf draws as the seed does: one of rank k as often as 1/(k+10)^1.1 says. It is
// for one goroutine.
func zipf() func(n int) int {
	of := map[int]*rand.Zipf{}
	return func(n int) int {
		if of[n] == nil {
			of[n] = rand.NewZipf(rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), 1.1, 10, uint64(n-1))
		}
		return int(of[n].Uint64())
	}
}

// grow measures the rows that more data could make dearer at the seed's size and at
// so many times it, each in a cluster of its own.
func (result *Result) grow(ctx context.Context, times int, only string) error {
	rows := slices.DeleteFunc(choose(only), func(r row) bool { return !r.grows })
	if len(rows) == 0 {
		return fmt.Errorf("no row that more data could make dearer holds %q", only)
	}
	for _, n := range []int{1, times} {
		seed, err := scaled(result.Seed, n)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%d× the data: %s\n", n, strings.Join(seed, " "))
		err = filled(ctx, seed, func(b *bench) error {
			b.seconds = result.Seconds
			size := Size{Times: n, Filled: rounded(b.world.filling.Seconds()), Draws: map[string][]Row{}}
			result.rest(b.idle)
			err := size.measure(ctx, b, rows)
			result.Growth = append(result.Growth, size)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// measure measures each row, by each draw, between the floors of the last one's end
// and its own.
func (size *Size) measure(ctx context.Context, b *bench, rows []row) error {
	before, err := b.floors.measure(ctx, many, floorFor)
	if err != nil {
		return err
	}
	for _, r := range rows {
		for _, draw := range draws {
			fmt.Fprintf(os.Stderr, "%d×, %s: %s\n", size.Times, draw.name, r.name)
			row, err := b.drawn(ctx, r, draw.rank())
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			after, err := b.floors.measure(ctx, many, floorFor)
			if err != nil {
				return err
			}
			row.judge(r, before.mean(after))
			size.Draws[draw.name] = append(size.Draws[draw.name], row)
			before = after
		}
	}
	return nil
}

// drawn measures a row with many connections, its users and videos drawn by rank.
func (b *bench) drawn(ctx context.Context, r row, rank func(n int) int) (Row, error) {
	b.world.rank = rank
	if err := b.world.drawLikes(ctx); err != nil {
		return Row{}, err
	}
	next, err := r.requests(b.world)
	if err != nil {
		return Row{}, err
	}
	return b.warmed(ctx, r, next, many, growthWarmFor)
}

// scaled returns the seed's arguments with so many times their numbers.
func scaled(seed []string, times int) ([]string, error) {
	list := slices.Clone(seed)
	for i := 1; i < len(list); i += 2 {
		if strings.TrimLeft(list[i-1], "-") == "seed" { // chooses who does what
			continue
		}
		n, err := strconv.Atoi(list[i])
		if err != nil {
			return nil, fmt.Errorf("what backbeat seed is told is not a list of names and numbers: %w", err)
		}
		list[i] = strconv.Itoa(n * times)
	}
	return list, nil
}

// printGrowth writes a table for each draw: what a request costs at both sizes.
func (result *Result) printGrowth(w io.Writer) error {
	small, large := result.Growth[0], result.Growth[1]
	fmt.Fprintf(w, "\n%s; seed %s in %.0f s, %d× as much in %.0f s; %d connections\n",
		result.Machine, strings.Join(result.Seed, " "), small.Filled, large.Times, large.Filled, many)
	for _, draw := range draws {
		fmt.Fprintf(w, "\nusers and videos drawn: %s; 1× → %d× the data\n", draw.name, large.Times)
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(table, "request\tCPU ms\t→\trpc floors\t→\tratio\tgoal\t\tours\t→\tmariadb\t→\tredis\t→\trabbitmq\t→\tSQL\t→\tRedis\t→\tRPC\t→\terrors\t→\t")
		for i, a := range small.Draws[draw.name] {
			b := large.Draws[draw.name][i]
			fmt.Fprintf(table, "%s\t%.3f\t%.3f\t%.2f\t%.2f\t%.2f×\t%.1f×\t%s\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%d\t%d\t\n",
				a.Name, a.CPU, b.CPU, a.inFloors(), b.inFloors(), grown(a, b), draw.goal, within(grown(a, b), draw.goal), a.ours(), b.ours(),
				a.By["mariadb"], b.By["mariadb"], a.By["redis"], b.By["redis"], a.By["rabbitmq"], b.By["rabbitmq"],
				a.SQL, b.SQL, a.Redis, b.Redis, a.RPC, b.RPC, a.Errors, b.Errors)
		}
		if err := table.Flush(); err != nil {
			return err
		}
		for i, a := range small.Draws[draw.name] {
			b := large.Draws[draw.name][i]
			fmt.Fprintf(w, "  %s: %s\n", a.Name, shifts(a.By, b.By))
			for _, fault := range []string{a.Fault, b.Fault} {
				if fault != "" {
					fmt.Fprintf(w, "    an error: %s\n", fault)
				}
			}
		}
	}
	return nil
}

// inFloors is the row's cost in rpc floors, so that a slower hour is no growth.
func (r Row) inFloors() float64 { return ratio(r.CPU, r.Floors.RPC) }

// grown is how many times as much b costs as a.
func grown(a, b Row) float64 { return ratio(b.inFloors(), a.inFloors()) }

func within(ratio, goal float64) string {
	if ratio <= goal {
		return "met"
	}
	return "missed"
}

// shifts lists what each process spent before and after, the costliest first.
func shifts(a, b map[string]float64) string {
	names := slices.SortedFunc(maps.Keys(b), func(x, y string) int { return cmp.Compare(b[y], b[x]) })
	var list []string
	for _, name := range names {
		list = append(list, fmt.Sprintf("%s %.3f → %.3f", name, a[name], b[name]))
	}
	return strings.Join(list, ", ")
}
