// Package mq moves messages between processes and knows no service. It promises:
//
//   - Publish returns nil only when the message is durable: confirmed by the
//     broker, or committed to the table queue.
//   - A message is handed over until its handler returned nil, so at least once;
//     handlers make that exactly once in effect.
//   - One bad message stops nobody: a failed batch is tried in halves, a
//     failing message is retried a bounded number of times with a delay, then
//     dead-lettered with its reason, and everything behind it goes on.
//
// There are two queues with these promises: Rabbit, on RabbitMQ, and Table, in a
// service's own database. Spooled joins them: what RabbitMQ cannot confirm in
// time goes into the table, and consumers take from both; nothing is forwarded.
// Embedded mode is a Table alone.
package mq

import (
	"context"
	"log/slog"
	"time"

	"github.com/opentracing/opentracing-go"
	"github.com/prometheus/client_golang/prometheus"
)

// Deps is what both queues need; every field but Metrics is required.
type Deps struct {
	// Tracer makes the spans of what is handed over.
	Tracer opentracing.Tracer
	Log    *slog.Logger
	// Now is the clock of claims, delays and deaths.
	Now func() time.Time
	// Metrics may be nil. Queues that are given the same count together.
	Metrics prometheus.Registerer
}

// Queue declares a queue. Every process that publishes to or consumes from a
// queue declares the same value.
type Queue struct {
	// Name in the broker, such as "favorite.write".
	Name string
	// Batch is the most messages handed over at once, at least 1. With 1 a
	// consumer holds one message at a time, as long jobs need.
	Batch int
	// Gather is how long a batch that the broker delivers waits to become full, at
	// most a second: all in it share what a transaction costs. A Table's consumers
	// look for messages at intervals, which gathers as well.
	Gather time.Duration
	// Single allows one active consumer over all processes, others standing by.
	Single bool
	// Attempts is how often a message is tried before it is dead-lettered.
	Attempts int
	// Delay is the wait before each further attempt.
	Delay time.Duration
}

// Message is one unit of work.
type Message struct {
	// ID is unique; Publish draws one when it is empty.
	ID string
	// Type names the payload and its version, such as "favorite.write/1".
	Type string
	// Body is the payload, at most 1 MiB.
	Body []byte
	// Attempt is how many attempts have failed, set on delivery.
	Attempt int
}

// Publisher puts messages into queues. The trace in ctx travels along.
type Publisher interface {
	// Publish returns nil once the message is durable. After an Unavailable
	// error the outcome is unknown: the message may still be delivered.
	Publish(ctx context.Context, queue Queue, message Message) error
}

// Handler does the work of a batch, one message or more, in one go: either all
// of it took effect and it returns nil, or none did. Its context holds the span
// of the first message and is canceled when the consumer must stop at once.
//
// An error whose kind is Unavailable means that something the handler needs is
// away: the batch is tried again, without counting, until it is back. One that
// is no Fault (errs.Invalid …) can never succeed: the message is dead-lettered
// at once. Anything else, a panic included, counts as a failed attempt.
type Handler func(ctx context.Context, batch []Message) error

// Consumer takes messages out of queues.
type Consumer interface {
	// Consume hands messages of the queue to handle until ctx ends, reconnecting
	// as often as it must, then finishes the batch in hand and returns nil. It
	// returns an error only when it can never work.
	Consume(ctx context.Context, queue Queue, handle Handler) error
}

// Dead is a message that was given up.
type Dead struct {
	Message
	Queue string
	// Reason is why, in English, for the operator.
	Reason string
	// Died is when.
	Died time.Time
	// Store names where it lies: "rabbitmq" or "table".
	Store string
}

// DeadLetters looks after messages that were given up.
type DeadLetters interface {
	// Dead lists up to limit dead messages of the queue, oldest first, and leaves
	// them where they are.
	Dead(ctx context.Context, queue Queue, limit int) ([]Dead, error)
	// Replay puts the dead message with the id back into its queue with no failed
	// attempts; NotFound when there is none.
	Replay(ctx context.Context, queue Queue, id string) error
}

// Broker is a queue system with all of the above.
type Broker interface {
	Publisher
	Consumer
	DeadLetters
	// Close ends connections. A consumer that hasn't returned loses the batch in
	// hand: its handler's context is canceled, and the batch is handed over again.
	Close() error
}
