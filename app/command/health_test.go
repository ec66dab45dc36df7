package command

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHealth(t *testing.T) {
	ready := true
	process := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/livez":
			fmt.Fprintln(w, "alive")
		case r.URL.Path != "/readyz":
			http.NotFound(w, r)
		case ready:
			fmt.Fprintln(w, "database ok")
		default:
			http.Error(w, "database away", http.StatusServiceUnavailable)
		}
	}))
	defer process.Close()
	address := process.Listener.Addr().String()
	everywhere := address[strings.LastIndexByte(address, ':'):]
	for _, row := range []struct {
		name   string
		listen string
		args   []string
		away   bool
		shows  string
		fails  string
	}{
		{"ready by default", address, []string{"health"}, false, "database ok", ""},
		{"ready", address, []string{"health", "ready"}, false, "database ok", ""},
		{"listening everywhere", everywhere, []string{"health"}, false, "database ok", ""},
		{"listening on any IPv4 address", "0.0.0.0" + everywhere, []string{"health"}, false, "database ok", ""},
		{"not ready, with the reason", address, []string{"health"}, true, "", "database away"},
		{"alive all the same", address, []string{"health", "live"}, true, "alive", ""},
		{"nobody there", "127.0.0.1:1", []string{"health"}, false, "", "refused"},
		{"no port", "", []string{"health"}, false, "", "admin.listen"},
		{"another question", address, []string{"health", "happy"}, false, "", "live, ready"},
		{"two questions", address, []string{"health", "live", "ready"}, false, "", "live, ready"},
	} {
		t.Run(row.name, func(t *testing.T) {
			ready = !row.away
			shown, err := execute(t, []string{"BACKBEAT_ADMIN_LISTEN=" + row.listen}, row.args...)
			if (err != nil) != (row.fails != "") || err != nil && !strings.Contains(err.Error(), row.fails) {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(shown, row.shows) {
				t.Errorf("got %s", shown)
			}
		})
	}
}
