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
		t.Error("there was no query")
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
		for _, line := range plan {
			if whole[db.Name()].MatchString(line) {
				t.Errorf("%s\nreads all rows:\n%s", text, strings.Join(plan, "\n"))
				break
			}
		}
	}
}

// analyses have a database count its rows.
var analyses = map[string][]string{
	"postgres": {"ANALYZE"},
	"sqlite":   {"ANALYZE"},
	"mysql": {
		"ANALYZE TABLE users, videos, favorites, favorite_videos, favorite_users, comments, comment_videos, follows, follow_users, messages, conversations",
	},
}

// whole is how the plan of each database says that a table is read from end to end.
// What stands for a part of the query is no table.
var whole = map[string]*regexp.Regexp{
	"postgres": regexp.MustCompile(`Seq Scan on`),
	"sqlite":   regexp.MustCompile(`^SCAN (users|videos|favorites|favorite_videos|favorite_users|comments|comment_videos|follows|mine|theirs|follow_users|messages|conversations)$`),
	"mysql":    regexp.MustCompile(`type=ALL .*table=[a-z]|table=[a-z_]+ .*type=ALL`),
}

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
