package mq

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"backbeat/app/metrics"
	"backbeat/model"
)

// The stores, as metrics and dead letters name them.
const (
	rabbitStore = "rabbitmq"
	tableStore  = "table"
)

// instruments are what queues count.
type instruments struct {
	published, handled                              *metrics.Durations[outcome]
	spooled, consumed, redelivered, retried, buried *prometheus.CounterVec
}

// outcome is what publishes and batches are told apart by.
type outcome struct{ queue, store, code string }

// newInstruments registers what queues count; to may be nil.
func newInstruments(to prometheus.Registerer) *instruments {
	durations := func(name, help string) *metrics.Durations[outcome] {
		return metrics.NewDurations(to, name, help+" by queue, store (rabbitmq or table) and code: ok, or the kind of the error.",
			[]string{"queue", "store", "code"}, func(o outcome) []string { return []string{o.queue, o.store, o.code} })
	}
	counters := func(name, help string) *prometheus.CounterVec {
		return metrics.Counters(to, name, help+" by queue and store.", "queue", "store")
	}
	return &instruments{
		published: durations("backbeat_queue_publish_duration_seconds",
			"How long it took until a message was durable: confirmed by RabbitMQ or committed to the table,"),
		handled: durations("backbeat_queue_handle_duration_seconds",
			"How long batches were in a handler's hands, waiting for what it needs included,"),
		spooled: metrics.Counters(to, "backbeat_queue_spooled_total",
			"Messages that went into the table since RabbitMQ did not confirm them in time, by queue.", "queue"),
		consumed:    counters("backbeat_queue_consumed_total", "Messages handled and acknowledged,"),
		redelivered: counters("backbeat_queue_redelivered_total", "Messages handed over again since a consumer ended without settling them,"),
		retried:     counters("backbeat_queue_retried_total", "Messages put back for another attempt since their handler failed,"),
		buried:      counters("backbeat_queue_dead_total", "Messages given up,"),
	}
}

// tally counts what becomes of the messages of one queue in one store.
type tally struct {
	handled                                *metrics.Durations[outcome]
	consumed, redelivered, retried, buried prometheus.Counter
	queue, store                           string
}

func (i *instruments) tally(queue Queue, store string) *tally {
	return &tally{
		handled: i.handled, queue: queue.Name, store: store,
		consumed: i.consumed.WithLabelValues(queue.Name, store), redelivered: i.redelivered.WithLabelValues(queue.Name, store),
		retried: i.retried.WithLabelValues(queue.Name, store), buried: i.buried.WithLabelValues(queue.Name, store),
	}
}

// publish observes a publish that ended with err.
func (i *instruments) publish(ctx context.Context, queue Queue, store string, start time.Time, err error) {
	i.published.Since(ctx, outcome{queue.Name, store, metrics.Code(err)}, start)
}

// MeasureDepth registers how many messages the queues hold. They are counted at each
// scrape, by a process that has the broker anyhow; to may be nil. What was not spooled
// so far shows as 0, which an alert on its rate needs.
func MeasureDepth(to prometheus.Registerer, broker Broker, queues []Queue) {
	switch b := broker.(type) {
	case *Spooled:
		for _, queue := range queues {
			b.spool.metrics.spooled.WithLabelValues(queue.Name)
		}
		MeasureDepth(to, b.primary, queues)
		MeasureDepth(to, b.spool, queues)
	case *Rabbit:
		measureDepth(to, rabbitStore, func(context.Context) ([]depth, error) { return b.depths(queues) })
	case *Table:
		measureDepth(to, tableStore, func(ctx context.Context) ([]depth, error) { return b.depths(ctx, queues) })
	}
}

// depth is how many messages of a queue are in a state: waiting, delayed until
// another attempt, or dead. A Table counts delayed ones and those in hand as waiting.
type depth struct {
	queue, state string
	messages     int64
}

const (
	waitingState = "waiting"
	delayedState = "delayed"
	deadState    = "dead"
)

func measureDepth(to prometheus.Registerer, store string, read func(context.Context) ([]depth, error)) {
	messages := metrics.NewGauge("backbeat_queue_messages",
		"Messages in a queue, by store and state: waiting, delayed until another attempt, or dead. Those in the table beside RabbitMQ are the spool.",
		prometheus.Labels{"store": store}, "queue", "state")
	metrics.Read(to, "queue_"+store, func(ctx context.Context) ([]metrics.Sample, error) {
		found, err := read(ctx)
		samples := make([]metrics.Sample, len(found))
		for i, d := range found {
			samples[i] = metrics.Sample{Gauge: messages, Value: float64(d.messages), Labels: []string{d.queue, d.state}}
		}
		return samples, err
	}, messages)
}

// depths asks the broker, over a channel of its own. It ends with the connection.
func (r *Rabbit) depths(queues []Queue) (found []depth, err error) {
	session := r.consuming.current()
	if session == nil {
		return nil, errAway
	}
	channel, err := session.conn.Channel()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, channel.Close()) }()
	for _, queue := range queues {
		declared, err := declare(channel, queue)
		if err != nil {
			return nil, err
		}
		found = append(found, depth{queue.Name, waitingState, int64(declared.live)},
			depth{queue.Name, delayedState, int64(declared.delayed)}, depth{queue.Name, deadState, int64(declared.dead)})
	}
	return found, nil
}

var errAway = errors.New("not connected to RabbitMQ")

// Check returns why RabbitMQ takes no messages at present, nil when it does.
func (r *Rabbit) Check(context.Context) error {
	session := r.publishing.current()
	switch {
	case session == nil:
		return errAway
	case session.blocked.Load():
		return errors.New("RabbitMQ blocks publishers")
	default:
		return nil
	}
}

func (t *Table) depths(ctx context.Context, queues []Queue) ([]depth, error) {
	var rows []struct {
		Queue string
		Dead  bool
		N     int64
	}
	names := make([]string, len(queues))
	counted := map[string]*[2]int64{}
	for i, queue := range queues {
		names[i] = queue.Name
		counted[queue.Name] = &[2]int64{}
	}
	err := t.db.WithContext(ctx).Model(&model.QueueMessage{}).Where("queue IN ?", names).
		Select("queue, dead, COUNT(*) AS n").Group("queue, dead").Find(&rows).Error
	if err != nil {
		return nil, model.Wrap(err, "counting messages")
	}
	for _, row := range rows {
		if n := counted[row.Queue]; row.Dead {
			n[1] = row.N
		} else {
			n[0] = row.N
		}
	}
	var found []depth
	for _, name := range names {
		found = append(found, depth{name, waitingState, counted[name][0]}, depth{name, deadState, counted[name][1]})
	}
	return found, nil
}
