package command

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"gorm.io/gorm"

	"backbeat/app/terminal"
	"backbeat/model"
)

// migrate brings the database's tables up to date, or tells how far they are. Every
// role does the same when it starts; who gives the roles' user no right to change
// tables runs this first, as one who may.
func migrate(ctx context.Context, i invocation) error {
	what := ""
	if len(i.args) == 1 {
		what = i.args[0]
	}
	if what != "up" && what != "status" {
		return errors.New("migrate takes one of: up, status")
	}
	return i.withDatabase(ctx, func(s session) error {
		if what == "up" {
			if err := model.Migrate(ctx, s.db); err != nil {
				return err
			}
		}
		return showSteps(ctx, i, s.db)
	})
}

func showSteps(ctx context.Context, i invocation, db *gorm.DB) error {
	steps, err := model.Steps(ctx, db)
	if err != nil {
		return err
	}
	var table terminal.Table
	table.Title("STEP", "NAME", "APPLIED")
	missing := 0
	for _, step := range steps {
		applied := "missing"
		if step.Applied.IsZero() {
			missing++
		} else {
			applied = step.Applied.Format(time.RFC3339)
		}
		table.Row(strconv.Itoa(step.Number), step.Name, applied)
	}
	table.Row(fmt.Sprintf("%d missing", missing))
	_, err = table.WriteTo(i.out)
	return err
}
