package command

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"backbeat/app/boot"
	"backbeat/app/status"
	"backbeat/app/terminal"
	"backbeat/config"
)

// lookEvery is how often -watch looks.
const lookEvery = time.Second

// showStatus shows what runs and how it is, once or until ctx ends. What is sick is
// told and no error; it is one that there is nothing to look at.
func showStatus(ctx context.Context, i invocation) error {
	flags := flag.NewFlagSet("status", flag.ContinueOnError)
	flags.SetOutput(i.errOut)
	watch := flags.Bool("watch", false, "look again each second, until Ctrl-C")
	if err := flags.Parse(i.args); err != nil || flags.NArg() > 0 {
		return errors.New("see backbeat status -help")
	}
	cfg, err := i.load()
	if err != nil {
		return err
	}
	look, done, err := looker(cfg)
	if err != nil {
		return err
	}
	defer done()
	if *watch {
		return i.watchStatus(ctx, look)
	}
	report := look(ctx)
	if len(report.Instances) == 0 && report.Discovery != nil {
		return fmt.Errorf("etcd, which knows what runs: %w", report.Discovery)
	}
	return writeStatus(i.out, report, time.Now(), terminal.Escapes(i.out, i.environ))
}

// looker returns what looks at the cluster, or at the process that runs everything.
func looker(cfg *config.Config) (look func(context.Context) status.Report, done func(), err error) {
	var order status.Roles
	for _, r := range boot.Roles() {
		order = append(order, r.Role)
	}
	if len(cfg.Etcd.Endpoints) == 0 {
		if cfg.Admin.Listen == "" {
			return nil, nil, errors.New("neither etcd.endpoints nor admin.listen is set, so there is nobody to ask: " +
				"set admin.listen, e.g. BACKBEAT_ADMIN_LISTEN=127.0.0.1:9000, for what runs here and for this command")
		}
		address, err := dialable(cfg.Admin.Listen)
		return func(ctx context.Context) status.Report { return order.Process(ctx, address) }, func() {}, err
	}
	// What the registry would log the report says.
	etcd, closeEtcd, err := boot.OpenDiscovery(cfg, slog.New(slog.DiscardHandler))
	done = func() { _ = closeEtcd() } // it only looked
	if err != nil {
		done()
		return nil, nil, err
	}
	return func(ctx context.Context) status.Report { return order.Cluster(ctx, etcd) }, done, nil
}

// watchStatus looks each second until ctx ends: over what it drew before on a
// terminal, else below it.
func (i invocation) watchStatus(ctx context.Context, look func(context.Context) status.Report) error {
	escapes := terminal.Escapes(i.out, i.environ)
	if escapes {
		fmt.Fprint(i.out, terminal.Clear())
	}
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	for {
		report := look(ctx)
		if ctx.Err() != nil { // whose answers were cut off
			return nil
		}
		var picture strings.Builder
		now := time.Now()
		fmt.Fprintf(&picture, "%s, every %v, Ctrl-C ends it\n\n", now.Format(time.DateTime), lookEvery)
		if err := writeStatus(&picture, report, now, escapes); err != nil {
			return err
		}
		drawn := picture.String() + "\n"
		if escapes {
			drawn = terminal.Redraw(picture.String())
		}
		if _, err := io.WriteString(i.out, drawn); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
	}
}

// writeStatus writes the tables of a report.
func writeStatus(w io.Writer, report status.Report, now time.Time, escapes bool) error {
	if report.Discovery != nil {
		fault := fmt.Sprintf("etcd does not answer, these are the instances known last: %v", report.Discovery)
		fmt.Fprintln(w, terminal.Paint(escapes, terminal.Bad, fault)+"\n")
	}
	instances := terminal.Table{Escapes: escapes}
	instances.Title("ROLE", "ADDRESS", "VERSION", "UP", "HEALTH")
	for _, one := range report.Instances {
		up := "-"
		if !one.Started.IsZero() {
			up = shortly(now.Sub(one.Started))
		}
		instances.Add(terminal.Cell{Text: one.Role}, terminal.Cell{Text: cmp.Or(one.Address, "-")},
			terminal.Cell{Text: cmp.Or(one.Version, "-"), Style: terminal.Faint}, terminal.Cell{Text: up}, healthOf(one))
	}
	if len(report.Instances) == 0 {
		instances.Row("nothing is registered")
	}
	tables := []terminal.Table{instances}
	if len(report.Queues) > 0 {
		queues := terminal.Table{Escapes: escapes}
		queues.Title("QUEUE", "STORE", "WAITING", "DELAYED", "DEAD")
		for _, q := range report.Queues {
			dead := terminal.Cell{Text: strconv.FormatInt(q.Dead, 10)}
			if q.Dead > 0 {
				dead.Style = terminal.Bad
			}
			queues.Add(terminal.Cell{Text: q.Name}, terminal.Cell{Text: q.Store}, terminal.Cell{Text: strconv.FormatInt(q.Waiting, 10)},
				terminal.Cell{Text: strconv.FormatInt(q.Delayed, 10)}, dead)
		}
		tables = append(tables, queues)
	}
	if len(report.Circuits) > 0 {
		circuits := terminal.Table{Escapes: escapes}
		circuits.Title("GATEWAY", "CIRCUITS", "OPEN")
		for _, c := range report.Circuits {
			open := terminal.Cell{Text: "none", Style: terminal.Good}
			if len(c.Open) > 0 {
				open = terminal.Cell{Text: strings.Join(c.Open, ", "), Style: terminal.Bad}
			}
			circuits.Add(terminal.Cell{Text: c.Address}, terminal.Cell{Text: strconv.Itoa(len(c.Open) + len(c.Closed))}, open)
		}
		tables = append(tables, circuits)
	}
	for n, table := range tables {
		if n > 0 {
			fmt.Fprintln(w)
		}
		if _, err := table.WriteTo(w); err != nil {
			return err
		}
	}
	return nil
}

// healthOf says how an instance is: well, working without something, or not.
func healthOf(one status.Instance) terminal.Cell {
	if one.Fault != nil {
		return terminal.Cell{Text: "unknown: " + one.Fault.Error(), Style: terminal.Bad}
	}
	text, style := "ready", terminal.Good
	if len(one.Lacks) > 0 {
		style = terminal.Doubtful
	}
	if !one.Ready {
		text, style = "not ready", terminal.Bad
		if one.State != "serving" {
			text, style = one.State, terminal.Doubtful
		}
	}
	for n, lack := range one.Lacks {
		between := ", without "
		if n > 0 {
			between = "; "
		}
		text += between + lack.Need + ": " + lack.Fault
	}
	return terminal.Cell{Text: text, Style: style}
}

// shortly says how long something has lasted, in its two largest units.
func shortly(d time.Duration) string {
	d = max(0, d)
	day := 24 * time.Hour
	switch {
	case d >= day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	default:
		return fmt.Sprintf("%ds", d/time.Second)
	}
}
