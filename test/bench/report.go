package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// out is where results and profiles go.
const out = "test/bench/out"

// Result is a run, for machines.
type Result struct {
	// Machine is its processors.
	Machine string `json:"machine"`
	Began   string `json:"began"`
	// Seed is what `backbeat seed` was told, Seconds the length of each load.
	Seed    []string `json:"seed"`
	Seconds float64  `json:"seconds"`
	// Floors are the means of the run.
	Floors Floors `json:"floors"`
	// Idle is what each process spent while nobody asked, in ms of CPU a second, and
	// IdleSQL how many statements came in a second: no row counts them.
	Idle    map[string]float64 `json:"idle"`
	IdleSQL float64            `json:"idle_sql"`
	// Rows are with 32 connections, Few with 4, Crowd with 5,000 that ask 2,000
	// requests a second together.
	Rows  []Row `json:"rows"`
	Few   []Row `json:"few"`
	Crowd []Row `json:"crowd"`
	// Eager are from ever more clients that wait for nothing between two requests. It,
	// Hot and Drains are nil when they were not asked for.
	Eager  []Row   `json:"eager,omitempty"`
	Hot    *Hot    `json:"hot,omitempty"`
	Drains []Drain `json:"drains,omitempty"`
	// Growth are two sizes of the data; then there are no other rows.
	Growth []Size `json:"growth,omitempty"`
}

// Row is what came of one load. CPU is in ms per request.
type Row struct {
	Name        string  `json:"name"`
	Connections int     `json:"connections"`
	Requests    int     `json:"requests"`
	RPS         float64 `json:"rps"`
	P50         float64 `json:"p50_ms"`
	P90         float64 `json:"p90_ms"`
	P99         float64 `json:"p99_ms"`
	// Errors counts answers with a status_code other than 0, no answers, and what
	// was answered and never took effect; Fault is one of them. Degraded answers
	// lacked a part.
	Errors   int    `json:"errors"`
	Fault    string `json:"fault,omitempty"`
	Degraded int    `json:"degraded"`
	// CPU is that of our processes, MariaDB, Redis and RabbitMQ; By is of all there
	// are. Goal is 0 for none.
	CPU  float64            `json:"cpu_ms"`
	Goal float64            `json:"goal_ms"`
	By   map[string]float64 `json:"cpu_by"`
	// SQL, Redis and RPC are statements, commands and calls per request.
	SQL   float64 `json:"sql"`
	Redis float64 `json:"redis"`
	RPC   float64 `json:"rpc"`
	// Floors are those before and after the row.
	Floors Floors `json:"floors"`
	// Others is how many cores everything else on the machine took.
	Others    float64 `json:"others_cores"`
	GatewayMB int     `json:"gateway_mb"`
	// IdleKB is what the gateway's memory grew by for each connection of a crowd that
	// asks nothing, in KiB.
	IdleKB float64 `json:"idle_kb,omitempty"`
	// Profile is taken after the load, nil for none.
	Profile *Profile `json:"profile,omitempty"`
}

// rest says what the idle system does.
func (result *Result) rest(idle interval) {
	result.Idle = map[string]float64{}
	for name, spent := range idle.cpu {
		if spent > 0 {
			result.Idle[name] = rounded(milliseconds(spent) / idle.took.Seconds())
		}
	}
	result.IdleSQL = rounded(float64(idle.counts.sql) / idle.took.Seconds())
}

// fill says what came of a load.
func (r *Row) fill(of row, connections int, t tally, spent account, asked counts) {
	n := float64(max(1, len(t.latencies)))
	r.Name, r.Connections, r.Requests, r.RPS = of.name, connections, len(t.latencies), rounded(n/t.took.Seconds())
	r.P50, r.P90, r.P99 = t.quantile(0.5), t.quantile(0.9), t.quantile(0.99)
	r.Errors, r.Degraded = t.errors, t.degraded
	if t.fault != nil {
		r.Fault = t.fault.Error()
	}
	r.By = map[string]float64{}
	for name, d := range spent {
		if d == 0 {
			continue
		}
		r.By[name] = rounded(milliseconds(d) / n)
		if !apart[name] {
			r.CPU += r.By[name]
		}
	}
	r.CPU = rounded(r.CPU)
	r.SQL, r.Redis, r.RPC = rounded(float64(asked.sql)/n), rounded(float64(asked.redis)/n), rounded(float64(asked.rpc)/n)
}

// blame counts what went wrong in a load of the row's that is not measured.
func (r *Row) blame(t tally) {
	if t.errors > 0 {
		r.Errors += t.errors
		r.Fault = t.fault.Error()
	}
}

// lose counts what was answered and never took effect.
func (r *Row) lose(missing int64) {
	if missing > 0 {
		r.Errors += int(missing)
		r.Fault = fmt.Sprintf("%d that were answered have not taken effect", missing)
	}
}

// rounded leaves four decimals: more would be noise.
func rounded(x float64) float64 { return math.Round(x*1e4) / 1e4 }

// judge sets the row against its floors. The goals are for many connections.
func (r *Row) judge(of row, f Floors) {
	r.Floors = f
	if r.Connections == many {
		r.Goal = rounded(of.goal * f.RPC / goalFloor)
	}
}

// verdict is "met", "missed" by how much, or nothing without a goal.
func (r Row) verdict() string {
	switch {
	case r.Goal == 0:
		return ""
	case r.CPU <= r.Goal:
		return "met"
	default:
		return fmt.Sprintf("missed %.1f×", r.CPU/r.Goal)
	}
}

func (r Row) goal() string {
	if r.Goal == 0 {
		return ""
	}
	return fmt.Sprintf("%.3f", r.Goal)
}

// ours is what our own processes spent.
func (r Row) ours() float64 {
	own := r.CPU
	for _, server := range []string{"mariadb", "redis", "rabbitmq"} {
		own -= r.By[server]
	}
	return own
}

// print writes the tables.
func (result *Result) print(w io.Writer) error {
	fmt.Fprintf(w, "\n%s; floors: prebuilt %.3f ms, rpc %.3f ms (goals are for %.2f)\n",
		result.Machine, result.Floors.Prebuilt, result.Floors.RPC, goalFloor)
	fmt.Fprintf(w, "idle, ms of CPU a second, in no row: %s; %.1f statements a second\n", shares(result.Idle, "%.0f"), result.IdleSQL)
	for _, part := range [][]Row{result.Rows, result.Few, result.Crowd} {
		if len(part) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%d connections\n", part[0].Connections)
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(table, "request\treq/s\tp50\tp90\tp99\terrors\tCPU ms\tgoal\t\tours\tmariadb\tredis\trabbitmq\tSQL\tRedis\tRPC\tprebuilt\trpc floor\tothers\t")
		for _, r := range part {
			fmt.Fprintf(table, "%s\t%.0f\t%.1f\t%.1f\t%.1f\t%d\t%.3f\t%s\t%s\t%.3f\t%.3f\t%.3f\t%.3f\t%.2f\t%.2f\t%.2f\t%.1f×\t%.1f×\t%.2f\t\n",
				r.Name, r.RPS, r.P50, r.P90, r.P99, r.Errors, r.CPU, r.goal(), r.verdict(), r.ours(), r.By["mariadb"], r.By["redis"], r.By["rabbitmq"],
				r.SQL, r.Redis, r.RPC, ratio(r.CPU, r.Floors.Prebuilt), ratio(r.CPU, r.Floors.RPC), r.Others)
		}
		if err := table.Flush(); err != nil {
			return err
		}
		for _, r := range part {
			fmt.Fprintf(w, "  %s: %s\n", r.Name, shares(r.By, "%.3f"))
			if r.IdleKB > 0 {
				fmt.Fprintf(w, "    a silent connection takes %.1f KiB of the gateway, which has %d MiB at the end\n", r.IdleKB, r.GatewayMB)
			}
			if r.Degraded > 0 {
				fmt.Fprintf(w, "    %d of %d lacked a part\n", r.Degraded, r.Requests)
			}
			if r.Fault != "" {
				fmt.Fprintf(w, "    an error: %s\n", r.Fault)
			}
		}
	}
	if len(result.Eager) > 0 {
		if err := printEager(w, result.Eager); err != nil {
			return err
		}
	}
	printProfiles(w, result.Rows)
	if result.Hot != nil {
		if err := result.Hot.print(w); err != nil {
			return err
		}
	}
	if len(result.Drains) == 0 {
		return nil
	}
	return printDrains(w, result.Drains)
}

// printProfiles writes what the process that costs most in a row does most.
func printProfiles(w io.Writer, rows []Row) {
	if len(rows) > 0 {
		fmt.Fprintln(w, "\nwhere the costliest of our processes spends its CPU: by function, and with what ours call")
	}
	for _, r := range rows {
		if r.Profile != nil {
			fmt.Fprintf(w, "  %s: %s, go tool pprof %s\n    %s\n    %s\n",
				r.Name, r.Profile.Role, r.Profile.File, strings.Join(r.Profile.Flat, ", "), strings.Join(r.Profile.Cumulative, ", "))
		}
	}
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// shares lists what is more than a hundredth of all, the largest first.
func shares(by map[string]float64, format string) string {
	all := 0.0
	for _, part := range by {
		all += part
	}
	names := slices.SortedFunc(maps.Keys(by), func(a, b string) int { return cmp.Compare(by[b], by[a]) })
	var list []string
	for _, name := range names {
		if by[name] < all/100 {
			break
		}
		list = append(list, name+" "+fmt.Sprintf(format, by[name]))
	}
	return strings.Join(list, ", ")
}

// keep writes the result to latest.json, and what was there to previous.json.
func (result *Result) keep() error {
	latest := filepath.Join(out, "latest.json")
	if err := os.Rename(latest, filepath.Join(out, "previous.json")); err != nil && !os.IsNotExist(err) {
		return err
	}
	return result.write(latest)
}

// write writes the result to a file.
func (result *Result) write(path string) error {
	written, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(written, '\n'), 0o644)
}

// readResult reads what keep wrote.
func readResult(path string) (result Result, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return result, err
	}
	return result, json.Unmarshal(content, &result)
}

// compare prints two results side by side. Costs are set against the rpc floors of
// their own rows, so that a slower hour is no slower program.
func compare(w io.Writer, a, b Result) error {
	before := map[string]Row{}
	for _, r := range slices.Concat(a.Rows, a.Few) {
		before[fmt.Sprint(r.Name, r.Connections)] = r
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "request\tconnections\tCPU ms\t→\tin floors\t→\tchange\treq/s\t→\tp99\t→\tSQL\t→\tRedis\t→\tRPC\t→\terrors\t→\t")
	for _, r := range slices.Concat(b.Rows, b.Few) {
		old, found := before[fmt.Sprint(r.Name, r.Connections)]
		if !found {
			continue
		}
		was, is := old.inFloors(), r.inFloors()
		fmt.Fprintf(table, "%s\t%d\t%.3f\t%.3f\t%.2f\t%.2f\t%+.0f %%\t%.0f\t%.0f\t%.1f\t%.1f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%d\t%d\t\n",
			r.Name, r.Connections, old.CPU, r.CPU, was, is, 100*(ratio(is, was)-1), old.RPS, r.RPS, old.P99, r.P99,
			old.SQL, r.SQL, old.Redis, r.Redis, old.RPC, r.RPC, old.Errors, r.Errors)
	}
	return table.Flush()
}
