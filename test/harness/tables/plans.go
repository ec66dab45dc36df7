package tables

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm"
)

// Indexed runs do and fails the test for each query in it that would read a whole
// table to find what it wants. The tables should hold some thousand rows: MariaDB
// reads small ones whole as it is.
func Indexed(t *testing.T, db *gorm.DB, do func()) {
	t.Helper()
	for _, fault := range scans(t, db, do) {
		t.Error(fault)
	}
}

// scans tells of the queries that do makes and that read a whole table.
func scans(t *testing.T, db *gorm.DB, do func()) (faults []string) {
	t.Helper()
	queries := map[string][]any{}
	keep := func(tx *gorm.DB) {
		if text := tx.Statement.SQL.String(); strings.HasPrefix(text, "SELECT") {
			queries[text] = slices.Clone(tx.Statement.Vars)
		}
	}
	const name = "tables:plans"
	on := db.Callback()
	for _, err := range []error{
		on.Query().After("*").Register(name, keep), on.Row().After("*").Register(name, keep), on.Raw().After("*").Register(name, keep),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, analyze := range analyses[db.Name()] {
		if err := db.Exec(analyze).Error; err != nil {
			t.Fatal(err)
		}
	}
	do()
	for _, processor := range []interface{ Remove(string) error }{on.Query(), on.Row(), on.Raw()} {
		if err := processor.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if len(queries) == 0 {
		return []string{"there was no query"}
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pool.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for text, vars := range queries {
		plan, err := explain(t.Context(), conn, db.Name(), text, vars)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if whole[db.Name()](plan) {
			faults = append(faults, fmt.Sprintf("%s\nreads all rows:\n%s", text, strings.Join(plan, "\n")))
		}
	}
	return faults
}

// analyses have a database count its rows.
var analyses = map[string][]string{
	"postgres": {"ANALYZE"},
	"sqlite":   {"ANALYZE"},
	"mysql":    {"ANALYZE TABLE " + strings.ReplaceAll(named, "|", ", ")},
}

// whole tells from the plan of each database whether a table, or an index in its
// place, is read from end to end.
var whole = map[string]func(plan []string) bool{
	"postgres": func(plan []string) bool {
		for i, step := range plan {
			if !strings.Contains(step, "Scan ") || strings.Contains(step, "Heap Scan") || strings.Contains(step, "Subquery Scan") {
				continue
			}
			if i+1 == len(plan) || !strings.HasPrefix(plan[i+1], "Index Cond:") {
				return true
			}
		}
		return false
	},
	"sqlite": func(plan []string) bool {
		return slices.ContainsFunc(plan, regexp.MustCompile(`^SCAN (`+named+`|mine|theirs)( USING .*)?$`).MatchString)
	},
	"mysql": func(plan []string) bool {
		return slices.ContainsFunc(plan, regexp.MustCompile(`table=[a-z_]+ .*type=(ALL|index) `).MatchString)
	},
}

// named are the tables of the services; what stands for a part of a query is none.
const named = "users|videos|favorites|favorite_videos|favorite_users|comments|comment_videos|follows|follow_users|messages|conversations"

// explain returns the plan, a line for each step.
func explain(ctx context.Context, conn *sql.Conn, database, text string, vars []any) ([]string, error) {
	prefix := "EXPLAIN "
	switch database {
	case "sqlite":
		prefix = "EXPLAIN QUERY PLAN "
	case "postgres":
		// Small tables would be read whole by choice.
		if _, err := conn.ExecContext(ctx, "SET enable_seqscan = off"); err != nil {
			return nil, err
		}
	}
	rows, err := conn.QueryContext(ctx, prefix+text, vars...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var plan []string
	for rows.Next() {
		cells := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range cells {
			into[i] = &cells[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		switch database {
		case "mysql":
			var step []string
			for i, column := range columns {
				step = append(step, column+"="+cells[i].String)
			}
			plan = append(plan, strings.Join(step, " "))
		default: // the last column is the text
			plan = append(plan, strings.TrimSpace(cells[len(cells)-1].String))
		}
	}
	if len(plan) == 0 {
		return nil, fmt.Errorf("no plan")
	}
	return plan, rows.Err()
}
