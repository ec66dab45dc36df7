package gateway

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"backbeat/test/harness"
)

// crowd is a server that may have few connections.
type crowd struct {
	*httptest.Server
	open *connections
	// /wait is answered once hold is closed, by release.
	hold    chan struct{}
	release func()
	waiting chan struct{}
}

func newCrowd(t *testing.T, most int) *crowd {
	c := &crowd{open: newConnections(most), hold: make(chan struct{}), waiting: make(chan struct{}, 100)}
	c.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if crowded(r.Context()) {
			w.Header().Set("Connection", "close")
			http.Error(w, "too many", http.StatusTooManyRequests)
			return
		}
		if r.URL.Path == "/wait" {
			c.waiting <- struct{}{}
			<-c.hold
		}
	}))
	c.Config.ConnContext, c.Config.ConnState = c.open.accept, c.open.note
	c.Start()
	t.Cleanup(c.Close)
	c.release = sync.OnceFunc(func() { close(c.hold) })
	t.Cleanup(c.release)
	return c
}

func (c *crowd) dial(t *testing.T) net.Conn {
	t.Helper()
	return dial(t, c.Listener.Addr())
}

func (c *crowd) count() int {
	c.open.mu.Lock()
	defer c.open.mu.Unlock()
	return len(c.open.open)
}

// askOver sends a request over the connection and returns the status.
func askOver(conn net.Conn, path string) (int, error) {
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path); err != nil {
		return 0, err
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}

func TestTheLongestSilentConnectionMakesRoom(t *testing.T) {
	const most = 4
	c := newCrowd(t, most)
	var silent []net.Conn
	for i := range 3 * most {
		silent = append(silent, c.dial(t))
		harness.Eventually(t, 5*time.Second, func() error {
			if want := min(i+1, most); c.count() != want {
				return fmt.Errorf("%d are open, want %d", c.count(), want)
			}
			return nil
		}, "accepting")
	}
	if status, err := askOver(c.dial(t), "/"); err != nil || status != http.StatusOK {
		t.Errorf("a newcomer was answered %d, %v", status, err)
	}
	_ = silent[0].SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := silent[0].Read(make([]byte, 1)); err == nil || errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "timeout") {
		t.Errorf("the longest silent is still connected: %v", err)
	}
	if status, err := askOver(silent[len(silent)-1], "/"); err != nil || status != http.StatusOK {
		t.Errorf("the latest silent was answered %d, %v", status, err)
	}
}

func TestWhoComesOnTopOfTheBusyIsRefused(t *testing.T) {
	const most = 8
	c := newCrowd(t, most)
	answers := make(chan int, most)
	for range most {
		go func() {
			status, _ := askOver(c.dial(t), "/wait")
			answers <- status
		}()
	}
	for range most {
		<-c.waiting
	}
	if status, err := askOver(c.dial(t), "/"); err != nil || status != http.StatusTooManyRequests {
		t.Errorf("one too many was answered %d, %v", status, err)
	}
	for range 3 * most { // silent ones only push out each other
		c.dial(t)
	}
	if status, err := askOver(c.dial(t), "/"); err != nil || status != http.StatusTooManyRequests {
		t.Errorf("after silent ones, one too many was answered %d, %v", status, err)
	}
	if n := c.count(); n > most+1 {
		t.Errorf("%d connections are open", n)
	}
	c.release()
	for range most {
		if status := <-answers; status != http.StatusOK {
			t.Errorf("one of the busy was answered %d", status)
		}
	}
}

func TestLeavingWaitsForTheLastConnection(t *testing.T) {
	c := newCrowd(t, 10)
	c.open.leave(time.Hour) // none is open
	conn := c.dial(t)
	if _, err := askOver(conn, "/"); err != nil {
		t.Fatal(err)
	}
	c.open.leave(time.Millisecond) // no longer than that
	left := make(chan struct{})
	go func() {
		defer close(left)
		c.open.leave(time.Hour)
	}()
	_ = conn.Close()
	<-left
}

func TestLeavingDoesNotWaitForTheLongSilent(t *testing.T) {
	c := newCrowd(t, 10)
	conn := c.dial(t)
	if _, err := askOver(conn, "/"); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 5*time.Second, func() error {
		c.open.mu.Lock()
		defer c.open.mu.Unlock()
		last := c.open.quiet.Back()
		if last == nil {
			return errors.New("it is not silent yet")
		}
		last.Value = silent{last.Value.(silent).conn, time.Now().Add(-time.Minute)}
		return nil
	}, "silence")
	c.open.leave(time.Minute)
}

func TestMostConnections(t *testing.T) {
	for descriptors, want := range map[uint64]int{0: leastConnections, 128: 32, 1024: 768, 1 << 40: 3 << 18} {
		if got := mostConnections(descriptors); got != want {
			t.Errorf("%d of %d descriptors, want %d", got, descriptors, want)
		}
	}
}
