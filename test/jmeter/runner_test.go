package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// launcher is a JMeter that notes the samples, says what it was told and ends
// with the code.
func launcher(t *testing.T, samples, code string) *runner {
	t.Helper()
	dir := t.TempDir()
	noted := filepath.Join(dir, "noted")
	if err := os.WriteFile(noted, []byte(samples), 0o600); err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\necho told \"$@\" | tee " + filepath.Join(dir, "told") + "\n[ -s " + noted + " ] && cat " + noted + " >>\"$5\"\nexit " + code + "\n"
	path := filepath.Join(dir, "jmeter")
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil { //nolint:gosec // it has to run
		t.Fatal(err)
	}
	return &runner{launcher: path, folder: ".", out: filepath.Join(dir, "out"), args: []string{"-Jthreads=3"}}
}

func TestShow(t *testing.T) {
	const header = "timeStamp,elapsed,label,responseCode,responseMessage,success,failureMessage\n"
	const login, user = "1000,20,login,200,OK,true,\n", "1020,10,user,200,OK,true,\n"
	for name, c := range map[string]struct {
		samples, code, base string
		// err is empty for a good run.
		err string
	}{
		"good":            {header + login + user, "0", "http://127.0.0.1:8080", ""},
		"a failed sample": {header + login + "1020,10,user,200,OK,false,no status_code\n", "0", "http://127.0.0.1:8080", "1 of 2 samples failed:\n  user: 200: OK: no status_code"},
		"never sent":      {header + login, "0", "http://127.0.0.1:8080", "never sent: user"},
		"no sample":       {header, "0", "http://127.0.0.1:8080", "never sent: login; user"},
		"nothing noted":   {"", "0", "http://127.0.0.1:8080", "noted nothing"},
		"JMeter fails":    {header + login + user, "3", "http://127.0.0.1:8080", "exit status 3\ntold -n -t"},
		"no address":      {header + login + user, "0", "127.0.0.1", "no address"},
	} {
		t.Run(name, func(t *testing.T) {
			r := launcher(t, c.samples, c.code)
			var printed bytes.Buffer
			for range 2 { // the second finds what the first has left
				printed.Reset()
				err := r.show(t.Context(), &printed, c.base, "login")
				if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
					t.Fatalf("error is %v, not %q", err, c.err)
				}
			}
			if c.err == "" && !strings.Contains(printed.String(), "TOTAL        2        15.0      10    20    20    20  0.00 %          66.7") {
				t.Errorf("the table is\n%s", &printed)
			}
		})
	}
}

func TestJMeterIsTold(t *testing.T) {
	for base, want := range map[string]string{
		"http://127.0.0.1:8080":    "-Jprotocol=http -Jhost=127.0.0.1 -Jport=8080",
		"https://backbeat.example": "-Jprotocol=https -Jhost=backbeat.example -Jport=443",
		"http://backbeat.example/": "-Jprotocol=http -Jhost=backbeat.example -Jport=80",
	} {
		r := launcher(t, columns, "0")
		if _, err := r.samples(t.Context(), base, "like"); err != nil {
			t.Fatal(err)
		}
		told, err := os.ReadFile(filepath.Join(filepath.Dir(r.launcher), "told"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(told), "told -n -t like.jmx -l ") || !strings.Contains(string(told), want) || !strings.HasSuffix(string(told), " -Jthreads=3\n") {
			t.Errorf("for %s JMeter was told %s", base, told)
		}
	}
}

func TestChoose(t *testing.T) {
	for only, want := range map[string]string{"": "login like comment feed mixed", "li": "like", "me": "comment", "x": "mixed", "none": ""} {
		if got := strings.Join(choose(only), " "); got != want {
			t.Errorf("%q chooses %q, not %q", only, got, want)
		}
	}
}
