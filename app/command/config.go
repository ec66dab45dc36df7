package command

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"text/tabwriter"
	"time"

	"backbeat/app/boot"
	"backbeat/app/live"
	"backbeat/config"
)

const configHelp = `backbeat config VERB

  check                      report all faults of the file and the variables
  show                       print them as one file, secrets masked
  list                       every key: what is in force, the default, whether it is
                             live, and where it is from
  get KEY                    the value in force, alone
  set KEY VALUE              change a live key everywhere, within a second
  history KEY                who changed it when, from what, to what
  rollback KEY [REVISION]    back to what it was before the latest change, or to what a
                             revision of its history made it; 0 is what the file says

flags of set and rollback:
  -by NAME         who is changing it, for the history (USER@HOST)
  -after REVISION  of set: only if that is the latest change, 0 for none; else nothing
                   is stored

Without etcd live keys change by an edit of the file, which the process reads again. A
value that is unsound is refused and nothing stored: the exit code is 1. The history
keeps a hundred changes of a key, each with the clock of who made it.

Too many requests from one office?   backbeat config set limits.address_rate 5000
The database is at its limit?        backbeat config set cache.counts 5s
A service is slow, not dead?         backbeat config set rpc.read_budget 500ms
A flood of new accounts?             backbeat config set features.registration false
What is it doing there?              backbeat config set log.level debug
That made it worse?                  backbeat config rollback log.level
Who was that?                        backbeat config history log.level

If etcd loses its data, processes that run keep their values, and those that start
have the file's: set the keys again.
`

// configure looks at the configuration and changes its live keys.
func configure(ctx context.Context, i invocation) error {
	usage := errors.New("config takes one of: check, show, list, get, set, history, rollback; see backbeat config -h")
	if len(i.args) == 0 {
		return usage
	}
	verb := i.args[0]
	i.args = i.args[1:]
	switch verb {
	case "-h", "-help", "--help", "help":
		_, err := fmt.Fprint(i.out, configHelp)
		return err
	case "check", "show":
		if len(i.args) > 0 {
			return usage
		}
		return i.printConfig(verb)
	}
	flags := flag.NewFlagSet("config "+verb, flag.ContinueOnError)
	flags.SetOutput(i.errOut)
	by := flags.String("by", "", "")
	after := flags.Int64("after", live.AnyRevision, "")
	flags.Usage = func() { fmt.Fprint(i.errOut, configHelp) }
	if err := flags.Parse(i.args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return usage
	}
	cfg, err := i.load()
	if err != nil {
		return err
	}
	s := settings{invocation: i, cfg: cfg, by: cmp.Or(*by, operator())}
	args := flags.Args()
	switch {
	case verb == "list" && len(args) == 0:
		return s.open(func(store *live.Store) error { return s.list(ctx, store) })
	case verb == "get" && len(args) == 1:
		return s.open(func(store *live.Store) error { return s.get(ctx, store, args[0]) })
	case verb == "set" && len(args) == 2:
		return s.openSet(args[0], func(store *live.Store) error { return s.set(ctx, store, args[0], args[1], *after) })
	case verb == "history" && len(args) == 1:
		return s.openSet(args[0], func(store *live.Store) error { return s.history(ctx, store, args[0]) })
	case verb == "rollback" && (len(args) == 1 || len(args) == 2):
		return s.openSet(args[0], func(store *live.Store) error { return s.rollback(ctx, store, args) })
	default:
		return usage
	}
}

// printConfig checks or shows the file and the variables, without asking any server.
func (i invocation) printConfig(verb string) error {
	cfg, err := i.load()
	if err != nil {
		return err
	}
	if verb == "check" {
		_, err = fmt.Fprintln(i.out, "the configuration is sound")
		return err
	}
	shown, err := cfg.Show()
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(i.out, shown)
	return err
}

// operator returns who runs this command, as USER@HOST.
func operator() string {
	name, host := "unknown", "unknown"
	if who, err := user.Current(); err == nil {
		name = who.Username
	}
	if known, err := os.Hostname(); err == nil {
		host = known
	}
	return name + "@" + host
}

// settings are what the commands on live keys have in common.
type settings struct {
	invocation
	cfg *config.Config
	by  string
}

// open runs do on the store, nil where the configuration names no etcd.
func (s settings) open(do func(*live.Store) error) (err error) {
	store, closeStore, err := boot.OpenSettings(s.cfg, newLog(s.cfg.Log, s.errOut))
	defer func() { err = errors.Join(err, closeStore()) }()
	if err != nil && !errors.Is(err, boot.ErrNoSettings) {
		return err
	}
	return do(store)
}

// openSet is open for what is about a live key, and needs the store.
func (s settings) openSet(name string, do func(*live.Store) error) error {
	if _, err := s.cfg.LiveSetting(name); err != nil {
		return err
	}
	return s.open(func(store *live.Store) error {
		if store == nil {
			return fmt.Errorf("%w, so live keys change by an edit of %s: a process that runs with it reads it again within a second",
				boot.ErrNoSettings, cmp.Or(s.config, "the file that -config names"))
		}
		return do(store)
	})
}

// held returns what is in force: what is set in etcd, over the file and variables.
func (s settings) held(ctx context.Context, store *live.Store) (*live.Held, error) {
	if store == nil {
		return &live.Held{Config: s.cfg}, nil
	}
	return store.Read(ctx)
}

func (s settings) list(ctx context.Context, store *live.Store) error {
	held, err := s.held(ctx, store)
	if err != nil {
		return err
	}
	origins, err := config.Origins(s.config, s.environ)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "KEY\tVALUE\tDEFAULT\tLIVE\tFROM")
	defaults := config.Default().Settings()
	for n, setting := range held.Config.Settings() {
		from := origins[setting.Name]
		change := held.Changes[setting.Name]
		switch fault := held.Refused[setting.Name]; {
		case fault != nil:
			from += fmt.Sprintf("; etcd holds nonsense: %v", fault)
		case change.New != nil:
			from = fmt.Sprintf("etcd, revision %d by %s", change.Revision, change.By)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", setting.Name, cmp.Or(setting.Value, "-"), cmp.Or(defaults[n].Value, "-"), yes(setting.Live), from)
	}
	return table.Flush()
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "-"
}

func (s settings) get(ctx context.Context, store *live.Store, name string) error {
	if _, err := s.cfg.Setting(name); err != nil {
		return err
	}
	held, err := s.held(ctx, store)
	if err != nil {
		return err
	}
	setting, err := held.Config.Setting(name)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.out, setting.Value)
	return err
}

func (s settings) set(ctx context.Context, store *live.Store, name, value string, after int64) error {
	change, changed, err := store.Set(ctx, name, &value, s.by, after)
	if err != nil {
		return err
	}
	return s.tell(name, change, changed)
}

func (s settings) rollback(ctx context.Context, store *live.Store, args []string) error {
	to := int64(live.AnyRevision)
	if len(args) == 2 {
		var err error
		if to, err = strconv.ParseInt(args[1], 10, 64); err != nil || to < 0 {
			return fmt.Errorf("%q is no revision", args[1])
		}
	}
	change, changed, err := store.Rollback(ctx, args[0], to, s.by)
	if err != nil {
		return err
	}
	return s.tell(args[0], change, changed)
}

// tell says what a change that was asked for did.
func (s settings) tell(name string, latest live.Change, changed bool) error {
	says := fmt.Sprintf("is %s already", valueOf(latest.New))
	if changed {
		says = fmt.Sprintf("%s → %s", valueOf(latest.Old), valueOf(latest.New))
	}
	_, err := fmt.Fprintf(s.out, "%s: %s (revision %d)\n", name, says, latest.Revision)
	return err
}

// valueOf returns a value of a change for people.
func valueOf(value *string) string {
	switch {
	case value == nil:
		return "(as the file says)"
	case *value == "":
		return `""`
	default:
		return *value
	}
}

func (s settings) history(ctx context.Context, store *live.Store, name string) error {
	past, err := store.History(ctx, name)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "REVISION\tAT\tBY\tOLD\tNEW")
	for _, c := range past {
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\n", c.Revision, c.At.Format(time.RFC3339), c.By, valueOf(c.Old), valueOf(c.New))
	}
	return table.Flush()
}
