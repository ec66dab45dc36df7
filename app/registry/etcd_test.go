package registry

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"backbeat/test/harness"
)

// always fails the test if probe ever fails until stop is called.
func always(t *testing.T, probe func() error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if err := probe(); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	return func() {
		t.Helper()
		cancel()
		must(t, <-done)
	}
}

func openLogging(t *testing.T, addr string, log io.Writer) *Etcd {
	t.Helper()
	r := NewEtcd(Config{Prefix: "/test", Lease: 2 * time.Second},
		Deps{Client: connect(t, addr), Log: slog.New(slog.NewTextHandler(log, nil))})
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestTheLastKnownStayWhileEtcdIsAway(t *testing.T) {
	for _, row := range []struct {
		name string
		wipe bool
	}{{"killed", false}, {"wiped", true}} {
		t.Run(row.name, func(t *testing.T) {
			leaks(t)
			etcd := harness.Etcd(t)
			var log harness.Buffer
			here, there := openLogging(t, etcd.Addr, &log), open(t, etcd.Addr)
			must(t, here.Register(service("user", "u1", "h:1")))
			must(t, there.Register(service("user", "u2", "h:2")))
			finds(t, here, soon, "user", "h:1", "h:2")
			stop := always(t, func() error { return isExactly(here, "user", []string{"h:1", "h:2"}) })
			if row.wipe {
				must(t, etcd.Wipe())
			} else {
				must(t, etcd.Kill())
			}
			harness.Eventually(t, soon, func() error {
				if !strings.Contains(log.String(), "trying again") {
					return errors.New("the lease lives")
				}
				return nil
			}, "outlasting the lease")
			must(t, etcd.Start(t.Context()))
			newcomer := open(t, etcd.Addr)
			finds(t, newcomer, 10*time.Second, "user", "h:1", "h:2")
			stop()
			must(t, there.Deregister(service("user", "u2", "h:2")))
			finds(t, here, soon, "user", "h:1")
			must(t, here.Close())
			finds(t, newcomer, soon, "user")
		})
	}
}

func TestWhoNeverComesBackAfterAWipeIsForgotten(t *testing.T) {
	t.Parallel()
	etcd := harness.Etcd(t)
	r, dying := open(t, etcd.Addr), open(t, etcd.Addr)
	must(t, dying.Register(service("user", "u1", "h:1")))
	finds(t, r, soon, "user", "h:1")
	must(t, etcd.Wipe())
	must(t, dying.Close())
	must(t, etcd.Start(t.Context()))
	finds(t, r, 15*time.Second, "user")
}

func TestADeadInstanceGoesWithItsLease(t *testing.T) {
	t.Parallel()
	etcd := harness.Etcd(t)
	r, dying := open(t, etcd.Addr), open(t, etcd.Addr)
	must(t, dying.Register(service("user", "u1", "h:1")))
	finds(t, r, soon, "user", "h:1")
	must(t, dying.client.Close()) // no keep-alive and no farewell any more
	finds(t, r, 5*time.Second, "user")
}

func TestKeysDeletedByHandAreWrittenAgain(t *testing.T) {
	t.Parallel()
	etcd := harness.Etcd(t)
	r := open(t, etcd.Addr)
	must(t, r.Register(service("user", "u1", "h:1")))
	finds(t, r, soon, "user", "h:1")
	stop := always(t, func() error { return isExactly(r, "user", []string{"h:1"}) })
	client := connect(t, etcd.Addr)
	_, err := client.Delete(t.Context(), "/", clientv3.WithPrefix())
	must(t, err)
	finds(t, open(t, etcd.Addr), soon, "user", "h:1")
	stop()
}

func TestACompactedWatchGoesOn(t *testing.T) {
	t.Parallel()
	etcd := harness.Etcd(t)
	way := &way{to: etcd.Addr}
	addr := way.open(t, "127.0.0.1:0")
	r, other := open(t, addr), open(t, etcd.Addr)
	must(t, other.Register(service("user", "u1", "h:1")))
	finds(t, r, soon, "user", "h:1")
	way.cut()
	must(t, other.Register(service("user", "u2", "h:2"))) // what the watch has missed
	client := connect(t, etcd.Addr)
	put, err := client.Put(t.Context(), "/elsewhere", "")
	must(t, err)
	_, err = client.Compact(t.Context(), put.Header.Revision)
	must(t, err)
	way.open(t, addr)
	finds(t, r, 10*time.Second, "user", "h:1", "h:2")
	must(t, other.Register(service("user", "u3", "h:3")))
	finds(t, r, soon, "user", "h:1", "h:2", "h:3")
}

// way is a connection to a server that can be cut.
type way struct {
	to       string
	mu       sync.Mutex
	listener net.Listener
	conns    []net.Conn
	passing  sync.WaitGroup
}

func (w *way) open(t *testing.T, at string) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", at)
	must(t, err)
	w.listener = listener
	w.passing.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", w.to)
			if err != nil {
				_ = in.Close()
				continue
			}
			w.mu.Lock()
			w.conns = append(w.conns, in, out)
			w.mu.Unlock()
			w.passing.Go(func() { _, _ = io.Copy(in, out) })
			w.passing.Go(func() { _, _ = io.Copy(out, in) })
		}
	})
	t.Cleanup(w.cut)
	return listener.Addr().String()
}

func (w *way) cut() {
	_ = w.listener.Close()
	w.mu.Lock()
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
	w.mu.Unlock()
	w.passing.Wait()
}

func TestEtcdMayComeLast(t *testing.T) {
	leaks(t)
	etcd := harness.Etcd(t)
	must(t, etcd.Stop())
	r := open(t, etcd.Addr)
	if _, err := r.GetService("user"); err == nil {
		t.Error("an etcd that never answered knows of a service")
	}
	must(t, r.Register(service("user", "u1", "h:1")))
	w, err := r.Watch()
	must(t, err)
	must(t, etcd.Start(t.Context()))
	finds(t, r, 10*time.Second, "user", "h:1")
	if got, err := w.Next(); err != nil || got.Action != "create" {
		t.Errorf("heard %v, %v", got, err)
	}
}

func TestGarbageInEtcdHidesNobody(t *testing.T) {
	t.Parallel()
	etcd := harness.Etcd(t)
	client := connect(t, etcd.Addr)
	for key, value := range map[string]string{"x": "", "user/a": "{", "user/b": `{"name":"user"}`, "user/c": `{"name":"","nodes":[{"id":"c","address":"h:3"}]}`} {
		_, err := client.Put(t.Context(), "/test/services/"+key, value)
		must(t, err)
	}
	r := open(t, etcd.Addr)
	must(t, r.Register(service("user", "u1", "h:1")))
	finds(t, r, soon, "user", "h:1")
}

func TestCloseIsQuickWhileEtcdIsFrozen(t *testing.T) {
	leaks(t)
	etcd := harness.Etcd(t)
	r := open(t, etcd.Addr)
	must(t, r.Register(service("user", "u1", "h:1")))
	finds(t, r, soon, "user", "h:1")
	must(t, etcd.Pause())
	start := time.Now()
	must(t, r.Close())
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Close took %v", took)
	}
	must(t, etcd.Resume())
	if r.Register(service("user", "u2", "h:2")) == nil {
		t.Error("a closed registry registers")
	}
}
