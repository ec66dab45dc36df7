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
	"runtime/debug"
	"text/tabwriter"

	"backbeat/app/boot"
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
	log := newLog(cfg.Log, i.errOut)
	return boot.Run(ctx, cfg, nil, log, func(parts []boot.Part) { welcome(i.out, cfg, parts) })
}

// runRoles starts the named roles.
func runRoles(ctx context.Context, i invocation) error {
	cfg, err := i.load()
	if err != nil {
		return err
	}
	log := newLog(cfg.Log, i.errOut)
	return boot.Run(ctx, cfg, i.args, log, func(parts []boot.Part) {
		for _, p := range parts {
			log.Info("running", "role", p.Role, "address", p.Address, "pid", os.Getpid())
		}
	})
}

// newLog returns the process's log: text for a person, JSON for a machine.
func newLog(cfg config.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		level = slog.LevelInfo // validated before; a log is needed all the same
	}
	options := &slog.HandlerOptions{Level: level}
	if cfg.Format == "text" || cfg.Format == "" && isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// welcome prints what runs where, what to type into the app and where data lie.
func welcome(w io.Writer, cfg *config.Config, parts []boot.Part) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ROLE\tADDRESS\tWHAT IT DOES")
	gateway := ""
	for _, p := range parts {
		fmt.Fprintf(table, "%s\t%s\t%s\n", p.Role, cmp.Or(p.Address, "-"), p.Does)
		if p.Role == "gateway" {
			gateway = p.Address
		}
	}
	_ = table.Flush()
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
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				version += " " + setting.Value
			}
		}
	}
	_, err := fmt.Fprintln(i.out, "backbeat", version)
	return err
}
