package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// FuzzFile loads arbitrary files. What is taken is sound, holds what it shows, and
// loads the same from there.
func FuzzFile(f *testing.F) {
	documented, err := os.ReadFile("config.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range []string{
		string(documented), "", "{}", "---\n---\n", "http: {listen: :9090}", "http:\n  listen: 1\n", "htpp: {}", "http: {listen: a, listen: b}", "limits: {exempt: []}",
		"media: {max_bytes: 9223372036854775808}", "http: {drain: 1e9}", "a: &a [*a]", "http: !!binary aGk=", "<<: {http: {listen: ':1'}}", "jaeger: {sampler_param: .nan}",
		"http: {cors_origins: [\"\\x85\"]}", "\xff\xfe", "time: {zone: ../../etc/passwd}", "db: {dsn: 'sqlite:a'}\n...\njunk: 1",
	} {
		f.Add(file)
	}
	path := filepath.Join(f.TempDir(), "backbeat.yaml")
	f.Fuzz(func(t *testing.T, file string) {
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(path, nil)
		if err != nil {
			return
		}
		if faults := cfg.Validate(); len(faults) > 0 {
			t.Fatalf("took what is faulty: %v", faults)
		}
		for _, k := range cfg.keys() {
			if k.secret {
				k.value.SetZero()
			}
		}
		if len(cfg.Validate()) > 0 { // an S3 without its secrets is none
			return
		}
		shown, err := cfg.Show()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(shown), 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := Load(path, nil)
		if err != nil {
			t.Fatalf("refuses what it shows: %v\n%s", err, shown)
		}
		if more, err := again.Show(); err != nil || more != shown {
			t.Errorf("shows\n%s, then\n%s", shown, more)
		}
	})
}

// FuzzVariable sets arbitrary variables, one of which may hold a secret: neither
// its fault nor the configuration shown may.
func FuzzVariable(f *testing.F) {
	for _, seed := range [][2]string{
		{"HTTP_LISTEN", ":1"}, {"DB_DSN", "mysql://bob:hush@db/x"}, {"DB_DSN", "postgres://bob:1#hush@db/x"}, {"AMQP_URL", "amqp://bob:1/hush@mq/"}, {"AMQP_URL", "amqp://hush"},
		{"TOKEN_KEYS", "k1:hush"}, {"TOKEN_KEYS", "k1://hush/"}, {"TOKEN_KEYS_FILE", "/nowhere"}, {"REDIS_PASSWORD", "http://hush/"}, {"S3_SECRET_KEY", "a=b"},
		{"LIMITS_EXEMPT", ",,"}, {"LIMITS_USER_RATE", "-1"}, {"JAEGER_SAMPLER_PARAM", "NaN"}, {"", ""}, {"CONFIG", "x"}, {"TEST_X", "1"}, {"HTTP_DRAIN", "1e400s"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		if strings.HasSuffix(name, fileSuffix) && value != "/nowhere" { // such a file could be any on this machine
			return
		}
		cfg, err := Load("", []string{EnvPrefix + name + "=" + value})
		if err != nil {
			return
		}
		if faults := cfg.Validate(); len(faults) > 0 {
			t.Fatalf("took what is faulty: %v", faults)
		}
		before := *cfg
		if _, err := cfg.Show(); err != nil || !reflect.DeepEqual(&before, cfg) {
			t.Errorf("showing changed it, %v", err)
		}
	})
}

// FuzzMasked looks for a password that is shown. It stands where a DSN has it, with
// whatever an operator forgot to escape around it.
func FuzzMasked(f *testing.F) {
	for _, around := range [][2]string{
		{"mysql://bob:", "@db:3306/x"}, {"postgres://bob:1#", "@db/x"}, {"amqp://bob:12/", "@mq/"}, {"amqp://bob:1?", "@mq/"}, {"mysql://bob:a@", "@db/x"},
		{"redis://:", "@h"}, {"postgres://db/x?password=", ""}, {"k1:", ""}, {"k1://", "="}, {"", ""}, {"bob:", "@tcp(db)/x"}, {"host=db password=", ""}, {"//", ""}, {"mysql://bob@", ":3@db"},
	} {
		f.Add(around[0], around[1])
	}
	const hush = "hUsHhUsH"
	f.Fuzz(func(t *testing.T, before, after string) {
		// A password stands between the colon after a name and the @ before a host.
		scheme, rest, _ := strings.Cut(before, "://")
		if strings.EqualFold(scheme, "sqlite") || !strings.Contains(rest, ":") || !strings.Contains(after, "@") {
			return
		}
		if shown := masked(before + hush + after); strings.Contains(shown, hush) {
			t.Errorf("%q is shown as %q", before+hush+after, shown)
		}
	})
}
