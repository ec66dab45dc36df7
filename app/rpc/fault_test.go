package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"

	"backbeat/app/errs"
	"backbeat/proto/user"
	"backbeat/test/harness"
)

// load is callers that call Login without a pause until stopped.
type load struct {
	ok, failed atomic.Int64
	mu         sync.Mutex
	by         map[int64]int // answered, by instance
	last       error
	callers    sync.WaitGroup
	cancel     context.CancelFunc
}

func run(t *testing.T, service user.UserService, callers int, name string, within time.Duration) *load {
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{by: map[int64]int{}, cancel: cancel}
	for range callers {
		l.callers.Go(func() {
			for ctx.Err() == nil {
				call, done := context.WithTimeout(Repeatable(context.Background()), within)
				answer, err := service.Login(call, &user.LoginRequest{Name: name})
				done()
				l.count(answer, err)
			}
		})
	}
	t.Cleanup(l.stop)
	return l
}

func (l *load) count(answer *user.LoginResponse, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed.Add(1)
		l.last = err
		return
	}
	l.ok.Add(1)
	l.by[answer.UserId]++
}

func (l *load) answered(id int64) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.by[id]
}

func (l *load) stop() {
	l.cancel()
	l.callers.Wait()
}

// more waits until n more calls were answered, by the instances if any are named.
func (l *load) more(t *testing.T, n int, ids ...int64) {
	t.Helper()
	if len(ids) == 0 {
		want := l.ok.Load() + int64(n)
		harness.Eventually(t, 10*time.Second, func() error {
			if got := l.ok.Load(); got < want {
				return fmt.Errorf("%d of %d", got, want)
			}
			return nil
		}, "answers")
		return
	}
	for _, id := range ids {
		want := l.answered(id) + n
		harness.Eventually(t, 10*time.Second, func() error {
			if got := l.answered(id); got < want {
				return fmt.Errorf("%d of %d", got, want)
			}
			return nil
		}, fmt.Sprintf("answers of instance %d", id))
	}
}

func TestAKilledInstanceCostsTheCallsInFlight(t *testing.T) {
	r := memory(t)
	dying := process(t, r, 1)
	process(t, r, 2)
	service, _ := dial(t, r)
	const callers = 16
	l := run(t, service, callers, "", 2*time.Second)
	l.more(t, 200, 1, 2)
	must(t, dying.Kill())
	l.more(t, 2000)
	l.stop()
	if failed := l.failed.Load(); failed > callers {
		t.Errorf("%d calls failed, at most %d were in flight: %v", failed, callers, l.last)
	}
	t.Logf("%d of %d calls failed", l.failed.Load(), l.ok.Load())
}

func TestAHungInstanceIsPassedOverAndTakenBack(t *testing.T) {
	r := memory(t)
	hanging := process(t, r, 1)
	process(t, r, 2)
	service, _ := dial(t, r)
	const callers = 4
	l := run(t, service, callers, "", 200*time.Millisecond)
	l.more(t, 200, 1, 2)
	must(t, hanging.Signal(syscall.SIGSTOP))
	hung := time.Now()
	// Were it not passed over, so many answers would take most of a minute.
	l.more(t, 5000, 2)
	// Some timeouts, and what had been sent by then; after that a probe a second.
	if failed := l.failed.Load(); failed > maxTimeouts+callers+int64(time.Since(hung)/restFor) {
		t.Errorf("%d calls failed in %v", failed, time.Since(hung))
	}
	must(t, hanging.Signal(syscall.SIGCONT))
	l.more(t, 200, 1)
}

func TestAnUnhealthyInstanceGetsNoCalls(t *testing.T) {
	r := memory(t)
	ill := serve(t, r, loggingIn(1))
	serve(t, r, loggingIn(2))
	service, _ := dial(t, r)
	l := run(t, service, 2, "", 2*time.Second)
	l.more(t, 100, 1, 2)
	ill.health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	harness.Eventually(t, 2*time.Second, func() error {
		before := l.answered(1)
		l.more(t, 100, 2)
		if n := l.answered(1) - before; n > 0 {
			return fmt.Errorf("%d calls", n)
		}
		return nil
	}, "leaving the unhealthy one alone")
	ill.health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
	l.more(t, 100, 1)
	l.stop()
	if l.failed.Load() > 0 {
		t.Errorf("%d calls failed: %v", l.failed.Load(), l.last)
	}
}

func TestAGracefulStopFailsNobody(t *testing.T) {
	leaks(t)
	r := memory(t)
	serve(t, r, loggingIn(1))
	service, c := dial(t, r)
	l := run(t, service, 8, "", 2*time.Second)
	for id := int64(2); id < 7; id++ {
		leaving := serve(t, r, loggingIn(id))
		l.more(t, 100, 1, id)
		must(t, leaving.Stop())
	}
	l.stop()
	must(t, c.Close())
	if l.failed.Load() > 0 {
		t.Errorf("%d calls failed: %v", l.failed.Load(), l.last)
	}
}

func TestStopFinishesCallsInProgressAndCutsOffWhatHangs(t *testing.T) {
	for _, row := range []struct {
		name string
		hang bool
	}{{"finishing", false}, {"hanging", true}} {
		t.Run(row.name, func(t *testing.T) {
			leaks(t)
			r := memory(t)
			entered, leave := make(chan struct{}), make(chan struct{})
			s := serve(t, r, &users{login: func(ctx context.Context, _ *user.LoginRequest, out *user.LoginResponse) error {
				close(entered)
				select {
				case <-leave:
					out.UserId = 7
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}}, func(c *ServerConfig, _ *ServerDeps) {
				if row.hang {
					c.Drain = 50 * time.Millisecond
				}
			})
			service, c := dial(t, r)
			got := make(chan error, 1)
			go func() {
				_, err := service.Login(t.Context(), &user.LoginRequest{})
				got <- err
			}()
			<-entered
			ended := make(chan error, 1)
			go func() { ended <- s.Stop() }()
			harness.Eventually(t, time.Second, func() error {
				if _, err := r.GetService("user"); err == nil {
					return errors.New("still registered")
				}
				return nil
			}, "deregistering")
			if !row.hang {
				close(leave)
			}
			err := <-got
			must(t, <-ended)
			if row.hang != errs.Is(err, errs.Unavailable) {
				t.Errorf("the call in progress got %v", err)
			}
			must(t, c.Close())
		})
	}
}

func TestEtcdStoppedAndWipedFailsNobody(t *testing.T) {
	leaks(t)
	etcd := harness.Etcd(t)
	var log harness.Buffer
	here := etcdRegistry(t, etcd.Addr, slog.New(slog.NewTextHandler(&log, nil)))
	there, calling := etcdRegistry(t, etcd.Addr, harness.Logger(t)), etcdRegistry(t, etcd.Addr, harness.Logger(t))
	one, two := serve(t, here, loggingIn(1)), serve(t, there, loggingIn(2))
	service, c := dial(t, calling)
	l := run(t, service, 4, "", 2*time.Second)
	l.more(t, 100, 1, 2)
	must(t, etcd.Wipe())
	harness.Eventually(t, 10*time.Second, func() error {
		if !strings.Contains(log.String(), "trying again") {
			return errors.New("the lease lives")
		}
		return nil
	}, "outlasting the lease")
	must(t, etcd.Start(t.Context()))
	back := time.Now()
	newcomer := etcdRegistry(t, etcd.Addr, harness.Logger(t))
	harness.Eventually(t, 10*time.Second, func() error {
		found, err := newcomer.GetService("user")
		if err == nil && len(found[0].Nodes) < 2 {
			err = fmt.Errorf("%d nodes", len(found[0].Nodes))
		}
		return err
	}, "registering again")
	t.Logf("registered again %v after etcd came back", time.Since(back))
	l.more(t, 1000, 1, 2)
	l.stop()
	if l.failed.Load() > 0 {
		t.Errorf("%d calls failed: %v", l.failed.Load(), l.last)
	}
	must(t, c.Close())
	must(t, one.Stop())
	must(t, two.Stop())
	must(t, newcomer.Close())
	must(t, calling.Close())
}

func TestAnswersOfEveryKindKeepTheConnection(t *testing.T) {
	r := memory(t)
	var connections atomic.Int64
	s := serve(t, r, &users{login: func(context.Context, *user.LoginRequest, *user.LoginResponse) error {
		return errs.New(errs.NotFound, "")
	}})
	passed := proxy(t, s.Address(), &connections)
	must(t, r.Deregister(s.registration()))
	registration := s.registration()
	registration.Nodes[0].Address = passed
	must(t, r.Register(registration))
	service, _ := dial(t, r)
	for range 200 {
		if _, err := service.Login(t.Context(), &user.LoginRequest{}); !errs.Is(err, errs.NotFound) {
			t.Fatalf("got %v", err)
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("200 calls opened %d connections", n)
	}
}

// proxy passes connections on and counts them.
func proxy(t *testing.T, to string, connections *atomic.Int64) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var passing sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		passing.Wait()
	})
	passing.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			for from, to := range map[net.Conn]net.Conn{in: out, out: in} {
				passing.Go(func() {
					_, _ = io.Copy(to, from)
					_ = to.Close()
				})
			}
		}
	})
	return listener.Addr().String()
}
