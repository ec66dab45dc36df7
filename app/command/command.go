// Package command is what one can type after `backbeat`: run, a list of roles,
// config, dead, doctor and so on. Each command is a row of the table below.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"backbeat/app/boot"
	"backbeat/app/terminal"
	"backbeat/config"
)

// invocation is one call of a command.
type invocation struct {
	args    []string
	config  string
	environ []string
	out     io.Writer
	errOut  io.Writer
}

// load reads the configuration the invocation names.
func (i invocation) load() (*config.Config, error) { return config.Load(i.config, i.environ) }

// entry is one command.
type entry struct {
	name string
	// usage is what follows the name.
	usage string
	does  string
	run   func(ctx context.Context, i invocation) error
}

func entries() []entry {
	return []entry{
		{"run", "", "everything in this process: SQLite, local files, no servers", run},
		{"ROLE…", "", "one or more roles of a cluster in this process", nil},
		{"config", "check | show | list | get KEY | set KEY VALUE | history KEY | rollback KEY", "look at the configuration, change what is live while everything runs (-h)", configure},
		{"dead", "list | show ID | replay ID…", "look at messages that were given up, put them back", dead},
		{"doctor", "[-fix]", "look for what is wrong: counters, media, uploads, dead letters", examine},
		{"user", "show NAME | log-out NAME | reset-password NAME", "look at an account, end its sessions, give it another password", account},
		{"video", "show ID | hide ID | unhide ID | reprocess ID", "look at a video, take it off, send its lost job again", moderate},
		{"status", "[-watch]", "show what runs: instances, how they are, queues, circuits", showStatus},
		{"demo", "[-url BASE] [-users N] [-clips N]", "fill a running instance with people and clips", fill},
		{"health", "[live | ready]", "ask the process that runs here how it is (admin.listen), for container engines", health},
		{"migrate", "up | status", "bring the database's tables up to date, or tell how far they are", migrate},
		{"seed", "[-users N] [-videos N] [-likes N] …", "fill an empty database in bulk, for load tests", seedDatabase},
		{"snapshot", "FILE", "copy a SQLite database while everything runs", snapshot},
		{"version", "", "print the version", printVersion},
	}
}

// Execute runs the command that args name, until it is done or ctx ends.
func Execute(ctx context.Context, args, environ []string, out, errOut io.Writer) error {
	flags := flag.NewFlagSet("backbeat", flag.ContinueOnError)
	flags.SetOutput(errOut)
	flags.Usage = func() { usage(errOut) }
	path := flags.String("config", os.Getenv(config.FileVariable), "YAML file")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return fmt.Errorf("see backbeat -help")
	}
	call := invocation{args: flags.Args(), config: *path, environ: environ, out: out, errOut: errOut}
	if len(call.args) == 0 || call.args[0] == "help" {
		usage(out)
		return nil
	}
	if areRoles(call.args) { // some roles have the names of commands, whose arguments are none
		return runRoles(ctx, call)
	}
	for _, e := range entries() {
		if e.name == call.args[0] {
			call.args = call.args[1:]
			return e.run(ctx, call)
		}
	}
	return runRoles(ctx, call)
}

func areRoles(names []string) bool {
	roles := boot.Roles()
	for _, name := range names {
		if !slices.ContainsFunc(roles, func(r boot.Part) bool { return r.Role == name }) {
			return false
		}
	}
	return true
}

func usage(w io.Writer) {
	fmt.Fprint(w, "backbeat [-config FILE] COMMAND\n\ncommands:\n")
	table := terminal.Table{Indent: "  "}
	for _, e := range entries() {
		table.Row(strings.TrimSpace(e.name+" "+e.usage), e.does)
	}
	_, _ = table.WriteTo(w) // a help text that can't be printed has nobody to tell
	fmt.Fprint(w, "\nroles:\n")
	table = terminal.Table{Indent: "  "}
	for _, r := range boot.Roles() {
		table.Row(r.Role, r.Does)
	}
	_, _ = table.WriteTo(w)
}
