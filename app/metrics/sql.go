package metrics

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"gorm.io/gorm"

	"backbeat/app/errs"
)

// SQL is a gorm plugin that observes how long statements take, by operation and
// table. Statements written as text have no table.
type SQL struct{ Registerer prometheus.Registerer }

// Name is the plugin's name.
func (SQL) Name() string { return "backbeat:metrics" }

const startedKey = "backbeat:started"

// statement is what statements are told apart by.
type statement struct{ operation, table, code string }

// Initialize hooks into every kind of statement.
func (s SQL) Initialize(db *gorm.DB) error {
	durations := NewDurations(s.Registerer, "backbeat_sql_duration_seconds",
		"How long SQL statements took, waiting for a connection included, by operation (select, insert, update, delete; row and raw are statements written as text), table and code.",
		[]string{"operation", "table", "code"}, func(k statement) []string { return []string{k.operation, k.table, k.code} })
	begin := func(tx *gorm.DB) { tx.Statement.Settings.Store(startedKey, time.Now()) }
	end := func(operation string) func(*gorm.DB) {
		return func(tx *gorm.DB) {
			value, _ := tx.Statement.Settings.LoadAndDelete(startedKey)
			started, ok := value.(time.Time)
			if !ok {
				return
			}
			table := tx.Statement.Table
			if tx.Statement.Schema != nil {
				table = tx.Statement.Schema.Table // without an alias
			}
			durations.Since(tx.Statement.Context, statement{operation, table, sqlCode(tx.Error)}, started)
		}
	}
	create, query, update, remove, row, raw := db.Callback().Create(), db.Callback().Query(), db.Callback().Update(),
		db.Callback().Delete(), db.Callback().Row(), db.Callback().Raw()
	for _, err := range []error{
		create.Before("*").Register("backbeat:begin_create", begin),
		create.After("*").Register("backbeat:end_create", end("insert")),
		query.Before("*").Register("backbeat:begin_query", begin),
		query.After("*").Register("backbeat:end_query", end("select")),
		update.Before("*").Register("backbeat:begin_update", begin),
		update.After("*").Register("backbeat:end_update", end("update")),
		remove.Before("*").Register("backbeat:begin_delete", begin),
		remove.After("*").Register("backbeat:end_delete", end("delete")),
		row.Before("*").Register("backbeat:begin_row", begin),
		row.After("*").Register("backbeat:end_row", end("row")),
		raw.Before("*").Register("backbeat:begin_raw", begin),
		raw.After("*").Register("backbeat:end_raw", end("raw")),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// sqlCode is Code for a statement's own error, where what is missing or there
// already is an outcome like another.
func sqlCode(err error) string {
	switch {
	case err == nil:
		return OK
	case errors.Is(err, gorm.ErrRecordNotFound):
		return errs.NotFound.String()
	case errors.Is(err, gorm.ErrDuplicatedKey):
		return errs.Conflict.String()
	default:
		return "error"
	}
}
