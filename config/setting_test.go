package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The manual says which keys are live: the comment above a key does, or none.
func TestDocumentedFileMarksLiveKeys(t *testing.T) {
	content, err := os.ReadFile("config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	marked := map[string]bool{}
	section, comment, inComment := "", "", false
	for _, line := range strings.Split(string(content), "\n") {
		trimmed := strings.TrimSpace(line)
		name, _, isKey := strings.Cut(trimmed, ":")
		switch {
		case strings.HasPrefix(trimmed, "#"):
			if !inComment {
				comment = ""
			}
			comment, inComment = comment+trimmed, true
			continue
		case isKey && !strings.HasPrefix(line, " "):
			section, comment = name, ""
		case isKey:
			marked[section+"."+name] = strings.Contains(comment, "(live)")
		}
		inComment = false
	}
	for _, s := range Default().Settings() {
		if strings.Count(s.Name, ".") == 1 && marked[s.Name] != s.Live {
			t.Errorf("%s is live %v, and marked so %v", s.Name, s.Live, marked[s.Name])
		}
	}
}

func TestNoSecretIsLive(t *testing.T) {
	for _, k := range Default().keys() {
		if k.secret && k.live {
			t.Errorf("%s is both", k)
		}
	}
}

// What a key shows sets it to what it is: that is how values travel.
func TestTextSetsWhatItShows(t *testing.T) {
	values := map[string]string{}
	for _, s := range Default().Settings() {
		if s.Live {
			values[s.Name] = s.Value
		}
	}
	again, err := Default().With(values)
	if err != nil {
		t.Fatal(err)
	}
	if changes := Changes(Default(), again); len(changes) > 0 {
		t.Errorf("changed: %v", changes)
	}
	if len(values) < 15 {
		t.Errorf("only %d keys are live", len(values))
	}
}

func TestWith(t *testing.T) {
	base := Default()
	for _, row := range []struct {
		name   string
		values map[string]string
		faults []string // none is sound
	}{
		{"nothing", nil, nil},
		{"two keys", map[string]string{"limits.user_rate": "7", "cache.cards": "1m"}, nil},
		{"an emptied list", map[string]string{"limits.exempt": ""}, nil},
		{"every fault", map[string]string{"limits.rate": "1", "http.listen": ":1", "log.level": "loud", "cache.cards": "soon"},
			[]string{"limits.rate", "http.listen", "log.level", "cache.cards"}},
		{"two that go together", map[string]string{"jaeger.sampler": "probabilistic", "jaeger.sampler_param": "0.1"}, nil},
		{"two that do not", map[string]string{"jaeger.sampler": "probabilistic", "jaeger.sampler_param": "7"}, []string{"jaeger.sampler_param"}},
		{"no number at all", map[string]string{"jaeger.sampler_param": "NaN"}, []string{"jaeger.sampler_param"}},
		{"a budget of nothing", map[string]string{"rpc.read_budget": "1ns"}, []string{"rpc.read_budget"}},
		{"an endless budget", map[string]string{"rpc.write_budget": "1h"}, []string{"rpc.write_budget"}},
		{"a circuit that opens for nothing", map[string]string{"circuit.error_percent": "0", "circuit.requests": "0", "circuit.sleep": "0s"},
			[]string{"circuit.error_percent", "circuit.requests", "circuit.sleep"}},
		{"counts for ever", map[string]string{"cache.counts": "2m", "cache.pages": "-1s", "cache.cards": "2h"}, []string{"cache.counts", "cache.pages", "cache.cards"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			changed, err := base.With(row.values)
			if len(row.faults) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range changed.Settings() {
					if want, set := row.values[s.Name]; set && s.Value != want && s.Name != "cache.cards" {
						t.Errorf("%s is %q", s.Name, s.Value)
					}
				}
			}
			for _, fault := range row.faults {
				if err == nil || !strings.Contains(err.Error(), fault) {
					t.Errorf("%s is not in: %v", fault, err)
				}
			}
			if changes := Changes(Default(), base); len(changes) > 0 {
				t.Errorf("the original changed: %v", changes)
			}
		})
	}
}

func TestChangesAndTheirOrigins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backbeat.yaml")
	if err := os.WriteFile(path, []byte("limits: {user_rate: 50, user_burst: 7}\namqp: {tls: {enable: true}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("hush"), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{"BACKBEAT_LIMITS_USER_BURST=8", "BACKBEAT_REDIS_PASSWORD_FILE=" + secret}
	origins, err := Origins(path, environ)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"limits.user_rate": "file", "limits.user_burst": "variable", "limits.address_rate": "default",
		"amqp.tls.enable": "file", "amqp.tls.ca": "default", "redis.password": "variable", "etcd.tls.ca": "default",
	} {
		if origins[key] != want {
			t.Errorf("%s is from %s, want %s", key, origins[key], want)
		}
	}
	after, err := Load(path, environ)
	if err != nil {
		t.Fatal(err)
	}
	after.Cache.Cards = time.Minute
	seen := map[string]Change{}
	for _, c := range Changes(Default(), after) {
		seen[c.Name] = c
	}
	if len(seen) != 4 || !seen["limits.user_burst"].Live || seen["amqp.tls.enable"].Live || seen["redis.password"].New != mask || seen["cache.cards"].New != "1m0s" {
		t.Errorf("changed: %v", seen)
	}
	merged := Default().WithLiveOf(after)
	if merged.Limits.UserBurst != 8 || merged.Cache.Cards != time.Minute || merged.AMQP.TLS.Enable || merged.Redis.Password != "" {
		t.Errorf("taken over: %v", Changes(Default(), merged))
	}
}
