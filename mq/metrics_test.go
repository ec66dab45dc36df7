package mq_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"backbeat/app/errs"
	"backbeat/mq"
	"backbeat/test/harness"
)

// What happens to messages is counted, and what lies in the queue is seen, in
// RabbitMQ as in a table.
func TestMetrics(t *testing.T) {
	for _, w := range []struct {
		world
		store string
	}{
		{world{open: rabbitWorld}, "rabbitmq"},
		{world{open: func(tb testing.TB) func(testing.TB, mq.Deps) *process { return tableWorld(tb, harness.SQLite) }}, "table"},
	} {
		t.Run(w.store, func(t *testing.T) {
			l := newLab(t, w.open(t))
			metrics := prometheus.NewRegistry()
			l.deps.Metrics = metrics
			p := l.process()
			mq.MeasureDepth(metrics, p.Broker, []mq.Queue{l.queue})
			reaches := func(family, labels string, want float64) {
				t.Helper()
				name := fmt.Sprintf(`backbeat_queue_%s{%s}`, family, labels)
				harness.Eventually(t, soon, func() error {
					if got := harness.Metrics(t, metrics)[name]; got != want {
						return fmt.Errorf("%v", got)
					}
					return nil
				}, fmt.Sprintf("%s becomes %v", name, want))
			}
			in := func(state string) string {
				return fmt.Sprintf(`queue=%q,state=%q,store=%q`, l.queue.Name, state, w.store)
			}
			of := fmt.Sprintf(`queue=%q,store=%q`, l.queue.Name, w.store)
			ok := `code="ok",` + of

			l.publish(p, "good", "hopeless", "unsteady")
			reaches("publish_duration_seconds_count", ok, 3)
			reaches("messages", in("waiting"), 3)
			failures := 0
			stop := l.consume(p, func(_ context.Context, batch []mq.Message) error {
				for _, message := range batch {
					switch {
					case message.ID == "hopeless":
						return errs.New(errs.Invalid, "")
					case message.ID == "unsteady" && message.Attempt == 0:
						failures++
						return errs.New(errs.Internal, "")
					}
				}
				return nil
			})
			l.dead(p, 1)
			reaches("consumed_total", of, 2)
			reaches("retried_total", of, 1)
			reaches("dead_total", of, 1)
			reaches("messages", in("dead"), 1)
			reaches("messages", in("waiting"), 0)
			stop()
			if got := harness.Metrics(t, metrics)[`backbeat_queue_handle_duration_seconds_count{code="invalid",`+of+`}`]; got == 0 {
				t.Error("no failed batch is observed")
			}
		})
	}
}

// A consumer that dies leaves its messages to another, which counts them.
func TestRedeliveriesAreCounted(t *testing.T) {
	l := newLab(t, rabbitWorld(t))
	metrics := prometheus.NewRegistry()
	first := l.process()
	l.publish(first, "m")
	held := make(chan struct{})
	stop := l.consume(first, func(ctx context.Context, _ []mq.Message) error {
		close(held)
		<-ctx.Done()
		return ctx.Err()
	})
	<-held
	first.kill()
	stop()
	l.deps.Metrics = metrics
	done := make(chan struct{})
	l.consume(l.process(), func(context.Context, []mq.Message) error { close(done); return nil })
	<-done
	if got := harness.Metrics(t, metrics)[fmt.Sprintf(`backbeat_queue_redelivered_total{queue=%q,store="rabbitmq"}`, l.queue.Name)]; got != 1 {
		t.Errorf("%v redelivered, want 1", got)
	}
}

// A broker that is away costs a scrape nothing but the broker's own values: the
// spool's are there.
func TestScrapeWhileTheBrokerIsAway(t *testing.T) {
	server := harness.RabbitMQServer(t)
	dsn := migrated(t, harness.SQLite(t))
	l := newLab(t, nil)
	metrics := prometheus.NewRegistry()
	l.deps.Metrics = metrics
	rabbit := startRabbit(t, server.URL, soon, l.deps)
	connected(t, rabbit)
	spooled := mq.NewSpooled(rabbit, mq.NewTable(connect(t, dsn, l.deps), l.deps), 50*time.Millisecond, l.deps.Log)
	mq.MeasureDepth(metrics, spooled, []mq.Queue{l.queue})
	scrape := func(state string, up float64) map[string]float64 {
		t.Helper()
		start := time.Now()
		found := harness.Metrics(t, metrics)
		if took := time.Since(start); took > 3*time.Second { // a scrape's bound is a third of that, on a busy machine
			t.Errorf("%s: a scrape took %v", state, took)
		}
		if got := found[`backbeat_reading_up{name="queue_rabbitmq"}`]; got != up {
			t.Errorf("%s: the reading of RabbitMQ is up: %v", state, got)
		}
		return found
	}
	harness.Eventually(t, soon, func() error {
		if harness.Metrics(t, metrics)[`backbeat_reading_up{name="queue_rabbitmq"}`] != 1 {
			return fmt.Errorf("not read")
		}
		return nil
	}, "the depth is read")
	if got, there := harness.Metrics(t, metrics)[fmt.Sprintf(`backbeat_queue_spooled_total{queue=%q}`, l.queue.Name)]; got != 0 || !there {
		t.Errorf("%v spooled, there %t, before anything was", got, there)
	}
	must(t, server.Pause())
	l.publish(spooled, "m")
	for _, state := range []string{"hung", "hung still"} {
		found := scrape(state, 0)
		if got := found[fmt.Sprintf(`backbeat_queue_messages{queue=%q,state="waiting",store="table"}`, l.queue.Name)]; got != 1 {
			t.Errorf("%s: %v messages in the spool, want 1", state, got)
		}
		if got := found[fmt.Sprintf(`backbeat_queue_spooled_total{queue=%q}`, l.queue.Name)]; got != 1 {
			t.Errorf("%s: %v spooled, want 1", state, got)
		}
	}
	must(t, server.Resume())
	must(t, server.Kill())
	harness.Eventually(t, soon, func() error {
		if rabbit.Check(t.Context()) == nil {
			return fmt.Errorf("it seems connected")
		}
		return nil
	}, "the death is noticed")
	scrape("dead", 0)
}
