package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"
)

// eagerName is what -only finds it by.
const eagerName = "eager"

// eager are how many clients ask again at once when they are answered, refused or
// not. So many more than the gateway lets in show what becomes of those who wait.
var eager = []int{many, 64, 256, 1000, 2000}

// eagerWarmFor is how long they ask before it is measured: the gateway finds out by
// and by how many it serves well at once.
const eagerWarmFor = 2 * time.Second

// measureEager measures the mix from ever more eager clients.
func (result *Result) measureEager(ctx context.Context, b *bench) error {
	for _, clients := range eager {
		fmt.Fprintln(os.Stderr, clients, "eager clients")
		if err := b.world.drawLikes(ctx); err != nil {
			return err
		}
		next, err := mixed(b.world)
		if err != nil {
			return err
		}
		l := load{addr: b.world.addr, connections: clients, length: eagerWarmFor, next: next}
		drive(ctx, l) // some are turned away until the gateway knows
		l.length = time.Duration(b.seconds * float64(time.Second))
		row, err := b.load(ctx, row{name: eagerName}, l)
		if err != nil {
			return err
		}
		result.Eager = append(result.Eager, row)
	}
	return nil
}

// served is how many answers a second were good ones.
func (r Row) served() float64 {
	return r.RPS * (1 - ratio(float64(r.Errors), float64(r.Requests)))
}

// printEager writes how many of the answers were good ones.
func printEager(w io.Writer, rows []Row) error {
	fmt.Fprintln(w, "\nmixed, from clients that ask again as soon as they are answered")
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "clients\tserved/s\tturned away\tp50\tp90\tp99\tCPU ms\tgateway MiB\t")
	for _, r := range rows {
		fmt.Fprintf(table, "%d\t%.0f\t%.1f %%\t%.1f\t%.1f\t%.1f\t%.3f\t%d\t\n",
			r.Connections, r.served(), 100*ratio(float64(r.Errors), float64(r.Requests)), r.P50, r.P90, r.P99, r.CPU, r.GatewayMB)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, r := range rows {
		if r.Fault != "" {
			fmt.Fprintf(w, "  %d clients, an error: %s\n", r.Connections, r.Fault)
		}
	}
	return nil
}
