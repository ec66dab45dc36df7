package harness_test

import (
	"strings"
	"testing"

	"backbeat/test/harness"
)

func TestInspect(t *testing.T) {
	for _, row := range []struct {
		name, text string
		secrets    []string
		found      string
	}{
		{"nothing", `{"msg":"running"}`, []string{"hush"}, ""},
		{"a race", "WARNING: DATA RACE", nil, "DATA RACE"},
		{"a panic", "panic: nil map", nil, "panic"},
		{"a password", "password=pass1234", nil, "pass1234"},
		{"a token", "token=eyJhbGciOiJI", nil, "eyJhbGciOi"},
		{"the caller's secret", "a hush b", []string{"else", "hush"}, "hush"},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := harness.Inspect("the log", row.text, row.secrets...)
			if row.found == "" && err != nil || row.found != "" && (err == nil || !strings.Contains(err.Error(), row.found)) {
				t.Errorf("got %v", err)
			}
		})
	}
}
