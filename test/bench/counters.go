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

// counts are what the servers say they were asked since they started, and how often
// the gateway called a service.
type counts struct{ sql, redis, rpc int64 }

// since returns what was asked after earlier counts, without the one command that
// reading Redis's takes.
func (c counts) since(earlier counts) counts {
	return counts{c.sql - earlier.sql, c.redis - earlier.redis - 1, c.rpc - earlier.rpc}
}

// beyond returns what was asked beyond what is asked anyway in that time.
func (c counts) beyond(idle counts, took, idled time.Duration) counts {
	share := took.Seconds() / idled.Seconds()
	less := func(n, idle int64) int64 { return max(0, n-int64(share*float64(idle))) }
	return counts{less(c.sql, idle.sql), less(c.redis, idle.redis), less(c.rpc, idle.rpc)}
}

// counters reads counts.
type counters struct {
	store   *store
	redis   *redis.Client
	gateway *local.Server
}

func (c *counters) read(ctx context.Context) (now counts, err error) {
	// Questions are statements that clients sent, executions of prepared ones
	// included and their preparation not.
	if now.sql, err = c.store.questions(ctx); err != nil {
		return now, err
	}
	calls, err := sum(ctx, c.gateway, callsMetric, "")
	if err != nil {
		return now, err
	}
	now.rpc = int64(calls)
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

const (
	// handledMetric counts the batches that a worker's handler was called with,
	// callsMetric the calls of services.
	handledMetric = "backbeat_queue_handle_duration_seconds_count{"
	callsMetric   = "backbeat_rpc_client_duration_seconds_count{"
)

// handled returns how many batches of likes a worker has handled since it started.
func handled(ctx context.Context, worker *local.Server) (batches float64, err error) {
	return sum(ctx, worker, handledMetric, favorite.Queue.Name)
}

// sum adds up those series of a metric whose labels hold some text.
func sum(ctx context.Context, part *local.Server, metric, text string) (total float64, err error) {
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, part.Metrics+"/metrics", nil)
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
		if !strings.HasPrefix(series, metric) || !strings.Contains(series, text) {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", series, err)
		}
		total += n
	}
	return total, lines.Err()
}
