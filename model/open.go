package model

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/glebarez/sqlite"
	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	"gorm.io/plugin/dbresolver"

	mysqldriver "github.com/go-sql-driver/mysql"

	"backbeat/app/trace"
)

// sqliteReaders is how many connections read beside SQLite's single writer.
const sqliteReaders = 4

// Open connects to the database that dsn names (see config.DB) with at most
// maxOpen connections and waits until it answers or ctx ends. Each statement
// becomes a span of its context's trace.
//
// Times and text mean the same on all of them: UTC, and UTF-8 with emoji.
func Open(ctx context.Context, dsn string, maxOpen int, log *slog.Logger) (*gorm.DB, error) {
	var db *gorm.DB
	var err error
	if path, isFile := strings.CutPrefix(dsn, "sqlite:"); isFile {
		db, err = openSQLite(path)
	} else {
		db, err = openServer(dsn, maxOpen)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	if err := db.Use(trace.SQL{}); err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	if err := waitUntilUp(ctx, db, log); err != nil {
		return nil, err
	}
	return db, nil
}

// openServer connects to a database that is a server, as soon as it is asked.
func openServer(dsn string, maxOpen int) (*gorm.DB, error) {
	switch scheme, _, _ := strings.Cut(dsn, ":"); scheme {
	case "mysql":
		converted, err := mysqlDSN(dsn)
		if err != nil {
			return nil, err
		}
		return dial(mysql.New(mysql.Config{DSN: converted, SkipInitializeWithVersion: true}), maxOpen)
	case "postgres", "postgresql":
		if _, err := url.Parse(dsn); err != nil {
			return nil, fmt.Errorf("not of the form postgres://USER:PASSWORD@HOST:PORT/NAME") // its own text holds the password
		}
		return dial(postgres.Open(dsn), maxOpen)
	default:
		return nil, fmt.Errorf("unknown kind %q: sqlite, mysql or postgres", scheme)
	}
}

// Close ends all connections of db, those to its replicas included.
func Close(db *gorm.DB) error {
	if r := replicasOf(db); r != nil {
		r.stop()
	}
	pool, err := db.DB()
	if err != nil {
		return err
	}
	readers := eachReader(db, (*sql.DB).Close)
	return errors.Join(readers, pool.Close())
}

// dial leaves prepared statements to the drivers. gorm's own are shared by all
// connections under one lock, and who prepares a statement waits for a connection
// while those who have all of them wait for the lock.
func dial(dialector gorm.Dialector, maxOpen int) (*gorm.DB, error) {
	db, err := gorm.Open(dialector, &gorm.Config{
		Logger:                 logger.Discard, // errors are returned, logged once at the edge
		TranslateError:         true,
		SkipDefaultTransaction: true,
		DisableAutomaticPing:   true,
	})
	if err != nil {
		return nil, err
	}
	pool, err := db.DB()
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(maxOpen)
	pool.SetMaxIdleConns(maxOpen)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	return db, nil
}

// openSQLite opens a file with one connection that writes, since SQLite allows
// one writer and waiting in Go is fairer than its busy handler, and several that
// read. A transaction takes the write lock at its start: upgrading a read lock
// later can fail without a way to wait.
func openSQLite(path string) (*gorm.DB, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	source := "file:" + path + "?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)&_txlock=immediate"
	db, err := dial(sqlite.Open(source), 1)
	if err != nil {
		return nil, err
	}
	// Opened first: it makes the file a WAL file, which a reader can not.
	if err := db.Exec("SELECT 1").Error; err != nil {
		return nil, err
	}
	readers := dbresolver.Register(dbresolver.Config{
		Replicas: []gorm.Dialector{sqlite.Open(source + "&_pragma=query_only(1)")},
	}).SetMaxOpenConns(sqliteReaders).SetMaxIdleConns(sqliteReaders)
	if err := db.Use(readers); err != nil {
		return nil, err
	}
	pool, err := db.DB()
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(1) // the resolver set the writer's to the readers'
	return db, nil
}

// mysqlDSN turns a URL into the driver's own form. Affected rows are those that
// changed, as the driver's default says; counters are derived from them.
func mysqlDSN(dsn string) (string, error) {
	parsed, err := url.Parse(dsn)
	if err != nil {
		return "", fmt.Errorf("not of the form mysql://USER:PASSWORD@HOST:PORT/NAME") // its own text holds the password
	}
	cfg := mysqldriver.NewConfig()
	cfg.User = parsed.User.Username()
	cfg.Passwd, _ = parsed.User.Password()
	cfg.Net = "tcp"
	cfg.Addr = parsed.Host
	cfg.DBName = strings.TrimPrefix(parsed.Path, "/")
	cfg.Timeout = 3 * time.Second
	cfg.InterpolateParams = true
	cfg.Params = map[string]string{"time_zone": "'+00:00'", "sql_mode": "'STRICT_ALL_TABLES'"}
	cfg.Collation = "utf8mb4_bin"
	switch parsed.Query().Get("tls") {
	case "":
	case "true", "skip-verify", "preferred":
		cfg.TLSConfig = parsed.Query().Get("tls")
	default:
		return "", fmt.Errorf("tls is one of true, skip-verify, preferred")
	}
	return cfg.FormatDSN(), nil
}

// waitUntilUp pings until the database answers: a process may start before it.
func waitUntilUp(ctx context.Context, db *gorm.DB, log *slog.Logger) error {
	pool, err := db.DB()
	if err != nil {
		return err
	}
	for attempt := 0; ; attempt++ {
		err := pool.PingContext(ctx)
		if err == nil {
			return nil
		}
		if attempt == 0 {
			log.Warn("waiting for the database", "error", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the database does not answer: %w", err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}
