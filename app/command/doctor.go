package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"backbeat/app/boot"
	"backbeat/app/changes"
	"backbeat/app/doctor"
	"backbeat/model"
)

// examine prints what is wrong with the deployment, each with the command that mends
// it, and is an error when something is left.
func examine(ctx context.Context, i invocation) (err error) {
	flags := flag.NewFlagSet("doctor", flag.ContinueOnError)
	flags.SetOutput(i.errOut)
	fix := flags.Bool("fix", false, "mend what is safe to mend while everything runs")
	if err := flags.Parse(i.args); err != nil || flags.NArg() > 0 {
		return errors.New("see backbeat doctor -help")
	}
	cfg, err := i.load()
	if err != nil {
		return err
	}
	fmt.Fprintln(i.out, "configuration: sound")
	log := newLog(cfg.Log, i.errOut)
	if err := i.examineSchema(ctx, *fix); err != nil {
		return err
	}
	var faults []error
	standings, err := boot.Survey(ctx, cfg, log)
	if err != nil {
		return err
	}
	for _, s := range standings {
		if s.Fault != nil {
			faults = append(faults, fmt.Errorf("%s: %w", s.Need, s.Fault))
			continue
		}
		fmt.Fprintf(i.out, "%s: sound\n", s.Need)
	}
	if len(faults) > 0 { // what lies there can't be looked at
		return errors.Join(faults...)
	}
	db, store, closeStores, err := boot.OpenStores(cfg, log)
	defer func() { err = errors.Join(err, closeStores()) }()
	if err != nil {
		return err
	}
	broker, closeBroker, err := boot.OpenBroker(cfg, log)
	defer func() { err = errors.Join(err, closeBroker()) }()
	if err != nil {
		return err
	}
	deps := doctor.Deps{DB: db, Media: store, Broker: broker, Queues: boot.Queues(), Now: time.Now}
	left := 0
	for _, check := range doctor.Checks(deps) {
		n, err := i.examine(ctx, check, *fix)
		left += n
		if err != nil {
			faults = append(faults, fmt.Errorf("looking at %s: %w", check.Name, err))
		}
	}
	if *fix { // gateways hold counters as they were before they were mended
		faults = append(faults, session{cfg, log, db}.counting(func(counted *changes.Announcer) error {
			counted.Everything(ctx)
			return nil
		}))
	}
	if left > 0 {
		faults = append(faults, fmt.Errorf("%d findings", left))
	}
	return errors.Join(faults...)
}

// examineSchema is an error when the database can't be read or lacks steps, which it
// adds to mend that. Nothing that lies in it can be looked at before.
func (i invocation) examineSchema(ctx context.Context, fix bool) error {
	return i.withDatabase(ctx, func(s session) error {
		if fix {
			if err := model.Migrate(ctx, s.db); err != nil {
				return err
			}
		}
		steps, err := model.Steps(ctx, s.db)
		if err != nil {
			return err
		}
		for _, step := range steps {
			if step.Applied.IsZero() {
				return fmt.Errorf("migrations: step %d, %s, is missing\n    backbeat migrate up", step.Number, step.Name)
			}
		}
		_, err = fmt.Fprintln(i.out, "migrations: sound")
		return err
	})
}

// examine prints the findings of a check and returns how many are left.
func (i invocation) examine(ctx context.Context, check doctor.Check, fix bool) (left int, err error) {
	findings, err := check.Look(ctx)
	if err != nil {
		return 0, err
	}
	if len(findings) == 0 {
		_, err = fmt.Fprintf(i.out, "%s: sound\n", check.Name)
		return 0, err
	}
	var faults []error
	for _, f := range findings {
		advice := "backbeat " + f.Mend
		if fix && f.Safe() {
			if err := f.Fix(ctx); err != nil {
				faults = append(faults, err)
			} else {
				advice = "mended"
			}
		}
		if advice != "mended" {
			left++
		}
		fmt.Fprintf(i.out, "%s: %s\n    %s\n", check.Name, f.What, advice)
	}
	return left, errors.Join(faults...)
}
