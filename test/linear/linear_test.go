package linear

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"backbeat/app/cache"
	"backbeat/test/harness"
)

// envHistories is how many histories TestHistories plays.
const envHistories = "BACKBEAT_HISTORIES"

const usualHistories = 200

func TestMain(m *testing.M) {
	cache.LogTo(slog.New(slog.DiscardHandler)) // tests look at errors themselves
	goleak.VerifyTestMain(m, append(harness.LeakOptions(),
		// gorm gives its caches of statements, and SQLite's readers, no end.
		goleak.IgnoreAnyFunction("gorm.io/gorm/internal/lru.NewLRU[...].func1"),
		goleak.IgnoreAnyFunction("database/sql.(*DB).connectionOpener"),
		// A library of go-micro's starts one when it is imported.
		goleak.IgnoreAnyFunction("github.com/patrickmn/go-cache.(*janitor).Run"))...)
}

func histories(tb testing.TB) int {
	asked := os.Getenv(envHistories)
	if asked == "" {
		return usualHistories
	}
	n, err := strconv.Atoi(asked)
	if err != nil || n < 1 {
		tb.Fatalf("%s=%q is no number of histories", envHistories, asked)
	}
	return n
}

func TestHistories(t *testing.T) {
	total, began := histories(t), time.Now()
	var asked, played, calls, disturbed int
	var redelivered, spooled int64
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			share := max(1, total*k.share/40)
			asked += share
			must(t, flag.Set("rapid.checks", fmt.Sprint(share)))
			must(t, flag.Set("rapid.nofailfile", "true")) // a schedule can't be replayed
			w := newWorld(t, k, breakage{})
			rapid.Check(t, func(rt *rapid.T) {
				before := w.redis.n.Load()
				wrong, n := play(t, w, programs.Draw(rt, "program"), k.cancels)
				if len(wrong) > 0 {
					rt.Fatalf("%d faults:\n%s", len(wrong), strings.Join(wrong, "\n"))
				}
				played, calls = played+1, calls+n
				if w.redis.n.Load() > before {
					disturbed++
				}
			})
			redelivered, spooled = redelivered+w.traffic.redelivered.Load(), spooled+w.traffic.spooled.Load()
		})
	}
	fmt.Printf("histories: %d linearizable of %d, %d calls, %d redeliveries, %d spooled, %d with a slow Redis, %.0f s\n",
		played, asked, calls, redelivered, spooled, disturbed, time.Since(began).Seconds())
}
