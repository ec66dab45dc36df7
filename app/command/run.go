package command

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"

	"backbeat/app/admin"
	"backbeat/app/boot"
	"backbeat/app/logging"
	"backbeat/app/terminal"
	"backbeat/config"
)

// run starts everything in this process and says where to find it.
func run(ctx context.Context, i invocation) error {
	if len(i.args) > 0 {
		return fmt.Errorf("run takes no arguments; roles are started by their names alone")
	}
	cfg, err := i.load()
	if err != nil {
		return err
	}
	if err := ensureFFmpeg(ctx, cfg.Media, i.errOut); err != nil {
		return err
	}
	return boot.Run(ctx, i.process(cfg), nil, func(parts []boot.Part) {
		welcome(i.out, cfg, parts, terminal.Escapes(i.out, i.environ))
	})
}

// runRoles starts the named roles.
func runRoles(ctx context.Context, i invocation) error {
	cfg, err := i.load()
	if err != nil {
		return err
	}
	process := i.process(cfg)
	return boot.Run(ctx, process, i.args, func(parts []boot.Part) {
		for _, p := range parts {
			process.Log.Info("running", "role", p.Role, "address", p.Address, "pid", os.Getpid())
		}
	})
}

// process returns what a process of this configuration runs by.
func (i invocation) process(cfg *config.Config) boot.Process {
	log, level := logging.New(cfg.Log, i.errOut)
	return boot.Process{Config: cfg, File: i.config, Environ: i.environ, Log: log, Level: level}
}

// newLog returns the log of a command that ends by itself. Such a one prints what it
// does, so the log has only what goes wrong, unless it is to have everything.
func newLog(cfg config.Log, w io.Writer) *slog.Logger {
	log, level := logging.New(cfg, w)
	if level.Level() == slog.LevelInfo {
		level.Set(slog.LevelWarn)
	}
	return log
}

// welcome prints what runs where, what to type into the app and where data lie.
func welcome(w io.Writer, cfg *config.Config, parts []boot.Part, escapes bool) {
	table := terminal.Table{Escapes: escapes}
	table.Title("ROLE", "ADDRESS", "WHAT IT DOES")
	gateway := ""
	for _, p := range parts {
		table.Add(terminal.Cell{Text: p.Role, Style: terminal.Good}, terminal.Cell{Text: cmp.Or(p.Address, "-")}, terminal.Cell{Text: p.Does, Style: terminal.Faint})
		if p.Role == "gateway" {
			gateway = p.Address
		}
	}
	_, _ = table.WriteTo(w) // who closed it does not want to know
	folder, err := filepath.Abs(cfg.Data.Dir)
	if err != nil {
		folder = cfg.Data.Dir
	}
	_, port, _ := net.SplitHostPort(gateway)
	fmt.Fprintf(w, "\nBase address for the app:  %s\nIn a browser:              http://localhost:%s/\nData:                      %s\nStop with Ctrl-C.\n",
		cmp.Or(cfg.HTTP.PublicURL, "http://"+net.JoinHostPort(reachable(gateway), port)), port, folder)
}

// reachable returns the host that a phone on the same network reaches address at.
func reachable(address string) string {
	host, _, _ := net.SplitHostPort(address)
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		return host
	}
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return "localhost"
	}
	found := "localhost"
	for _, a := range interfaces {
		network, ok := a.(*net.IPNet)
		if !ok || network.IP.To4() == nil || !network.IP.IsGlobalUnicast() {
			continue
		}
		if network.IP.IsPrivate() {
			return network.IP.String()
		}
		found = network.IP.String()
	}
	return found
}

// printVersion prints what the Go tool knows of the build.
func printVersion(_ context.Context, i invocation) error {
	build := admin.ReadBuild()
	_, err := fmt.Fprintln(i.out, strings.TrimSpace("backbeat "+build.Version+" "+build.Revision))
	return err
}
