package security

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"backbeat/test/harness"
)

// dribble sends what begins a request, then a byte now and then, until the server
// hangs up, and reports how long that took.
func dribble(conn net.Conn, beginning string, stop <-chan struct{}) (held time.Duration, err error) {
	begun := time.Now()
	if _, err := io.WriteString(conn, beginning); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { // the server's answer, if any, and then the end
		_, err := io.Copy(io.Discard, conn)
		ended <- err
	}()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return time.Since(begun), nil
		case <-stop:
			return 0, errors.New("it is still held")
		case <-tick.C:
			// The end shows in what is read.
			_, _ = io.WriteString(conn, "a")
		}
	}
}

// Clients that send byte by byte are cut off, and while they are held the others
// are served, though there are many more of them than requests may be in progress.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	w := start(t, "BACKBEAT_LIMITS_CONCURRENCY=8")
	harness.OK(t, w.Get(t, "/douyin/feed/"))
	user := w.Register(t)
	const each = 60
	const form = "POST %s HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 5000\r\n\r\ntoken="
	kinds := []struct{ name, beginning string }{
		{"a request line", "GET /douyin/feed/?a="},
		{"headers", "GET /douyin/feed/ HTTP/1.1\r\nHost: a.test\r\nX-A: "},
		{"a form", fmt.Sprintf(form, "/douyin/favorite/action/")},
		{"a login", fmt.Sprintf(form, "/douyin/user/login/")},
	}
	type result struct {
		kind string
		held time.Duration
		err  error
	}
	results := make(chan result, len(kinds)*each)
	stop := make(chan struct{})
	defer close(stop)
	var held atomic.Int64
	for _, kind := range kinds {
		for range each {
			conn := w.dial(t, "127.0.0.1")
			held.Add(1)
			go func() {
				took, err := dribble(conn, kind.beginning, stop)
				held.Add(-1)
				results <- result{kind.name, took, err}
			}()
		}
	}
	served := 0
	deadline := time.After(time.Minute)
	longest := map[string]time.Duration{}
	for ended := 0; ended < len(kinds)*each; {
		select {
		case r := <-results:
			ended++
			if r.err != nil {
				t.Fatalf("%s: %v", r.kind, r.err)
			}
			longest[r.kind] = max(longest[r.kind], r.held)
		case <-deadline:
			t.Fatalf("%d slow clients are still held after a minute", held.Load())
		case <-time.After(100 * time.Millisecond):
			during := held.Load()
			for _, answer := range []harness.Answer{
				w.Get(t, "/douyin/feed/"), w.Get(t, "/douyin/user/", "token", user.Token),
				w.Post(t, "/douyin/user/login/", "username", user.Name, "password", user.Password),
			} {
				if answer.StatusCode != 0 {
					t.Fatalf("beside %d slow clients: %s", during, answer.Raw)
				}
			}
			if during > 0 {
				served += 3
			}
		}
	}
	t.Logf("%d slow clients were cut off after at most %v; %d requests were served meanwhile", len(kinds)*each, longest, served)
	if served == 0 {
		t.Error("nobody was served while slow clients were held")
	}
}

// A large header is refused before it is read to its end.
func TestEndlessHeader(t *testing.T) {
	t.Parallel()
	conn := shared.dial(t, "127.0.0.1")
	go func() {
		// The server hangs up in the middle of it.
		_, _ = io.WriteString(conn, "GET /douyin/feed/ HTTP/1.1\r\nHost: a.test\r\nX-A: "+strings.Repeat("a", 1<<20))
	}()
	check(t, conn.SetReadDeadline(time.Now().Add(30*time.Second)))
	answer, err := io.ReadAll(io.LimitReader(conn, 1<<16))
	if errors.Is(err, os.ErrDeadlineExceeded) || err == nil && !strings.HasPrefix(string(answer), "HTTP/1.1 431") {
		t.Errorf("answered %.100q, %v", answer, err)
	}
	harness.OK(t, shared.Get(t, "/douyin/feed/"))
}
