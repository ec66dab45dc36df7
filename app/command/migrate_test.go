package command

import (
	"strings"
	"testing"

	"backbeat/test/harness"
)

func TestMigrate(t *testing.T) {
	for _, database := range harness.Databases() {
		t.Run(database.Name, func(t *testing.T) {
			environ := []string{"BACKBEAT_DB_DSN=" + database.Open(t)}
			for _, row := range []struct {
				name    string
				verb    string
				shows   string
				missing bool
			}{
				{"a fresh database", "status", "missing", true},
				{"asking has changed nothing", "status", "missing", true},
				{"up", "up", "tables", false},
				{"nothing is left to do", "up", "system account", false},
				{"all is there", "status", "system account", false},
			} {
				t.Run(row.name, func(t *testing.T) {
					shown, err := execute(t, environ, "migrate", row.verb)
					if err != nil {
						t.Fatal(err)
					}
					if !strings.Contains(shown, row.shows) || row.missing == strings.Contains(shown, "0 missing") {
						t.Errorf("got\n%s", shown)
					}
				})
			}
		})
	}
}

func TestMigrateRefuses(t *testing.T) {
	for _, row := range []struct {
		name  string
		args  []string
		dsn   string
		fails string
	}{
		{"no verb", nil, "", "up, status"},
		{"another verb", []string{"down"}, "", "up, status"},
		{"two verbs", []string{"up", "status"}, "", "up, status"},
		{"a database it doesn't know", []string{"up"}, "oracle://db/x", "db.dsn"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := execute(t, []string{"BACKBEAT_DB_DSN=" + row.dsn, "BACKBEAT_DATA_DIR=" + t.TempDir()}, append([]string{"migrate"}, row.args...)...)
			if err == nil || !strings.Contains(err.Error(), row.fails) {
				t.Errorf("got %v", err)
			}
		})
	}
}
