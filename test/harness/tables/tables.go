// Package tables gives tests of the services databases with all tables, and
// counts the statements that run on them.
package tables

import (
	"sync/atomic"
	"testing"

	"gorm.io/gorm"

	"backbeat/model"
	"backbeat/test/harness"
)

// connections is enough for racing writers to really race.
const connections = 8

// Each runs test once on every kind of database. Its tables are empty but for
// the system account.
func Each(t *testing.T, test func(t *testing.T, db *gorm.DB)) {
	for _, database := range harness.Databases() {
		t.Run(database.Name, func(t *testing.T) { test(t, Open(t, database.Open(t))) })
	}
}

// EachBench is Each for a benchmark.
func EachBench(b *testing.B, bench func(b *testing.B, db *gorm.DB)) {
	for _, database := range harness.Databases() {
		b.Run(database.Name, func(b *testing.B) { bench(b, Open(b, database.Open(b))) })
	}
}

// Open connects to the database and migrates it. The connections end with the
// test.
func Open(tb testing.TB, dsn string) *gorm.DB {
	tb.Helper()
	db, err := model.Open(tb.Context(), dsn, connections, harness.Logger(tb))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := model.Close(db); err != nil {
			tb.Error(err)
		}
	})
	if err := model.Migrate(tb.Context(), db); err != nil {
		tb.Fatal(err)
	}
	return db
}

// Statements counts the statements that run on db from now on; BEGIN and COMMIT
// are not among them.
func Statements(tb testing.TB, db *gorm.DB) *atomic.Int64 {
	tb.Helper()
	var count atomic.Int64
	each := func(*gorm.DB) { count.Add(1) }
	const name = "tables:count"
	on := db.Callback()
	for _, err := range []error{
		on.Create().Before("*").Register(name, each), on.Query().Before("*").Register(name, each),
		on.Update().Before("*").Register(name, each), on.Delete().Before("*").Register(name, each),
		on.Row().Before("*").Register(name, each), on.Raw().Before("*").Register(name, each),
	} {
		if err != nil {
			tb.Fatal(err)
		}
	}
	return &count
}
