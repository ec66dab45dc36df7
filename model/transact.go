package model

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/glebarez/go-sqlite"
	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"backbeat/app/errs"
)

// transactAttempts bounds how often a transaction that lost a deadlock is tried.
const transactAttempts = 10

// ErrOvertaken is what a transaction returns that finds what it has read changed by
// somebody else. Run again it sees the change.
var ErrOvertaken = errors.New("somebody else was quicker")

// Transact runs fn in a transaction and runs it again when the database asks for
// that (deadlock, lock wait, serialization failure or busy) or fn does, by
// ErrOvertaken. So fn must set nothing outside the transaction that a second run would
// not set again. It returns fn's error as it is. Opts are those of BeginTx; SQLite, which
// lets transactions write one by one, needs none and heeds none.
func Transact(ctx context.Context, db *gorm.DB, fn func(tx *gorm.DB) error, opts ...*sql.TxOptions) error {
	var err error
	for attempt := range transactAttempts {
		if err = db.WithContext(ctx).Transaction(fn, opts...); !retryable(err) {
			return err
		}
		wait := time.Duration(rand.Int64N(int64(time.Millisecond) << min(attempt, 6)))
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
	return err
}

// MySQL, PostgreSQL and SQLite codes that ask for another try.
const (
	mysqlDeadlock        = 1213
	mysqlLockWait        = 1205
	mysqlRecordChanged   = 1020
	postgresSerialize    = "40001"
	postgresDeadlock     = "40P01"
	sqliteBusy           = 5
	sqliteLocked         = 6
	mysqlTooManyConns    = 1040
	mysqlServerShutdown  = 1053
	mysqlReadOnly        = 1290
	mysqlDiskFull        = 1021
	mysqlTableFull       = 1114
	sqliteFull           = 13
	sqlitePrimaryCodeMax = 0xff
)

func retryable(err error) bool {
	var my *mysqldriver.MySQLError
	var pg *pgconn.PgError
	var lite *sqlite.Error
	switch {
	case err == nil:
		return false
	case errors.Is(err, ErrOvertaken):
		return true
	case errors.As(err, &my):
		return my.Number == mysqlDeadlock || my.Number == mysqlLockWait || my.Number == mysqlRecordChanged
	case errors.As(err, &pg):
		return pg.Code == postgresSerialize || pg.Code == postgresDeadlock
	case errors.As(err, &lite):
		code := lite.Code() & sqlitePrimaryCodeMax
		return code == sqliteBusy || code == sqliteLocked
	default:
		return false
	}
}

// Wrap gives a store's error its kind and says what was being done: no row is
// NotFound, a duplicate key Conflict, a database that can't be reached, is full
// or stays busy Unavailable. It returns nil for nil, and an error that carries a
// kind already keeps it.
func Wrap(err error, doing string, args ...any) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, gorm.ErrRecordNotFound):
		return errs.Wrap(errs.NotFound, err, doing, args...)
	case errors.Is(err, gorm.ErrDuplicatedKey):
		return errs.Wrap(errs.Conflict, err, doing, args...)
	case retryable(err), away(err):
		return errs.Wrap(errs.Unavailable, err, doing, args...)
	default:
		return errs.Wrap(errs.KindOf(err), err, doing, args...)
	}
}

// away reports whether err means that the database can't do anything at present.
func away(err error) bool {
	var network net.Error
	var my *mysqldriver.MySQLError
	var pg *pgconn.PgError
	var connect *pgconn.ConnectError
	var lite *sqlite.Error
	switch {
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, mysqldriver.ErrInvalidConn), errors.Is(err, sql.ErrConnDone),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &network), errors.As(err, &connect):
		return true
	case errors.As(err, &my):
		switch my.Number {
		case mysqlTooManyConns, mysqlServerShutdown, mysqlReadOnly, mysqlDiskFull, mysqlTableFull:
			return true
		}
	case errors.As(err, &pg):
		// Classes 08 connection, 53 resources, 57P administrator, 58 system.
		return strings.HasPrefix(pg.Code, "08") || strings.HasPrefix(pg.Code, "53") ||
			strings.HasPrefix(pg.Code, "57P") || strings.HasPrefix(pg.Code, "58")
	case errors.As(err, &lite):
		return lite.Code()&sqlitePrimaryCodeMax == sqliteFull
	}
	// A connection closed under a statement: the drivers have no value for it.
	return strings.Contains(err.Error(), "conn closed") || strings.Contains(err.Error(), "closed network connection")
}
