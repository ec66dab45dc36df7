package command

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"backbeat/test/harness"
)

// configRow is a command, in order, with what it prints or why it fails.
type configRow struct {
	name  string
	args  string // separated by spaces
	shows string // a regular expression
	fails string
}

func configures(t *testing.T, environ []string, file string, rows []configRow) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			shown, err := execute(t, environ, append([]string{"-config", file, "config"}, strings.Fields(row.args)...)...)
			if (err != nil) != (row.fails != "") || err != nil && !strings.Contains(err.Error(), row.fails) {
				t.Fatalf("got %v", err)
			}
			if !regexp.MustCompile("(?m)"+row.shows).MatchString(shown) || strings.Contains(shown, "hush") {
				t.Errorf("got %s", shown)
			}
		})
	}
}

// An operator of a cluster sets live keys, sees who set what, and goes back.
func TestConfigOfACluster(t *testing.T) {
	file := filepath.Join(t.TempDir(), "backbeat.yaml")
	if err := os.WriteFile(file, []byte("limits: {address_rate: 900}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{
		"BACKBEAT_ETCD_ENDPOINTS=" + harness.Etcd(t).Addr, "BACKBEAT_REDIS_PASSWORD=hush", "BACKBEAT_CACHE_PAGES=1s",
		"BACKBEAT_DB_DSN=mysql://bob:hush@db:3306/x",
	}
	configures(t, environ, file, []configRow{
		{"a variable's", "list", `^cache.pages +1s +250ms +yes +variable$`, ""},
		{"the file's", "list", `^limits.address_rate +900 +1000 +yes +file$`, ""},
		{"a secret", "list", `^redis.password +\*+ +- +- +variable$`, ""},
		{"one secret", "get redis.password", `^\*+$`, ""},
		{"part of one", "get db.dsn", `^mysql://bob:(%2A)+@db:3306/x$`, ""},
		{"a default", "get limits.user_rate", `^50$`, ""},
		{"set", "set -by alice limits.user_rate 80", `^limits.user_rate: \(as the file says\) → 80 \(revision 1\)$`, ""},
		{"set again", "set limits.user_rate 80", `is 80 already \(revision 1\)`, ""},
		{"set by whoever I am", "set limits.user_rate 90", `80 → 90 \(revision 2\)`, ""},
		{"too late", "set -after 1 limits.user_rate 95", "", "somebody else changed it: the latest change is revision 2"},
		{"in time", "set -after 2 limits.user_rate 95", `revision 3`, ""},
		{"it is in force", "get limits.user_rate", `^95$`, ""},
		{"it is from etcd", "list", `^limits.user_rate +95 +50 +yes +etcd, revision 3 by .+@.+$`, ""},
		{"its history", "history limits.user_rate", `^1 +20\S+Z +alice +\(as the file says\) +80$`, ""},
		{"before the latest", "rollback limits.user_rate", `95 → 90 \(revision 4\)`, ""},
		{"to a revision", "rollback -by bob limits.user_rate 1", `90 → 80 \(revision 5\)`, ""},
		{"to none", "rollback limits.user_rate 0", `80 → \(as the file says\) \(revision 6\)`, ""},
		{"it is as before", "list", `^limits.user_rate +50 +50 +yes +default$`, ""},
		{"to a revision that is not", "rollback limits.user_rate 7", "", "there is no revision 7"},
		{"to nonsense", "rollback limits.user_rate x", "", "no revision"},
		{"a list", "set limits.exempt 10.0.0.0/8,::1/128", `127.0.0.0/8|→ 10.0.0.0/8,::1/128`, ""},
		{"an unknown key", "set limits.user_rat 1", "", "no such key"},
		{"a key without its section", "get user_rate", "", "did you mean limits.user_rate?"},
		{"a bad value", "set limits.user_rate -1", "", "limits.user_rate"},
		{"a key of the start", "set http.listen :1", "", "at the start only"},
		{"a secret is not live", "set token.keys k1:hush", "", "at the start only"},
		{"the history of an unknown key", "history limits", "", "no such key"},
		{"no value", "set limits.user_rate", "", "config takes"},
		{"no such flag", "set -now limits.user_rate 1", "config set KEY|set KEY VALUE", "config takes"},
		{"no such verb", "unset limits.user_rate", "", "config takes"},
		{"help", "-h", "rollback KEY", ""},
		{"help of a verb", "set -h", "rollback KEY", ""},
	})
}

// Without etcd there is the file to edit; a cluster whose etcd is away says so.
func TestConfigWithoutEtcd(t *testing.T) {
	file := filepath.Join(t.TempDir(), "backbeat.yaml")
	if err := os.WriteFile(file, []byte("log: {level: warn}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	configures(t, nil, file, []configRow{
		{"list", "list", `^log.level +warn +info +yes +file$`, ""},
		{"get", "get log.level", `^warn$`, ""},
		{"set", "set log.level debug", "", "by an edit of " + file},
		{"history", "history log.level", "", "etcd.endpoints is not set"},
		{"rollback", "rollback log.level", "", "etcd.endpoints is not set"},
		{"an unknown key", "set log.levle debug", "", "no such key"},
	})
	configures(t, []string{"BACKBEAT_ETCD_ENDPOINTS=127.0.0.1:1"}, file, []configRow{
		{"list without an answer", "list", "", "reading what is set in etcd"},
	})
}
