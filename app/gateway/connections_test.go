package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
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

// An app at work keeps its connection while a crowd comes that asks for nothing.
func TestACrowdDisplacesItself(t *testing.T) {
	const most = 4
	c := newCrowd(t, most)
	app := c.dial(t)
	for range 5 {
		if status, err := askOver(app, "/"); err != nil || status != http.StatusOK {
			t.Fatalf("beside the crowd the app was answered %d, %v", status, err)
		}
		for range 3 * most {
			c.dial(t)
		}
		harness.Eventually(t, 5*time.Second, func() error {
			if got := c.count(); got != most {
				return fmt.Errorf("%d are open, want %d", got, most)
			}
			return nil
		}, "accepting")
	}
}

// Whose request has arrived stays, though the server has not read it yet.
func TestARequestOnItsWayKeepsItsConnection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	meet := func() (client, server net.Conn) {
		client = dial(t, listener.Addr())
		if server, err = listener.Accept(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = server.Close() })
		return client, server
	}
	const most = 3
	c := newConnections(most)
	client, asked := meet()
	c.accept(t.Context(), asked)
	if _, err := client.Write([]byte("G")); err != nil {
		t.Fatal(err)
	}
	for !readable(asked) {
		runtime.Gosched()
	}
	for range 3 * most {
		_, silent := meet()
		c.accept(t.Context(), silent)
	}
	if _, err := io.ReadFull(asked, make([]byte, 1)); err != nil {
		t.Errorf("its connection was given away: %v", err)
	}
	if got := len(c.open); got != most {
		t.Errorf("%d are open, want %d", got, most)
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

// A request that has arrived and that nobody has read yet keeps the end waiting, for as
// long as there is.
func TestTheEndWaitsForRequestsOnTheirWay(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	c := newConnections(10)
	c.asked(t.Context()) // nobody is there
	client := dial(t, listener.Addr())
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	c.accept(t.Context(), server)
	c.asked(t.Context()) // nothing is asked
	if _, err := client.Write([]byte("G")); err != nil {
		t.Fatal(err)
	}
	for !readable(server) {
		runtime.Gosched()
	}
	ended, end := context.WithCancel(t.Context())
	end()
	c.asked(ended) // no time is left
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		c.asked(t.Context())
	}()
	select {
	case <-waited:
		t.Error("the end does not wait")
	case <-time.After(100 * time.Millisecond):
	}
	if _, err := io.ReadFull(server, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	<-waited
}

func TestMostConnections(t *testing.T) {
	for descriptors, want := range map[uint64]int{0: leastConnections, 128: 32, 1024: 768, 1 << 40: 3 << 18} {
		if got := mostConnections(descriptors); got != want {
			t.Errorf("%d of %d descriptors, want %d", got, descriptors, want)
		}
	}
}
