package cache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opentracing/opentracing-go"
	"github.com/opentracing/opentracing-go/mocktracer"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"backbeat/app/cache"
	"backbeat/app/errs"
	"backbeat/config"
	"backbeat/deploy/local"
	"backbeat/test/harness"
)

func TestMain(m *testing.M) {
	cache.LogTo(slog.New(slog.DiscardHandler)) // tests look at errors themselves
	goleak.VerifyTestMain(m, harness.LeakOptions()...)
}

func dial(tb testing.TB, addr string) redis.UniversalClient {
	tb.Helper()
	client, err := cache.Dial(config.Redis{Addr: addr})
	must(tb, err)
	tb.Cleanup(func() { must(tb, client.Close()) })
	return client
}

func newRedis(tb testing.TB) (*cache.Redis, *local.Server) {
	tb.Helper()
	server := harness.Redis(tb)
	return cache.NewRedis(dial(tb, server.URL)), server
}

func newMemory(tb testing.TB) *cache.Memory {
	tb.Helper()
	m, err := cache.NewMemory(1 << 20)
	must(tb, err)
	tb.Cleanup(func() { must(tb, m.Close()) })
	return m
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func set(t *testing.T, c cache.Cache, ttl time.Duration, entries map[string]string) {
	t.Helper()
	values := map[string][]byte{}
	for key, value := range entries {
		values[key] = []byte(value)
	}
	must(t, c.Set(t.Context(), ttl, values))
}

// holds checks values by key; "-" is a miss.
func holds(t *testing.T, c cache.Cache, want map[string]string) {
	t.Helper()
	for key, value := range want {
		if got := get(t, c, key); got != value {
			t.Errorf("%q holds %q, want %q", key, got, value)
		}
	}
}

func get(t *testing.T, c cache.Cache, key string) string {
	t.Helper()
	values, err := c.Get(t.Context(), key)
	must(t, err)
	if len(values) != 1 {
		t.Fatalf("%d values for one key", len(values))
	}
	if values[0] == nil {
		return "-"
	}
	return string(values[0])
}

// The suite every Cache passes.
func TestCache(t *testing.T) {
	tests := map[string]func(t *testing.T, c cache.Cache){
		"nothing at first": func(t *testing.T, c cache.Cache) { holds(t, c, map[string]string{"a": "-"}) },
		"one value per key, in order": func(t *testing.T, c cache.Cache) {
			set(t, c, time.Minute, map[string]string{"a": "1", "c": "用户🎬\x00"})
			values, err := c.Get(t.Context(), "c", "b", "a", "c")
			must(t, err)
			if got := fmt.Sprintf("%q", values); got != `["用户🎬\x00" "" "1" "用户🎬\x00"]` || values[1] != nil {
				t.Errorf("values %s", got)
			}
		},
		"an empty value is no miss": func(t *testing.T, c cache.Cache) {
			must(t, c.Set(t.Context(), time.Minute, map[string][]byte{"nil": nil, "empty": {}}))
			holds(t, c, map[string]string{"nil": "", "empty": ""})
		},
		"the last value counts": func(t *testing.T, c cache.Cache) {
			set(t, c, time.Minute, map[string]string{"a": "1"})
			set(t, c, time.Minute, map[string]string{"a": "2"})
			holds(t, c, map[string]string{"a": "2"})
		},
		"deleted": func(t *testing.T, c cache.Cache) {
			set(t, c, time.Minute, map[string]string{"a": "1", "b": "2", "c": "3"})
			must(t, c.Delete(t.Context(), "a", "never there", "b"))
			holds(t, c, map[string]string{"a": "-", "b": "-", "c": "3"})
		},
		"nothing asked": func(t *testing.T, c cache.Cache) {
			values, err := c.Get(t.Context())
			if len(values) != 0 {
				t.Errorf("values %q", values)
			}
			must(t, errors.Join(err, c.Set(t.Context(), time.Minute, nil), c.Delete(t.Context())))
		},
		"everything expires": func(t *testing.T, c cache.Cache) {
			for _, ttl := range []time.Duration{0, -time.Second, time.Microsecond} {
				if err := c.Set(t.Context(), ttl, map[string][]byte{"a": nil}); !errs.Is(err, errs.Invalid) {
					t.Errorf("Set for %v returned %v, want Invalid", ttl, err)
				}
			}
			holds(t, c, map[string]string{"a": "-"})
		},
		"each for its own time": func(t *testing.T, c cache.Cache) {
			set(t, c, time.Hour, map[string]string{"long": "1", "shortened": "1"})
			set(t, c, 100*time.Millisecond, map[string]string{"short": "1", "shortened": "2", "prolonged": "1"})
			set(t, c, time.Hour, map[string]string{"prolonged": "2"})
			harness.Eventually(t, 10*time.Second, func() error {
				if got := get(t, c, "short") + get(t, c, "shortened"); got != "--" {
					return errors.New(got)
				}
				return nil
			}, "entries expire")
			holds(t, c, map[string]string{"long": "1", "prolonged": "2"})
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Run("memory", func(t *testing.T) { test(t, newMemory(t)) })
			t.Run("redis", func(t *testing.T) {
				c, _ := newRedis(t)
				test(t, c)
			})
		})
	}
}

func TestMemoryIsBounded(t *testing.T) {
	m := newMemory(t)
	const entries = 4096
	value := bytes.Repeat([]byte("x"), 1<<10) // four times what it may hold
	for i := range entries {
		must(t, m.Set(t.Context(), time.Hour, map[string][]byte{fmt.Sprint(i): value}))
	}
	harness.Eventually(t, 10*time.Second, func() error {
		held := 0
		for i := range entries {
			if get(t, m, fmt.Sprint(i)) != "-" {
				held++
			}
		}
		if held == 0 || held > 1<<10 {
			return fmt.Errorf("%d KiB held, want at most 1,024", held)
		}
		return nil
	}, "the cache keeps to its size")
}

// calls are all calls of a Cache, by name.
func calls(ctx context.Context, c cache.Cache) map[string]func() error {
	return map[string]func() error{
		"Get":    func() error { _, err := c.Get(ctx, "a", "b"); return err },
		"Set":    func() error { return c.Set(ctx, time.Minute, map[string][]byte{"a": nil}) },
		"Delete": func() error { return c.Delete(ctx, "a", "b") },
	}
}

// A dead or stalled Redis costs a call Timeout and no more, and is used again
// once it is back.
func TestRedisNeverHoldsARequest(t *testing.T) {
	c, server := newRedis(t)
	set(t, c, time.Minute, map[string]string{"a": "1"})
	try := func(state string) {
		for name, call := range calls(t.Context(), c) {
			start := time.Now()
			err := call()
			if took := time.Since(start); !errs.Is(err, errs.Unavailable) || took > 4*cache.Timeout {
				t.Errorf("%s: %s returned %v after %v", state, name, err, took)
			}
		}
	}
	must(t, server.Pause())
	try("stalled")
	must(t, server.Resume())
	harness.Eventually(t, 5*time.Second, func() error { _, err := c.Get(t.Context(), "a"); return err }, "redis is used after a stall")
	must(t, server.Kill())
	try("dead")
	must(t, server.Start(t.Context()))
	harness.Eventually(t, 5*time.Second, func() error { _, err := c.Get(t.Context(), "a"); return err }, "redis is used after its death")
}

func TestRedisMayStartLater(t *testing.T) {
	server := harness.Redis(t)
	must(t, server.Kill())
	c := cache.NewRedis(dial(t, server.URL))
	if _, err := c.Get(t.Context(), "a"); !errs.Is(err, errs.Unavailable) {
		t.Errorf("Get returned %v, want Unavailable", err)
	}
	must(t, server.Start(t.Context()))
	harness.Eventually(t, 5*time.Second, func() error { return c.Set(t.Context(), time.Minute, map[string][]byte{"a": nil}) }, "redis is used once it is up")
}

func TestRedisKeepsToItsContext(t *testing.T) {
	c, _ := newRedis(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range calls(ctx, c) {
		if err := call(); !errors.Is(err, context.Canceled) || !errs.Is(err, errs.Unavailable) {
			t.Errorf("%s returned %v, want an Unavailable that tells of the canceled context", name, err)
		}
	}
}

func TestDialReportsBadCertificates(t *testing.T) {
	garbage := t.TempDir() + "/garbage.pem"
	must(t, os.WriteFile(garbage, []byte("no certificate"), 0o600))
	for name, tls := range map[string]config.TLS{
		"no CA file":    {CA: garbage + ".missing"},
		"garbage CA":    {CA: garbage},
		"garbage pair":  {Cert: garbage, Key: garbage},
		"no such files": {Cert: garbage + ".missing", Key: garbage + ".missing"},
	} {
		if _, err := cache.Dial(config.Redis{Addr: "127.0.0.1:6379", TLS: tls}); err == nil {
			t.Errorf("%s: Dial took it", name)
		}
	}
	client, err := cache.Dial(config.Redis{Addr: "127.0.0.1:6379", TLS: config.TLS{Enable: true}})
	must(t, err)
	must(t, client.Close())
}

func TestSpansNameCommandsNotValues(t *testing.T) {
	server := harness.Redis(t)
	client := dial(t, server.URL)
	c := cache.NewRedis(client)
	tracer := mocktracer.New()
	root := tracer.StartSpan("request")
	ctx := opentracing.ContextWithSpan(t.Context(), root)

	must(t, c.Set(ctx, time.Minute, map[string][]byte{"secret-key": []byte("secret-value")}))
	_, err := c.Get(ctx, "secret-key", "secret-miss")
	must(t, err)
	must(t, client.Get(ctx, "secret-key").Err())
	must(t, c.Delete(t.Context(), "secret-key")) // outside the trace
	must(t, server.Kill())
	if _, err := c.Get(ctx, "secret-key"); err == nil {
		t.Error("Get worked on a dead redis")
	}

	spans := tracer.FinishedSpans()
	var got []string
	for _, span := range spans {
		got = append(got, fmt.Sprint(span.OperationName, " x", span.Tag("db.commands"), " failed:", span.Tag("error")))
		if span.ParentID != root.(*mocktracer.MockSpan).SpanContext.SpanID {
			t.Errorf("%s is no child of the request", span.OperationName)
		}
		if all := fmt.Sprint(span.Tags(), span.Logs(), span.OperationName); strings.Contains(all, "secret") {
			t.Errorf("a span holds keys or values: %s", all)
		}
	}
	want := "redis set x1 failed:<nil>|redis get x2 failed:<nil>|redis get x1 failed:<nil>|redis get x1 failed:true"
	if strings.Join(got, "|") != want {
		t.Errorf("spans %q, want %q", got, want)
	}
}

func BenchmarkGet30(b *testing.B) {
	keys := make([]string, 30)
	entries := map[string][]byte{}
	for i := range keys {
		keys[i] = fmt.Sprint("card:", i)
		entries[keys[i]] = bytes.Repeat([]byte("x"), 200)
	}
	shared, _ := newRedis(b)
	for name, c := range map[string]cache.Cache{"memory": newMemory(b), "redis": shared} {
		b.Run(name, func(b *testing.B) {
			must(b, c.Set(b.Context(), time.Hour, entries))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Get(b.Context(), keys...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
