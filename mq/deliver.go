package mq

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"backbeat/app/errs"
	"backbeat/app/metrics"
)

// Bounds of what is published, those of the table's columns.
const (
	maxName   = 64
	maxID     = 36
	maxType   = 64
	maxBody   = 1 << 20
	maxReason = 1024
)

// maxDeliveries is how often a message is handed over to consumers that die with
// it before it is given up. It is only a backstop: a low number would bury good
// messages that happened to be in hand when workers were killed.
const maxDeliveries = 100

// The wait between tries while something is away doubles from least to most.
const (
	leastWait = 20 * time.Millisecond
	mostWait  = time.Second
)

// check refuses a declaration that no queue can honour.
func (q Queue) check() error {
	if q.Name == "" || len(q.Name) > maxName || q.Batch < 1 || q.Attempts < 1 || q.Delay < 0 || q.Gather < 0 || q.Gather > time.Second {
		return errs.Wrap(errs.Invalid, fmt.Errorf("%+v", q), "checking the declaration of a queue")
	}
	return nil
}

// prepare gives the message an id and refuses one that a queue can't hold.
func prepare(queue Queue, message *Message) error {
	if err := queue.check(); err != nil {
		return err
	}
	if message.ID == "" {
		message.ID = rand.Text()
	}
	if len(message.ID) > maxID || len(message.Type) > maxType || len(message.Body) > maxBody {
		return errs.Wrap(errs.Invalid, fmt.Errorf("id of %d bytes, type of %d, body of %d", len(message.ID), len(message.Type), len(message.Body)),
			"publishing to %s", queue.Name)
	}
	return nil
}

// inHand is a message that was handed to this consumer and waits to be settled.
type inHand struct {
	Message
	// ref is what the queue knows this hand-over by.
	ref uint64
	// again is true when another consumer was handed it before, and ended without
	// settling it.
	again bool
	// trace is the publisher's span context.
	trace map[string]string
}

// settler ends hand-overs. An Unavailable error means that it may be tried
// again, any other that the messages are no longer this consumer's.
type settler interface {
	// done removes messages that were handled.
	done(ctx context.Context, batch []inHand) error
	// retry puts back a message that failed, to be handed over after the delay.
	retry(ctx context.Context, message inHand) error
	// bury gives a message up.
	bury(ctx context.Context, message inHand, reason string) error
}

// deliverer is what happens between taking a batch and settling it, the same
// for every queue.
type deliverer struct {
	queue  Queue
	handle Handler
	settle settler
	tally  *tally
	deps   Deps
}

// noteAgain tells the operator what a consumer that died left to this one.
func (d *deliverer) noteAgain(batch []inHand) {
	n := 0
	for _, message := range batch {
		if message.again {
			n++
		}
	}
	if n > 0 {
		d.tally.redelivered.Add(float64(n))
		d.deps.Log.Info("messages are handed over again", "queue", d.queue.Name, "messages", n)
	}
}

// deliver hands the batch over and settles each message of it. It gives up with
// an error when held ends, since the batch is then no longer this consumer's, or
// when it would have to wait after stop has ended; what is not settled by then
// is handed over again.
func (d *deliverer) deliver(stop, held context.Context, batch []inHand) error {
	cause, err := d.attempt(stop, held, batch)
	if cause == nil {
		return err
	}
	d.deps.Log.Warn("a batch failed and is tried in halves", "queue", d.queue.Name, "messages", len(batch), "error", cause)
	return d.halve(stop, held, batch)
}

// halve delivers the halves of a batch that failed, and theirs in turn, until each
// message that fails is alone: one bad message costs the others a few hand-overs.
func (d *deliverer) halve(stop, held context.Context, batch []inHand) error {
	middle := len(batch) / 2
	for _, part := range [][]inHand{batch[:middle], batch[middle:]} {
		cause, err := d.attempt(stop, held, part)
		if cause != nil {
			err = d.halve(stop, held, part)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// attempt hands the batch over and settles it. Cause is why a batch of several
// failed, which is then to be tried in parts.
func (d *deliverer) attempt(stop, held context.Context, batch []inHand) (cause, err error) {
	err = d.handOver(stop, held, batch)
	switch {
	case err == nil:
		err := d.patiently(stop, held, "settling", func() error { return d.settle.done(held, batch) })
		if err == nil {
			d.tally.consumed.Add(float64(len(batch)))
		}
		return nil, err
	case held.Err() != nil, errs.Is(err, errs.Unavailable):
		return nil, err
	case len(batch) == 1:
		return nil, d.fail(stop, held, batch[0], err)
	default:
		return err, nil
	}
}

// handOver calls the handler until it can do its work.
func (d *deliverer) handOver(stop, held context.Context, batch []inHand) error {
	ctx, finish := d.startSpans(held, batch)
	messages := make([]Message, len(batch))
	for i := range batch {
		messages[i] = batch[i].Message
	}
	start := time.Now()
	err := d.patiently(stop, held, "handling", func() error { return d.call(ctx, messages) })
	d.tally.handled.Since(ctx, outcome{d.tally.queue, d.tally.store, metrics.Code(err)}, start)
	finish(err)
	return err
}

// call turns a panic of the handler into an error.
func (d *deliverer) call(ctx context.Context, batch []Message) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			d.deps.Log.Error("a handler panicked", "queue", d.queue.Name, "message", batch[0].ID, "panic", cause, "stack", string(debug.Stack()))
			err = errs.Wrap(errs.Internal, fmt.Errorf("panic: %v", cause), "handling %s", d.queue.Name)
		}
	}()
	provoke(batch)
	return d.handle(ctx, batch)
}

// fail counts a failed attempt of the message and decides what becomes of it.
func (d *deliverer) fail(stop, held context.Context, message inHand, cause error) error {
	message.Attempt++
	log := d.deps.Log.With("queue", d.queue.Name, "message", message.ID, "type", message.Type, "attempt", message.Attempt, "error", cause)
	if errs.KindOf(cause).Fault() && message.Attempt < d.queue.Attempts {
		log.Warn("a message failed and is tried again", "delay", d.queue.Delay)
		d.tally.retried.Inc()
		return d.patiently(stop, held, "settling", func() error { return d.settle.retry(held, message) })
	}
	log.Error("a message is given up")
	d.tally.buried.Inc()
	return d.patiently(stop, held, "settling", func() error { return d.settle.bury(held, message, reasonOf(cause)) })
}

// patiently tries again while the outcome is Unavailable, until stop or held ends.
func (d *deliverer) patiently(stop, held context.Context, doing string, try func() error) error {
	for wait := leastWait; ; wait = min(2*wait, mostWait) {
		err := try()
		if !errs.Is(err, errs.Unavailable) {
			return err
		}
		if wait == leastWait && held.Err() == nil {
			d.deps.Log.Warn("a queue waits for something that is away", "queue", d.queue.Name, "doing", doing, "error", err)
		}
		select {
		case <-stop.Done():
			return err
		case <-held.Done():
			return err
		case <-time.After(wait):
		}
	}
}

// reasonOf returns what is kept of an error with a dead message: text that every
// store takes, within maxReason bytes.
func reasonOf(cause error) string {
	reason := strings.ReplaceAll(strings.ToValidUTF8(cause.Error(), "\uFFFD"), "\x00", "")
	if len(reason) <= maxReason {
		return reason
	}
	end := maxReason
	for !utf8.RuneStart(reason[end]) {
		end--
	}
	return reason[:end]
}

// quiet is how long nothing must have failed for a failure to be news.
const quiet = 5 * time.Second

// outage logs the first failure of a row, not each try.
type outage struct {
	log  *slog.Logger
	last time.Time
}

func (o *outage) note(err error, message string, args ...any) {
	if err == nil {
		return
	}
	if time.Since(o.last) > quiet {
		o.log.Warn(message, append(args, "error", err)...)
	}
	o.last = time.Now()
}
