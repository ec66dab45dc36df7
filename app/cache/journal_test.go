package cache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"backbeat/app/cache"
	"backbeat/app/errs"
	"backbeat/deploy/local"
	"backbeat/test/harness"
)

// journalLength is how many entries journal.go promises to keep at least.
const journalLength = 4096

func newRedisJournal(tb testing.TB) (*cache.RedisJournal, redis.UniversalClient, *local.Server) {
	tb.Helper()
	server := harness.Redis(tb)
	client := dial(tb, server.URL)
	// What it writes survives its death, and no call waits for a slow disk.
	must(tb, client.ConfigSet(tb.Context(), "appendfsync", "no").Err())
	return cache.NewRedisJournal(client, "test:journal"), client, server
}

// note appends entries one after the other.
func note(tb testing.TB, j cache.Journal, entries ...string) {
	tb.Helper()
	for _, entry := range entries {
		must(tb, j.Append(tb.Context(), []byte(entry)))
	}
}

// flood appends at least n entries from several sides, in no order. A busy machine may
// make one of so many calls late, which is tried again.
func flood(tb testing.TB, j cache.Journal, n int) {
	tb.Helper()
	const sides = 8
	var group sync.WaitGroup
	for side := range sides {
		group.Go(func() {
			for i := side; i < n; i += sides {
				err := errors.New("not tried")
				for range 3 {
					if err = j.Append(tb.Context(), []byte(strconv.Itoa(i))); err == nil {
						break
					}
				}
				if err != nil {
					tb.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}

// begin returns the end of the journal.
func begin(tb testing.TB, j cache.Journal) string {
	tb.Helper()
	entries, position, err := j.After(tb.Context(), "")
	must(tb, err)
	if len(entries) > 0 || position == "" {
		tb.Fatalf("the journal begins with %q at %q", entries, position)
	}
	return position
}

// readAll reads until there is nothing new.
func readAll(tb testing.TB, j cache.Journal, position string) (all []string, last string) {
	tb.Helper()
	for {
		entries, last, err := j.After(tb.Context(), position)
		must(tb, err)
		for _, entry := range entries {
			all = append(all, string(entry))
		}
		if last == position {
			return all, last
		}
		position = last
	}
}

// reads checks what is new after position, and returns where that ends.
func reads(tb testing.TB, j cache.Journal, position string, want ...string) string {
	tb.Helper()
	got, last := readAll(tb, j, position)
	if !slices.Equal(got, want) {
		tb.Errorf("after %q there is %q, want %q", position, got, want)
	}
	return last
}

// The suite every Journal passes.
func TestJournal(t *testing.T) {
	tests := map[string]func(t *testing.T, j cache.Journal){
		"begins at its end": func(t *testing.T, j cache.Journal) {
			position := begin(t, j)
			reads(t, j, position)
			note(t, j, "old", "older")
			later := begin(t, j)
			if later == position {
				t.Errorf("the end stays at %q", position)
			}
			reads(t, j, later)
			note(t, j, "new")
			reads(t, j, later, "new")
			reads(t, j, position, "old", "older", "new")
		},
		"in order and once": func(t *testing.T, j cache.Journal) {
			position := begin(t, j)
			note(t, j, "1", "2", "用户🎬\x00\xff")
			position = reads(t, j, position, "1", "2", "用户🎬\x00\xff")
			note(t, j, "3", "3")
			position = reads(t, j, position, "3", "3")
			reads(t, j, position)
		},
		"nothing new": func(t *testing.T, j cache.Journal) {
			note(t, j, "old")
			position := begin(t, j)
			for range 3 {
				if entries, last, err := j.After(t.Context(), position); err != nil || len(entries) > 0 || last != position {
					t.Errorf("after %q there is %q until %q, %v", position, entries, last, err)
				}
			}
		},
		"one who begins tells nobody anything": func(t *testing.T, j cache.Journal) {
			position := begin(t, j)
			note(t, j, "1")
			begin(t, j)
			begin(t, j)
			note(t, j, "2")
			begin(t, j)
			position = reads(t, j, position, "1", "2")
			begin(t, j)
			reads(t, j, position)
		},
		"several readers see all": func(t *testing.T, j cache.Journal) {
			first := begin(t, j)
			note(t, j, "1")
			second := begin(t, j)
			note(t, j, "2")
			first = reads(t, j, first, "1", "2")
			note(t, j, "3")
			second = reads(t, j, second, "2", "3")
			first = reads(t, j, first, "3")
			note(t, j, "4")
			reads(t, j, first, "4")
			reads(t, j, second, "4")
		},
		"a position may be read from again": func(t *testing.T, j cache.Journal) {
			position := begin(t, j)
			note(t, j, "1", "2")
			reads(t, j, position, "1", "2")
			reads(t, j, position, "1", "2")
		},
		"many at once": func(t *testing.T, j cache.Journal) {
			for _, n := range []int{1, 511, 2000} {
				position := begin(t, j)
				want := make([]string, n)
				for i := range want {
					want[i] = fmt.Sprint(n, ":", i)
				}
				note(t, j, want...)
				if got, _ := readAll(t, j, position); !slices.Equal(got, want) {
					t.Errorf("%d of %d entries are read, or in another order", len(got), n)
				}
			}
		},
		"keeps the latest": func(t *testing.T, j cache.Journal) {
			flood(t, j, 3*journalLength)
			position := begin(t, j)
			flood(t, j, journalLength-1) // with the one the reader is at
			got, _ := readAll(t, j, position)
			slices.Sort(got)
			if got = slices.Compact(got); len(got) != journalLength-1 {
				t.Errorf("%d entries are left", len(got))
			}
		},
		"a gap after too many": func(t *testing.T, j cache.Journal) {
			first := begin(t, j)
			note(t, j, "old")
			position := reads(t, j, first, "old")
			flood(t, j, 3*journalLength)
			for _, position := range []string{first, position} {
				if entries, last, err := j.After(t.Context(), position); !errors.Is(err, cache.ErrGap) || len(entries) > 0 {
					t.Errorf("after %q there are %d entries until %q, %v", position, len(entries), last, err)
				}
			}
			position = begin(t, j) // as a reader does then
			note(t, j, "new")
			reads(t, j, position, "new")
		},
		"a bad position": func(t *testing.T, j cache.Journal) {
			note(t, j, "1", "2")
			for _, position := range []string{"garbage", "-", "+", "-1", "99999999", "1-", "(0-0", "\x00", " "} {
				if entries, last, err := j.After(t.Context(), position); err == nil || len(entries) > 0 {
					t.Errorf("after %q there is %q until %q", position, entries, last)
				}
			}
		},
		"what was read stays": func(t *testing.T, j cache.Journal) {
			position := begin(t, j)
			note(t, j, "1", "2", "3")
			entries, _, err := j.After(t.Context(), position)
			must(t, err)
			read := bytes.Join(entries, []byte(" "))
			flood(t, j, 3*journalLength)
			if now := bytes.Join(entries, []byte(" ")); !bytes.Equal(now, read) || string(now) != "1 2 3" {
				t.Errorf("%q has become %q", read, now)
			}
		},
		"several append while one reads": func(t *testing.T, j cache.Journal) {
			const writers, each = 8, 200
			position := begin(t, j)
			var group sync.WaitGroup
			for writer := range writers {
				group.Go(func() {
					for i := range each {
						if err := j.Append(t.Context(), fmt.Append(nil, writer, " ", i)); err != nil {
							t.Error(err)
						}
					}
				})
			}
			var next [writers]int // what each wrote comes in its order
			read := func() error {
				var got []string
				got, position = readAll(t, j, position)
				for _, entry := range got {
					var writer, i int
					if _, err := fmt.Sscan(entry, &writer, &i); err != nil || i != next[writer] {
						t.Fatalf("%q came, %v, after %v", entry, err, next)
					}
					next[writer]++
				}
				for _, n := range next {
					if n != each {
						return fmt.Errorf("%v entries were read", next)
					}
				}
				return nil
			}
			harness.Eventually(t, 20*time.Second, read, "all is read")
			group.Wait()
			reads(t, j, position)
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Run("memory", func(t *testing.T) { test(t, cache.NewMemoryJournal()) })
			t.Run("redis", func(t *testing.T) {
				j, _, _ := newRedisJournal(t)
				test(t, j)
			})
		})
	}
}

// Whenever the journal drops entries, it keeps the latest, and readers keep what they
// have read.
func TestMemoryJournalDropsTheOldest(t *testing.T) {
	j := cache.NewMemoryJournal()
	positions := []string{begin(t, j)} // before each entry
	var read [][][]byte
	for n := range 5 * journalLength {
		note(t, j, strconv.Itoa(n))
		positions = append(positions, begin(t, j))
		entries, _, err := j.After(t.Context(), positions[n])
		must(t, err)
		read = append(read, entries)
		oldest := max(0, n-journalLength+1)
		if entries, _, err := j.After(t.Context(), positions[oldest]); err != nil || len(entries) == 0 || string(entries[0]) != strconv.Itoa(oldest) {
			t.Fatalf("after %d entries, the one %d before is not there: %v", n+1, n-oldest, err)
		}
	}
	for n, entries := range read {
		if len(entries) != 1 || string(entries[0]) != strconv.Itoa(n) {
			t.Fatalf("%d was read and has become %q", n, entries)
		}
	}
}

func TestRedisJournalsAreApart(t *testing.T) {
	server := harness.Redis(t)
	one, other := cache.NewRedisJournal(dial(t, server.URL), "one"), cache.NewRedisJournal(dial(t, server.URL), "other")
	again := cache.NewRedisJournal(dial(t, server.URL), "one") // of another process
	position, elsewhere := begin(t, one), begin(t, other)
	note(t, again, "1")
	note(t, other, "2")
	reads(t, one, position, "1")
	reads(t, again, position, "1")
	reads(t, other, elsewhere, "2")
}

// A server that has lost what it had says so, whatever it was told since.
func TestRedisJournalNoticesALoss(t *testing.T) {
	flush := func(t *testing.T, client redis.UniversalClient, _ *local.Server) {
		must(t, client.FlushAll(t.Context()).Err())
	}
	wipe := func(t *testing.T, client redis.UniversalClient, server *local.Server) {
		must(t, errors.Join(server.Kill(), server.Wipe(), server.Start(t.Context())))
		harness.Eventually(t, 5*time.Second, func() error { return client.Ping(t.Context()).Err() }, "redis is back")
	}
	for _, row := range []struct {
		name  string
		lose  func(*testing.T, redis.UniversalClient, *local.Server)
		since func(*testing.T, cache.Journal)
	}{
		{"flushed", flush, func(*testing.T, cache.Journal) {}},
		{"flushed, and entries came", flush, func(t *testing.T, j cache.Journal) { note(t, j, "1", "2") }},
		{"flushed, and a reader came", flush, func(t *testing.T, j cache.Journal) { begin(t, j) }},
		{"flushed, and many entries came", flush, func(t *testing.T, j cache.Journal) { flood(t, j, 1000) }},
		{"wiped, and entries came", wipe, func(t *testing.T, j cache.Journal) { note(t, j, "1", "2") }},
	} {
		t.Run(row.name, func(t *testing.T) {
			j, client, server := newRedisJournal(t)
			first := begin(t, j)
			note(t, j, "old")
			position := reads(t, j, first, "old")
			// Redis names entries by the millisecond, so let the one of the last entry pass.
			last, err := strconv.ParseInt(position[:strings.IndexByte(position, '-')], 10, 64)
			must(t, err)
			harness.Eventually(t, 5*time.Second, func() error {
				now, err := client.Time(t.Context()).Result()
				if err == nil && now.UnixMilli() <= last {
					err = errors.New("the same millisecond")
				}
				return err
			}, "time passes")
			row.lose(t, client, server)
			row.since(t, j)
			for _, position := range []string{first, position} {
				if entries, last, err := j.After(t.Context(), position); !errors.Is(err, cache.ErrGap) || len(entries) > 0 {
					t.Errorf("after %q there is %q until %q, %v", position, entries, last, err)
				}
			}
			position = begin(t, j)
			note(t, j, "new")
			reads(t, j, position, "new")
		})
	}
}

// A restart that loses nothing is no gap.
func TestRedisJournalOutlivesARestart(t *testing.T) {
	j, client, server := newRedisJournal(t)
	position := begin(t, j)
	note(t, j, "1")
	must(t, errors.Join(server.Stop(), server.Start(t.Context())))
	harness.Eventually(t, 5*time.Second, func() error { return client.Ping(t.Context()).Err() }, "redis is back")
	note(t, j, "2")
	reads(t, j, position, "1", "2")
}

// journalCalls are all calls of a Journal, by name.
func journalCalls(ctx context.Context, j cache.Journal, position string) map[string]func() error {
	return map[string]func() error{
		"Append": func() error { return j.Append(ctx, []byte("x")) },
		"begin":  func() error { _, _, err := j.After(ctx, ""); return err },
		"After":  func() error { _, _, err := j.After(ctx, position); return err },
	}
}

// A dead or stalled Redis costs a call Timeout and no more, and is no gap; once it is
// back it is used again.
func TestRedisJournalNeverHoldsARequest(t *testing.T) {
	j, client, server := newRedisJournal(t)
	position := begin(t, j)
	try := func(state string) {
		for name, call := range journalCalls(t.Context(), j, position) {
			start := time.Now()
			err := call()
			if took := time.Since(start); !errs.Is(err, errs.Unavailable) || errors.Is(err, cache.ErrGap) || took > time.Second {
				t.Errorf("%s: %s returned %v after %v", state, name, err, took)
			}
		}
	}
	back := func() error { return client.Ping(t.Context()).Err() }
	must(t, server.Pause())
	try("stalled")
	must(t, server.Resume())
	harness.Eventually(t, 5*time.Second, back, "redis is used after a stall")
	position = begin(t, j) // what was appended in vain may be there
	note(t, j, "1")
	position = reads(t, j, position, "1")
	must(t, server.Kill())
	try("dead")
	must(t, server.Start(t.Context()))
	harness.Eventually(t, 5*time.Second, back, "redis is used after its death")
	position = begin(t, j)
	note(t, j, "2")
	reads(t, j, position, "2")
}

func TestRedisJournalKeepsToItsContext(t *testing.T) {
	j, _, _ := newRedisJournal(t)
	position := begin(t, j)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range journalCalls(ctx, j, position) {
		if err := call(); !errors.Is(err, context.Canceled) || !errs.Is(err, errs.Unavailable) {
			t.Errorf("%s returned %v, want an Unavailable that tells of the canceled context", name, err)
		}
	}
	reads(t, j, position)
}
