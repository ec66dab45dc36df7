package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"backbeat/app/favorite"
	"backbeat/deploy/local"
)

// counts are what the servers say they were asked since they started.
type counts struct{ sql, redis int64 }

// since returns what was asked after earlier counts, without the one command that
// reading Redis's takes.
func (c counts) since(earlier counts) counts {
	return counts{c.sql - earlier.sql, c.redis - earlier.redis - 1}
}

// beyond returns what was asked beyond what is asked anyway in that time.
func (c counts) beyond(idle counts, took, idled time.Duration) counts {
	share := took.Seconds() / idled.Seconds()
	return counts{max(0, c.sql-int64(share*float64(idle.sql))), max(0, c.redis-int64(share*float64(idle.redis)))}
}

// counters reads counts.
type counters struct {
	store *store
	redis *redis.Client
}

func (c *counters) read(ctx context.Context) (now counts, err error) {
	// Questions are statements that clients sent, executions of prepared ones
	// included and their preparation not.
	if now.sql, err = c.store.questions(ctx); err != nil {
		return now, err
	}
	info, err := c.redis.Info(ctx, "stats").Result()
	if err != nil {
		return now, err
	}
	for line := range strings.Lines(info) {
		if value, found := strings.CutPrefix(line, "total_commands_processed:"); found {
			now.redis, err = strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return now, err
		}
	}
	return now, fmt.Errorf("not in Redis's statistics: total_commands_processed")
}

// handledMetric counts the batches that a worker's handler was called with.
const handledMetric = "backbeat_queue_handle_duration_seconds_count{"

// handled returns how many batches of likes a worker has handled since it started.
func handled(ctx context.Context, worker *local.Server) (batches float64, err error) {
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, worker.Metrics+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(ask)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		series, value, _ := strings.Cut(lines.Text(), "} ")
		if !strings.HasPrefix(series, handledMetric) || !strings.Contains(series, favorite.Queue.Name) {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", series, err)
		}
		batches += n
	}
	return batches, lines.Err()
}
