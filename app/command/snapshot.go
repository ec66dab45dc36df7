package command

import (
	"context"
	"errors"
	"fmt"
)

// snapshot copies a SQLite database into a new file, as it is at one moment, while
// everything runs. Other databases have tools of their own for that.
func snapshot(ctx context.Context, i invocation) error {
	if len(i.args) != 1 {
		return errors.New("snapshot takes the name of a file that does not exist yet")
	}
	return i.withDatabase(ctx, func(s session) error {
		if s.db.Name() != "sqlite" {
			return fmt.Errorf("snapshot copies SQLite; a %s database is saved by deploy/backup.sh", s.db.Name())
		}
		if err := s.db.WithContext(ctx).Exec("VACUUM INTO ?", i.args[0]).Error; err != nil {
			return fmt.Errorf("copying the database to %s: %w", i.args[0], err)
		}
		return nil
	})
}
