package harness

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	_ "gorm.io/driver/mysql"    // registers "mysql" with database/sql
	_ "gorm.io/driver/postgres" // registers "pgx" with database/sql

	"backbeat/deploy/local"
)

// Database is one kind of database in a table of tests.
type Database struct {
	// Name is sqlite, mariadb or postgres.
	Name string
	// Open returns the DSN of a fresh, empty database that goes with the test.
	Open func(testing.TB) (dsn string)
}

// Databases are all kinds Backbeat runs on.
func Databases() []Database {
	return []Database{{"sqlite", SQLite}, {"mariadb", MariaDB}, {"postgres", Postgres}}
}

// SQLite returns the DSN of a fresh database file.
func SQLite(tb testing.TB) (dsn string) {
	return "sqlite:" + filepath.Join(tb.TempDir(), "test.db")
}

// MariaDB returns the DSN of a fresh, empty database on the shared server.
func MariaDB(tb testing.TB) (dsn string) {
	tb.Helper()
	server, err := sharedMariaDB()
	check(tb, err)
	return freshDatabase(tb, server, "DROP DATABASE %")
}

// Postgres returns the DSN of a fresh, empty database on the shared server.
func Postgres(tb testing.TB) (dsn string) {
	tb.Helper()
	server, err := sharedPostgres()
	check(tb, err)
	return freshDatabase(tb, server, "DROP DATABASE % WITH (FORCE)")
}

// MariaDBServer returns a server of the test's own, to be killed at will. Its
// URL is the DSN of an empty database.
func MariaDBServer(tb testing.TB) *local.Server {
	tb.Helper()
	s, err := startMariaDB(tb.Context(), Folder(tb))
	check(tb, err)
	private(tb, s)
	return s
}

// PostgresServer returns a server of the test's own, to be killed at will. Its
// URL is the DSN of an empty database.
func PostgresServer(tb testing.TB) *local.Server {
	tb.Helper()
	s, err := startPostgres(tb.Context(), Folder(tb))
	check(tb, err)
	private(tb, s)
	return s
}

func freshDatabase(tb testing.TB, server, drop string) (dsn string) {
	tb.Helper()
	name := "test_" + strings.ToLower(rand.Text())
	check(tb, execute(tb.Context(), server, "CREATE DATABASE "+name))
	tb.Cleanup(func() {
		// The test's own context has ended by now.
		if err := execute(context.Background(), server, strings.ReplaceAll(drop, "%", name)); err != nil {
			tb.Error(err)
		}
	})
	fresh, err := url.Parse(server)
	check(tb, err)
	fresh.Path = "/" + name
	return fresh.String()
}

// execute runs one statement on a connection of its own.
func execute(ctx context.Context, dsn, statement string) error {
	db, err := Connect(dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, statement)
	return err
}

// Connect opens a mysql:// or postgres:// DSN without the layers above
// database/sql. The caller closes it.
func Connect(dsn string) (*sql.DB, error) {
	at, err := url.Parse(dsn)
	if err != nil {
		return nil, err
	}
	if at.Scheme == "postgres" {
		return sql.Open("pgx", dsn)
	}
	return sql.Open("mysql", at.User.String()+"@tcp("+at.Host+")"+at.Path+"?parseTime=true")
}
