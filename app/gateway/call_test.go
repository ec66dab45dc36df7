package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afex/hystrix-go/hystrix"
	"go-micro.dev/v4/client"

	"backbeat/app/errs"
	"backbeat/config"
	"backbeat/test/harness"
)

// The commands under test speak in numbers.
type number struct{ n int }

type numbers = command[number, number]

// soon is the budget of commands under test: a dead backend costs it per call.
var soon = budget{20 * time.Millisecond, 1}

// patience bounds waiting for what must happen; it is no measurement.
const patience = 10 * time.Second

// newNumbers returns a command with a new circuit.
func newNumbers(t testing.TB, b budget, concurrency int, f func(context.Context, int) (int, error)) *numbers {
	t.Helper()
	hystrix.Flush()
	t.Cleanup(hystrix.Flush)
	w := &wiring{concurrency: concurrency, watch: newInstruments(nil, nil), log: slog.New(slog.DiscardHandler)}
	c := newCommand(w, "test.Number", func(config.RPC) budget { return b },
		func(ctx context.Context, req *number, _ ...client.CallOption) (*number, error) {
			n, err := f(ctx, req.n)
			return &number{n}, err
		})
	w.set(config.RPC{}, config.Default().Circuit)
	return c
}

// hang answers when the caller's time is up.
func hang(ctx context.Context, _ int) (int, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

func echo(_ context.Context, n int) (int, error) { return n, nil }

// until calls f from several goroutines until done says so.
func until(t *testing.T, f func(), done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for !done() && ctx.Err() == nil {
				f()
			}
		})
	}
	wg.Wait()
	if !done() {
		t.Fatal("it did not happen")
	}
}

// A deadline on the context given to Hystrix, or one returned as it is, would not
// be counted, and this circuit would stay closed for ever.
func TestSlowBackendOpensTheCircuit(t *testing.T) {
	c := newNumbers(t, soon, 100, hang)
	var opened atomic.Bool
	until(t, func() {
		_, err := c.do(t.Context(), &number{1})
		if !errs.Is(err, errs.Unavailable) {
			t.Errorf("do returned %v, want an Unavailable error", err)
		}
		if shortCircuited(err) {
			opened.Store(true)
		}
	}, opened.Load)
}

// After healthy traffic the circuit must open within two seconds (DESIGN §5.5):
// at the rate of a hundred calls a second that is after two hundred failures.
func TestCircuitOpensAfterHealthyTraffic(t *testing.T) {
	var sick atomic.Bool
	c := newNumbers(t, soon, 100, func(ctx context.Context, n int) (int, error) {
		if sick.Load() {
			return 0, errs.New(errs.Unavailable, "")
		}
		return n, nil
	})
	for range 1000 {
		if _, err := c.do(t.Context(), &number{1}); err != nil {
			t.Fatal(err)
		}
	}
	sick.Store(true)
	for range 200 {
		if _, err := c.do(t.Context(), &number{1}); err == nil {
			t.Fatal("a sick backend answered")
		}
	}
	// Hystrix counts in the background.
	until(t, func() { runtime.Gosched() }, func() bool {
		circuit, _, err := hystrix.GetCircuit(c.name)
		return err == nil && circuit.IsOpen()
	})
}

func TestCircuitHealsByItself(t *testing.T) {
	var sick, opened, healed atomic.Bool
	sick.Store(true)
	c := newNumbers(t, soon, 100, func(ctx context.Context, n int) (int, error) {
		if sick.Load() {
			return 0, errs.New(errs.Internal, "")
		}
		return n, nil
	})
	until(t, func() {
		if _, err := c.do(t.Context(), &number{1}); shortCircuited(err) {
			opened.Store(true)
		}
	}, opened.Load)
	sick.Store(false)
	until(t, func() {
		if _, err := c.do(t.Context(), &number{1}); err == nil {
			healed.Store(true)
		}
	}, healed.Load)
}

// None of these says anything about the service's health.
func TestWhatOpensNoCircuit(t *testing.T) {
	tests := map[string]func(t *testing.T) *numbers{
		"thirty wrong passwords": func(t *testing.T) *numbers {
			return newNumbers(t, soon, 100, func(context.Context, int) (int, error) {
				return 0, errs.New(errs.Unauthenticated, "用户名或密码错误")
			})
		},
		"things not found": func(t *testing.T) *numbers {
			return newNumbers(t, soon, 100, func(context.Context, int) (int, error) { return 0, errs.New(errs.NotFound, "") })
		},
		"a service under load": func(t *testing.T) *numbers {
			return newNumbers(t, soon, 100, func(context.Context, int) (int, error) { return 0, errs.New(errs.Exhausted, "") })
		},
		"our own bound": func(t *testing.T) *numbers {
			c := newNumbers(t, soon, 1, echo)
			c.slots <- struct{}{}
			return c
		},
	}
	for name, build := range tests {
		t.Run(name, func(t *testing.T) {
			c := build(t)
			for range 60 {
				_, err := c.do(t.Context(), &number{1})
				if err == nil || sick(err) {
					t.Fatalf("do returned %v, want a refusal", err)
				}
			}
			if open := circuitOpen(t); open {
				t.Error("the circuit is open")
			}
		})
	}
}

func TestCallersWhoLeaveOpenNoCircuit(t *testing.T) {
	called := make(chan struct{})
	c := newNumbers(t, budget{patience, 1}, 100, func(ctx context.Context, n int) (int, error) {
		called <- struct{}{}
		<-ctx.Done()
		return 0, ctx.Err()
	})
	for range 60 {
		ctx, leave := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := c.do(ctx, &number{1})
			ended <- err
		}()
		select {
		case <-called:
		case err := <-ended:
			t.Fatalf("the service was not called: %v", err)
		}
		leave()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Fatalf("do returned %v, want that the caller left", err)
		}
	}
	if circuitOpen(t) {
		t.Error("the circuit is open")
	}
}

func circuitOpen(t *testing.T) bool {
	t.Helper()
	circuit, created, err := hystrix.GetCircuit("test.Number")
	if err != nil {
		t.Fatal(err)
	}
	return !created && circuit.IsOpen()
}

// The call may end after its caller has gone on. Under -race this shows that
// nothing of it is shared.
func TestResultsOfLateCallsGoNowhere(t *testing.T) {
	c := newNumbers(t, budget{5 * time.Millisecond, 2}, 200, func(ctx context.Context, n int) (int, error) {
		if n%3 == 0 {
			<-ctx.Done()
		}
		return n, nil
	})
	c.remember(func(context.Context, *number, *number) {}, func(_ context.Context, req *number) *number { return &number{-req.n} })
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			if i%5 == 0 {
				go leave()
			}
			var missing parts
			if got, err := c.get(ctx, &number{i}, &missing); err == nil && got.n != i && got.n != -i {
				t.Errorf("call %d got the result %d", i, got.n)
			}
		})
	}
	wg.Wait()
}

// With Hystrix's limit near the number of callers healthy calls are refused,
// since its tickets come back late.
func TestHealthyCallsWithinTheBoundAreNeverRefused(t *testing.T) {
	const callers = 64
	c := newNumbers(t, budget{patience, 1}, callers, echo)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range 200 {
				if _, err := c.do(t.Context(), &number{1}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestConcurrencyIsBounded(t *testing.T) {
	const most = 3
	entered, release := make(chan struct{}), make(chan struct{})
	c := newNumbers(t, budget{patience, 1}, most, func(context.Context, int) (int, error) {
		entered <- struct{}{}
		<-release
		return 0, nil
	})
	var wg sync.WaitGroup
	for range most {
		wg.Go(func() {
			if _, err := c.do(t.Context(), &number{}); err != nil {
				t.Error(err)
			}
		})
		<-entered
	}
	if _, err := c.do(t.Context(), &number{}); !errs.Is(err, errs.Exhausted) {
		t.Errorf("one call too many returned %v, want an Exhausted error", err)
	}
	close(release)
	wg.Wait()
	go func() { <-entered }()
	if _, err := c.do(t.Context(), &number{}); err != nil {
		t.Errorf("after the others: %v", err)
	}
}

func TestRetries(t *testing.T) {
	unavailable := errs.New(errs.Unavailable, "")
	tests := map[string]struct {
		tries int
		errs  []error // of the calls in turn; then they succeed
		calls int
		want  errs.Kind
		ok    bool
	}{
		"success needs none":           {2, nil, 1, 0, true},
		"a read survives one failure":  {2, []error{unavailable}, 2, 0, true},
		"two failures are final":       {2, []error{unavailable, unavailable, unavailable}, 2, errs.Unavailable, false},
		"a write is tried once":        {1, []error{unavailable}, 1, errs.Unavailable, false},
		"a refusal is not repeated":    {2, []error{errs.New(errs.NotFound, "")}, 1, errs.NotFound, false},
		"an overload is not increased": {2, []error{errs.New(errs.Exhausted, "")}, 1, errs.Exhausted, false},
		"a bug is not repeated":        {2, []error{errors.New("bug")}, 1, errs.Internal, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			calls := 0
			c := newNumbers(t, budget{patience, tt.tries}, 10, func(context.Context, int) (int, error) {
				calls++
				if calls <= len(tt.errs) {
					return 0, tt.errs[calls-1]
				}
				return 7, nil
			})
			got, err := c.do(t.Context(), &number{1})
			if (err == nil) != tt.ok || err == nil && got.n != 7 || err != nil && errs.KindOf(err) != tt.want {
				t.Errorf("do returned %v, %v", got, err)
			}
			if calls != tt.calls {
				t.Errorf("%d calls, want %d", calls, tt.calls)
			}
		})
	}
}

// One hung instance of two: the first try's share of the time leaves enough for
// the second.
func TestHungTryLeavesTimeForAnother(t *testing.T) {
	calls := 0
	c := newNumbers(t, budget{2 * time.Second, 2}, 10, func(ctx context.Context, n int) (int, error) {
		calls++
		if calls == 1 {
			return hang(ctx, n)
		}
		return n, nil
	})
	if got, err := c.do(t.Context(), &number{7}); err != nil || got.n != 7 {
		t.Errorf("do returned %v, %v", got, err)
	}
}

// A panic on Hystrix's goroutine would end the process.
func TestPanicInACallIsAnError(t *testing.T) {
	c := newNumbers(t, soon, 10, func(context.Context, int) (int, error) { panic("oops") })
	_, err := c.do(t.Context(), &number{1})
	if !errs.Is(err, errs.Internal) || !strings.Contains(err.Error(), "oops") || strings.Contains(errs.Text(err), "oops") {
		t.Errorf("do returned %v, text %q", err, errs.Text(err))
	}
}

func TestFallback(t *testing.T) {
	tests := map[string]struct {
		err     error
		standIn bool
	}{
		"dead":      {errs.New(errs.Unavailable, ""), true},
		"broken":    {errs.New(errs.Internal, ""), true},
		"loaded":    {errs.New(errs.Exhausted, ""), true},
		"not found": {errs.New(errs.NotFound, ""), false},
		"healthy":   {nil, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			learned := 0
			c := newNumbers(t, soon, 10, func(_ context.Context, n int) (int, error) { return n, tt.err })
			c.remember(func(context.Context, *number, *number) { learned++ }, func(context.Context, *number) *number { return &number{-1} })
			var missing parts
			got, err := c.get(t.Context(), &number{7}, &missing)
			switch {
			case tt.standIn && (err != nil || got.n != -1 || missing.String() != "test" || learned != 0):
				t.Errorf("get returned %v, %v, missing %q, learned %d", got, err, missing.String(), learned)
			case !tt.standIn && (!errors.Is(err, tt.err) && errs.KindOf(err) != errs.KindOf(tt.err) || missing.String() != ""):
				t.Errorf("get returned %v, %v, missing %q", got, err, missing.String())
			case tt.err == nil && (got.n != 7 || learned != 1):
				t.Errorf("get returned %v, learned %d", got, learned)
			}
			if _, err := c.do(t.Context(), &number{7}); (err == nil) != (tt.err == nil) {
				t.Errorf("do returned %v: it must have no fallback", err)
			}
		})
	}
}

func TestFallbackThatKnowsNothingIsARefusal(t *testing.T) {
	c := newNumbers(t, soon, 10, func(context.Context, int) (int, error) { return 0, errs.New(errs.Unavailable, "") })
	c.remember(func(context.Context, *number, *number) {}, func(context.Context, *number) *number { return nil })
	var missing parts
	if got, err := c.get(t.Context(), &number{7}, &missing); !errs.Is(err, errs.Unavailable) || missing.String() != "" {
		t.Errorf("get returned %v, %v, missing %q", got, err, missing.String())
	}
}

func TestFailuresAreLoggedOnce(t *testing.T) {
	remote := errs.FromStatus(errs.ToStatus(errs.New(errs.Unavailable, "")).Err())
	tests := map[string]struct {
		err   error
		lines int
	}{
		"by the gateway, when it saw it first": {errors.New("connection refused"), 1},
		"not what the service logged":          {remote, 0},
		"not load":                             {errs.New(errs.Exhausted, ""), 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var log harness.Buffer
			c := newNumbers(t, soon, 10, func(context.Context, int) (int, error) { return 0, tt.err })
			c.log = slog.New(slog.NewTextHandler(&log, nil))
			c.remember(func(context.Context, *number, *number) {}, func(context.Context, *number) *number { return &number{} })
			if _, err := c.get(t.Context(), &number{7}, &parts{}); err != nil {
				t.Fatal(err)
			}
			if lines := strings.Count(log.String(), "\n"); lines != tt.lines {
				t.Errorf("%d lines, want %d: %s", lines, tt.lines, log.String())
			}
		})
	}
}

func TestOpeningOfACircuitIsLoggedOnce(t *testing.T) {
	var log harness.Buffer
	c := newNumbers(t, soon, 100, func(context.Context, int) (int, error) { return 0, errs.New(errs.Unavailable, "") })
	c.log = slog.New(slog.NewTextHandler(&log, nil))
	var refused atomic.Int32
	until(t, func() {
		if _, err := c.do(t.Context(), &number{1}); shortCircuited(err) {
			refused.Add(1)
		}
	}, func() bool { return refused.Load() > 100 })
	if n := strings.Count(log.String(), "circuit opened"); n != 1 {
		t.Errorf("the opening is logged %d times", n)
	}
}

func BenchmarkCall(b *testing.B) {
	c := newNumbers(b, budget{patience, 2}, 1000, echo)
	b.ReportAllocs()
	for b.Loop() {
		if got, err := c.do(b.Context(), &number{7}); err != nil || got.n != 7 {
			b.Fatal(fmt.Sprint(got, err))
		}
	}
}
