package command

import (
	"context"
	"fmt"
)

// configure checks or shows the configuration.
func configure(_ context.Context, i invocation) error {
	what := ""
	if len(i.args) == 1 {
		what = i.args[0]
	}
	if what != "check" && what != "show" {
		return fmt.Errorf("config takes one of: check, show")
	}
	cfg, err := i.load()
	if err != nil {
		return err
	}
	if what == "check" {
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
