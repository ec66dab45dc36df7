package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// The documented file must be the defaults, key by key: it is the manual.
func TestDocumentedFileIsTheDefaults(t *testing.T) {
	cfg, err := Load("config.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	for i, k := range want.keys() {
		got := cfg.keys()[i].value.Interface()
		if reflect.ValueOf(got).Kind() == reflect.Slice && reflect.ValueOf(got).Len() == 0 && k.value.Len() == 0 {
			continue
		}
		if !reflect.DeepEqual(got, k.value.Interface()) {
			t.Errorf("%s is %v in config.yaml, %v by default", k, got, k.value.Interface())
		}
	}
	content, err := os.ReadFile("config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range want.keys() {
		if !strings.Contains(string(content), k.path[len(k.path)-1]+":") {
			t.Errorf("%s is not in config.yaml", k)
		}
		if marked := strings.Count(string(content), "(secret)"); k.secret && marked == 0 {
			t.Errorf("%s is not marked as a secret", k)
		}
	}
}

func TestEveryKeyHasAVariable(t *testing.T) {
	samples := map[reflect.Type][2]any{
		reflect.TypeFor[string]():        {"x", "x"},
		reflect.TypeFor[int]():           {"7", 7},
		reflect.TypeFor[int64]():         {"7", int64(7)},
		reflect.TypeFor[float64]():       {"0.5", 0.5},
		reflect.TypeFor[bool]():          {"true", true},
		reflect.TypeFor[time.Duration](): {"7s", 7 * time.Second},
		reflect.TypeFor[[]string]():      {"a, b", []string{"a", "b"}},
	}
	for _, k := range Default().keys() {
		t.Run(k.String(), func(t *testing.T) {
			sample := samples[k.value.Type()]
			cfg := Default()
			if faults := cfg.readEnviron([]string{k.variable() + "=" + sample[0].(string)}); faults != nil {
				t.Fatal(faults)
			}
			for _, got := range cfg.keys() {
				if got.String() == k.String() && !reflect.DeepEqual(got.value.Interface(), sample[1]) {
					t.Errorf("got %v, want %v", got.value.Interface(), sample[1])
				}
			}
		})
	}
}

func TestFaultsAreReportedTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backbeat.yaml")
	if err := os.WriteFile(path, []byte("http:\n  lisen: :1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path, []string{
		"HOME=/root", "BACKBEAT_TEST_MARIADB=ignored", "BACKBEAT_CONFIG=ignored",
		"BACKBEAT_HTTP_LISTN=:1", "BACKBEAT_TOKEN_LIFE=soon", "BACKBEAT_HTTP_LISTEN=nowhere",
		"BACKBEAT_DB_DSN=oracle:x", "BACKBEAT_TIME_ZONE=Mars/Olympus", "BACKBEAT_RPC_TLS_CERT=/nonexistent",
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range []string{"lisen", "BACKBEAT_HTTP_LISTN", "BACKBEAT_TOKEN_LIFE", "http.listen", "db.dsn", "time.zone", "rpc.tls"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing from: %v", part, err)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, row := range []struct {
		name     string
		variable string
		fault    string // "" is accepted
	}{
		{"defaults", "BACKBEAT_LOG_LEVEL=info", ""},
		{"listen on a name", "BACKBEAT_HTTP_LISTEN=localhost:8080", ""},
		{"listen without a port", "BACKBEAT_HTTP_LISTEN=localhost", "http.listen"},
		{"listen on an empty port", "BACKBEAT_HTTP_LISTEN=localhost:", "http.listen"},
		{"public URL without a scheme", "BACKBEAT_HTTP_PUBLIC_URL=example.org", "http.public_url"},
		{"public URL with a path", "BACKBEAT_HTTP_PUBLIC_URL=https://example.org/app", ""},
		{"proxy without a mask", "BACKBEAT_HTTP_TRUSTED_PROXIES=10.0.0.1", "http.trusted_proxies"},
		{"S3 without keys", "BACKBEAT_S3_ENDPOINT=127.0.0.1:9000", "s3.access_key"},
		{"lease too short", "BACKBEAT_ETCD_LEASE=10ms", "etcd.lease"},
		{"staging below one upload", "BACKBEAT_MEDIA_STAGING_BYTES=1", "media.staging_bytes"},
		{"unknown sampler", "BACKBEAT_JAEGER_SAMPLER=often", "jaeger.sampler"},
		{"replicas of no database", "BACKBEAT_DB_REPLICAS=mysql://bob:hush@db2/backbeat", "db.replicas"},
		{"an impatient replica", "BACKBEAT_DB_REPLICA_LAG=100ms", "db.replica_lag"},
		{"a patient replica", "BACKBEAT_DB_REPLICA_LAG=1h", "db.replica_lag"},
		{"AMQP by HTTP", "BACKBEAT_AMQP_URL=http://h", "amqp.url"},
		{"no password hashing", "BACKBEAT_LIMITS_HASHES=-1", "limits.hashes"},
		{"no user limit", "BACKBEAT_LIMITS_USER_RATE=0", ""},
		{"a negative user rate", "BACKBEAT_LIMITS_USER_RATE=-1", "limits.user_rate"},
		{"a negative user burst", "BACKBEAT_LIMITS_USER_BURST=-1", "limits.user_burst"},
		{"a negative address rate", "BACKBEAT_LIMITS_ADDRESS_RATE=-1", "limits.address_rate"},
		{"an endless address burst", "BACKBEAT_LIMITS_ADDRESS_BURST=1000001", "limits.address_burst"},
		{"negative registrations", "BACKBEAT_LIMITS_REGISTRATIONS=-1", "limits.registrations"},
		{"negative login failures", "BACKBEAT_LIMITS_LOGIN_FAILURES=-1", "limits.login_failures"},
		{"likes in no queue", "BACKBEAT_LIKES_SHARDS=0", "likes.shards"},
		{"likes in all queues", "BACKBEAT_LIKES_SHARDS=8", ""},
		{"likes in more queues than workers know", "BACKBEAT_LIKES_SHARDS=9", "likes.shards"},
		{"nobody exempt", "BACKBEAT_LIMITS_EXEMPT=", ""},
		{"an address exempt", "BACKBEAT_LIMITS_EXEMPT=127.0.0.1", "limits.exempt"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Load("", []string{row.variable})
			switch {
			case row.fault == "" && err != nil:
				t.Errorf("refused: %v", err)
			case row.fault != "" && (err == nil || !strings.Contains(err.Error(), row.fault)):
				t.Errorf("got %v, want a fault of %s", err, row.fault)
			}
		})
	}
}

// Replicas are of the database's kind, and no fault of theirs shows a password.
func TestReplicasCopyTheDatabase(t *testing.T) {
	for _, row := range []struct {
		name, dsn, replicas string
		ok                  bool
	}{
		{"MySQL", "mysql://bob:hush@db/x", "mysql://bob:hush@db2/x, mysql://bob:hush@db3/x", true},
		{"PostgreSQL", "postgres://bob:hush@db/x", "postgres://bob:hush@db2/x", true},
		{"one of another kind", "mysql://bob:hush@db/x", "mysql://bob:hush@db2/x,postgres://bob:hush@db3/x", false},
		{"of a file", "sqlite:x.db", "sqlite:y.db", false},
		{"of the file in the data folder", "", "mysql://bob:hush@db2/x", false},
		{"nonsense", "mysql://bob:hush@db/x", "hush", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			cfg, err := Load("", []string{"BACKBEAT_DB_DSN=" + row.dsn, "BACKBEAT_DB_REPLICAS=" + row.replicas})
			if row.ok {
				if err != nil || len(cfg.DB.Replicas) != strings.Count(row.replicas, "://") {
					t.Errorf("refused or cut: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), "db.replicas") || strings.Contains(err.Error(), "hush") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// An empty list replaces a default that is not empty, in the file as in a variable.
func TestListsCanBeEmptied(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backbeat.yaml")
	if err := os.WriteFile(path, []byte("limits:\n  exempt: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, load := range map[string]func() (*Config, error){
		"file":     func() (*Config, error) { return Load(path, nil) },
		"variable": func() (*Config, error) { return Load("", []string{"BACKBEAT_LIMITS_EXEMPT="}) },
	} {
		cfg, err := load()
		if err != nil {
			t.Fatal(err)
		}
		if len(cfg.Limits.Exempt) != 0 {
			t.Errorf("%s: exempt is %v", name, cfg.Limits.Exempt)
		}
	}
}

func TestSecretsComeFromFilesAndAreMasked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte("k1:hush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load("", []string{
		"BACKBEAT_TOKEN_KEYS_FILE=" + path,
		"BACKBEAT_DB_DSN=mysql://bob:hush@db:3306/backbeat?x=hush",
		"BACKBEAT_DB_REPLICAS=mysql://bob:hush@db2:3306/backbeat,mysql://bob:hush@db3:3306/backbeat",
		"BACKBEAT_AMQP_URL=amqp://bob:hush@mq:5672/",
		"BACKBEAT_REDIS_PASSWORD=hush", "BACKBEAT_ETCD_PASSWORD=hush", "BACKBEAT_AMQP_PASSWORD=hush",
		"BACKBEAT_S3_ACCESS_KEY=hush", "BACKBEAT_S3_SECRET_KEY=hush",
	})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Token.Keys != "k1:hush" {
		t.Errorf("keys are %q", cfg.Token.Keys)
	}
	shown, err := cfg.Show()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(shown, "hush") {
		t.Errorf("a secret is shown:\n%s", shown)
	}
	for _, address := range []string{"db:3306/backbeat", "db2:3306/backbeat", "db3:3306/backbeat"} {
		if !strings.Contains(shown, address) {
			t.Errorf("%s is not shown:\n%s", address, shown)
		}
	}
	for _, setting := range cfg.Settings() {
		if strings.Contains(setting.Value, "hush") {
			t.Errorf("%s shows a secret: %s", setting.Name, setting.Value)
		}
	}
	if cfg.DB.Replicas[0] != "mysql://bob:hush@db2:3306/backbeat" {
		t.Error("showing changed the list of replicas")
	}
	if cfg.Redis.Password != "hush" {
		t.Error("showing changed the configuration")
	}
}
