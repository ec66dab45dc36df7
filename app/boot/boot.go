// Package boot turns a configuration into running parts. The table in roles.go
// is the architecture: which roles there are, what each needs and how it starts.
// Roles start in the table's order and stop in reverse, so the gateway is the
// last to open and the first to close.
//
// One process may run any set of roles. All of them in one process, on SQLite and
// the memory registry, is the embedded mode; nothing here asks which mode it is.
package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"backbeat/app/admin"
	"backbeat/app/trace"
	"backbeat/config"
)

// stopTimeout bounds how long one role may take to drain, beyond what HTTP
// requests in progress are given.
const stopTimeout = 20 * time.Second

// Grace is how long a process of one role may take from SIGTERM to its end. What
// starts it, an init system or a container engine, must not kill it earlier.
func Grace(cfg *config.Config) time.Duration { return stopTimeout + cfg.HTTP.Drain }

// gcPercent lets the heap grow to five times what is in use, a few dozen MiB, before
// it is collected: that saves 7 % of a request. GOGC and GOMEMLIMIT go before it.
const gcPercent = 400

// Part is a role that runs.
type Part struct {
	Role string
	Does string
	// Address is where it listens; empty for a worker.
	Address string
}

// part is what a role's start returns.
type part struct {
	name    string
	address string
	// stop drains the role: it returns when nothing of it runs any more, or with
	// an error when ctx ended first.
	stop func(ctx context.Context) error
	// failed reports that the role ended by itself; nil for one that can't.
	failed <-chan error
}

// Process is what a process runs by.
type Process struct {
	Config *config.Config
	// File and Environ are what Load took Config from. Without etcd the file is
	// watched for changes of live keys; empty is none.
	File    string
	Environ []string
	Log     *slog.Logger
	// Level is that of Log, which whoever operates the process may change.
	Level *slog.LevelVar
}

// Run starts the roles, calls ready with what runs where, and drains them all
// when ctx ends or one of them fails. It returns nil after a clean stop.
func Run(ctx context.Context, process Process, names []string, ready func([]Part)) (err error) {
	cfg, log := process.Config, process.Log
	chosen, err := choose(cfg, names)
	if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	shared := newResources(cfg, log)
	defer func() { err = errors.Join(err, shared.close()) }()

	readiness := admin.NewReadiness()
	readiness.Measure(shared.metricsOf(sharedRole))
	var running []part
	var started []Part
	failed := make(chan error, len(chosen)+2)
	run := func(p part) {
		running = append(running, p)
		if p.failed == nil {
			return
		}
		go func() {
			if err := <-p.failed; err != nil {
				failed <- fmt.Errorf("%s: %w", p.name, err)
			}
		}()
	}
	defer func() {
		// Not ctx: it has ended, and draining needs its own time.
		for _, p := range slices.Backward(running) {
			stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), Grace(cfg))
			if stopErr := p.stop(stopping); stopErr != nil {
				err = errors.Join(err, fmt.Errorf("stopping %s: %w", p.name, stopErr))
			}
			cancel()
			log.Debug("stopped", "role", p.name)
		}
	}()
	watching, err := startLive(ctx, process, shared)
	if err != nil {
		return err
	}
	run(watching)
	if cfg.Admin.Listen != "" {
		p, err := startAdmin(ctx, shared, readiness, process.Level)
		if err != nil {
			return err
		}
		run(p)
	}
	for _, r := range chosen {
		p, err := startRole(ctx, r, shared)
		if err != nil {
			return fmt.Errorf("starting %s: %w", r.name, err)
		}
		run(p)
		readiness.Add(r.name, p.address, shared.checks.dependencies(r))
		started = append(started, Part{Role: r.name, Does: r.does, Address: p.address})
		log.Debug("started", "role", r.name, "address", p.address)
	}
	readiness.Serve()
	defer readiness.Stop()
	ready(started)
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// startRole gives the role a tracer and a log of its own name, opens what it needs
// and starts it.
func startRole(ctx context.Context, r role, shared *resources) (part, error) {
	log := shared.log.With("role", r.name)
	tracer, err := trace.New(shared.cfg.Jaeger, r.name, log)
	if err != nil {
		return part{}, err
	}
	shared.closeLast(tracer.Close)
	if err := shared.live.Follow(func(cfg *config.Config) error { return tracer.Sample(cfg.Jaeger) }); err != nil {
		return part{}, err
	}
	s := &site{resources: shared, name: r.name, tracer: tracer, log: log}
	for _, n := range r.needs {
		if err := n.open(s); err != nil {
			return part{}, err
		}
	}
	p, err := r.start(ctx, s)
	p.name = r.name
	return p, err
}

// startAdmin opens the port for those who operate the process. It is no role: every
// process may have one.
func startAdmin(ctx context.Context, shared *resources, ready *admin.Readiness, level *slog.LevelVar) (part, error) {
	listener, err := net.Listen("tcp", shared.cfg.Admin.Listen)
	if err != nil {
		return part{}, fmt.Errorf("admin.listen: %w", err)
	}
	p := work(ctx, func(ctx context.Context) error {
		return admin.Serve(ctx, listener, admin.Handler(shared.metrics, ready, level), shared.log)
	})
	p.name, p.address = "admin", listener.Addr().String()
	shared.adminAddress = shared.reachedAt(p.address)
	shared.log.Info("metrics and profiles", "address", p.address)
	return p, nil
}

// Check returns every reason why this configuration can't run the named roles, all
// of them for no name. It starts nothing and asks no server.
func Check(cfg *config.Config, names ...string) error {
	_, err := choose(cfg, names)
	return err
}

// choose returns the named roles in the table's order, all of them for no name,
// or every reason why this configuration can't run them.
func choose(cfg *config.Config, names []string) ([]role, error) {
	var chosen []role
	var faults []error
	for _, name := range names {
		if !slices.ContainsFunc(roles, func(r role) bool { return r.name == name }) {
			faults = append(faults, fmt.Errorf("there is no role %q", name))
		}
	}
	for _, r := range roles {
		if len(names) == 0 || slices.Contains(names, r.name) {
			chosen = append(chosen, r)
		}
	}
	if len(chosen) < len(roles) {
		for _, r := range chosen {
			for _, n := range r.needs {
				if fault := n.missing(cfg); fault != "" {
					faults = append(faults, fmt.Errorf("role %s runs apart from others: %s", r.name, fault))
				}
			}
		}
	}
	return chosen, errors.Join(faults...)
}

// Roles returns every role there is, with what it does, in the order they start.
func Roles() []Part {
	all := make([]Part, len(roles))
	for i, r := range roles {
		all[i] = Part{Role: r.name, Does: r.does}
	}
	return all
}
