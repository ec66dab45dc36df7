package harness

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"backbeat/deploy/local"
)

// Replicated is a primary and the replica that copies it.
type Replicated struct {
	Primary, Replica *local.Server
	// admin is the DSN of a user who may tell the replica what to do.
	admin         string
	pause, resume string
}

// Replication is one kind of it in a table of tests.
type Replication struct {
	// Name is mariadb or postgres.
	Name  string
	start func(ctx context.Context, dir string) (Replicated, error)
}

// Replications are all kinds that Backbeat runs on.
func Replications() []Replication {
	return []Replication{{"mariadb", StartReplicatedMariaDB}, {"postgres", startReplicatedPostgres}}
}

// Start starts both servers, the test's own.
func (r Replication) Start(tb testing.TB) Replicated {
	tb.Helper()
	both, err := r.start(tb.Context(), Folder(tb))
	check(tb, err)
	private(tb, both.Primary)
	private(tb, both.Replica)
	return both
}

// StartReplicatedMariaDB starts both servers with their data in dir, for who is no
// test: the caller kills them. What it started before an error it has killed itself.
func StartReplicatedMariaDB(ctx context.Context, dir string) (r Replicated, err error) {
	if r.Primary, err = startMariaDB(ctx, filepath.Join(dir, "primary"), local.Primary...); err != nil {
		return r, err
	}
	r.Replica, err = local.StartMariaDBReplica(ctx, filepath.Join(dir, "replica"), r.Primary, local.Options{Args: mariaDBArgs})
	if err != nil {
		return r, errors.Join(err, r.Kill())
	}
	r.admin = strings.ReplaceAll(r.Primary.URL, r.Primary.Addr, r.Replica.Addr)
	r.pause, r.resume = "STOP SLAVE SQL_THREAD", "START SLAVE SQL_THREAD"
	return r, nil
}

func startReplicatedPostgres(ctx context.Context, dir string) (r Replicated, err error) {
	if r.Primary, err = startPostgres(ctx, filepath.Join(dir, "primary")); err != nil {
		return r, err
	}
	r.Replica, err = local.StartPostgresReplica(ctx, filepath.Join(dir, "replica"), r.Primary, local.Options{Args: postgresArgs})
	if err != nil {
		return r, errors.Join(err, r.Kill())
	}
	r.admin = r.Replica.URL
	r.pause, r.resume = "SELECT pg_wal_replay_pause()", "SELECT pg_wal_replay_resume()"
	return r, nil
}

// Kill ends both.
func (r Replicated) Kill() error {
	var faults []error
	for _, s := range []*local.Server{r.Replica, r.Primary} {
		if s != nil {
			faults = append(faults, s.Kill())
		}
	}
	return errors.Join(faults...)
}

// Pause makes the replica apply nothing that it receives until Resume; it answers
// what it has.
func (r Replicated) Pause(tb testing.TB) {
	tb.Helper()
	check(tb, execute(tb.Context(), r.admin, r.pause))
}

// Resume makes the replica apply what it has received meanwhile, and what it receives.
func (r Replicated) Resume(tb testing.TB) {
	tb.Helper()
	check(tb, execute(tb.Context(), r.admin, r.resume))
}

// Watch makes a MariaDB remember what it is asked.
func (r Replicated) Watch(ctx context.Context) error {
	return errors.Join(execute(ctx, r.admin, "SET GLOBAL log_output = 'TABLE'"), execute(ctx, r.admin, "SET GLOBAL general_log = ON"))
}

// Asked returns the statements that Backbeat has sent to the replica since Watch, less
// what sets a connection up.
func (r Replicated) Asked(ctx context.Context) (statements []string, err error) {
	db, err := Connect(r.admin)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, "SELECT argument FROM mysql.general_log "+
		"WHERE user_host LIKE 'reader%' AND command_type IN ('Query', 'Prepare') AND argument NOT LIKE 'SET %'")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var statement string
		if err := rows.Scan(&statement); err != nil {
			return nil, err
		}
		statements = append(statements, statement)
	}
	return statements, rows.Err()
}

// Delay makes a MariaDB apply everything so many seconds after it was committed.
func (r Replicated) Delay(ctx context.Context, seconds int) error {
	for _, statement := range []string{"STOP SLAVE", fmt.Sprintf("CHANGE MASTER TO MASTER_DELAY=%d", seconds), "START SLAVE"} {
		if err := execute(ctx, r.admin, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}
