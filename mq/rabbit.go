package mq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"backbeat/app/errs"
	"backbeat/app/trace"
)

// RabbitConfig says how to reach the broker.
type RabbitConfig struct {
	// URL is amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps.
	URL string
	// User and Password replace those of the URL when User is set.
	User, Password string
	// TLS makes any URL one of amqps; nil with amqps uses the system's roots.
	TLS *tls.Config
	// Confirm bounds how long Publish waits for the broker.
	Confirm time.Duration
}

const (
	// heartbeat is the pace of keep-alive frames: a broker that hangs is given up
	// after one and a half.
	heartbeat   = 4 * time.Second
	dialTimeout = 3 * time.Second
	// writeTimeout frees whoever writes to a broker that no longer reads.
	writeTimeout = 3 * time.Second
	// closeTimeout bounds the farewell.
	closeTimeout = time.Second
)

// Rabbit is RabbitMQ. It keeps one connection that publishes and one that
// consumes, since a broker that is short of memory stops reading from those that
// publish; both are dialed again whenever they are lost.
type Rabbit struct {
	cfg     RabbitConfig
	deps    Deps
	metrics *instruments

	publishing, consuming *link
	// closed ends with Close.
	closed context.Context
	close  context.CancelFunc
	links  sync.WaitGroup
	// inspecting keeps Dead and Replay from hiding messages from each other.
	inspecting sync.Mutex
}

// NewRabbit returns at once and connects in the background; the broker may be
// away. It fails only for a URL that is none.
func NewRabbit(cfg RabbitConfig, deps Deps) (*Rabbit, error) {
	address, err := cfg.address()
	if err != nil {
		return nil, err
	}
	closed, end := context.WithCancel(context.Background())
	r := &Rabbit{cfg: cfg, deps: deps, metrics: newInstruments(deps.Metrics), closed: closed, close: end}
	dial := func(ctx context.Context) (*amqp.Connection, error) { return cfg.dial(ctx, address) }
	r.publishing = newLink(dial, deps.Log.With("connection", "publishing"))
	r.consuming = newLink(dial, deps.Log.With("connection", "consuming"))
	r.links.Go(func() { r.publishing.run(closed) })
	r.links.Go(func() { r.consuming.run(closed) })
	return r, nil
}

// address puts the settings into one URL. Its errors leave the URL out, since
// that may hold a password.
func (cfg RabbitConfig) address() (string, error) {
	parsed, err := url.Parse(cfg.URL)
	if err != nil {
		return "", errors.New("the URL of RabbitMQ is not of the form amqp://USER:PASSWORD@HOST:PORT/VHOST")
	}
	if cfg.User != "" {
		parsed.User = url.UserPassword(cfg.User, cfg.Password)
	}
	if cfg.TLS != nil {
		parsed.Scheme = "amqps"
	}
	if _, err := amqp.ParseURI(parsed.String()); err != nil {
		return "", errors.New("the URL of RabbitMQ is not of the form amqp://USER:PASSWORD@HOST:PORT/VHOST")
	}
	return parsed.String(), nil
}

func (cfg RabbitConfig) dial(ctx context.Context, address string) (*amqp.Connection, error) {
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName("backbeat")
	return amqp.DialConfig(address, amqp.Config{
		Heartbeat:       heartbeat,
		TLSClientConfig: cfg.TLS.Clone(), // the library sets its server name
		Properties:      properties,
		Dial: func(network, address string) (net.Conn, error) {
			dialer := net.Dialer{Timeout: dialTimeout}
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			// Of the handshake; the library takes it off afterwards.
			if err := conn.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
				return nil, errors.Join(err, conn.Close())
			}
			return impatientConn{conn}, nil
		},
	})
}

// impatientConn fails a write that the other end does not take: the library
// holds locks while it writes, which its own shutdown waits for.
type impatientConn struct{ net.Conn }

func (c impatientConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// Publish returns nil once the broker confirmed the message, Unavailable after
// RabbitConfig.Confirm or at once when the broker is known to be away.
func (r *Rabbit) Publish(ctx context.Context, queue Queue, message Message) (err error) {
	if err := prepare(queue, &message); err != nil {
		return err
	}
	span, ctx, carrier := startPublish(ctx, queue, message)
	start := time.Now()
	defer func() {
		r.metrics.publish(ctx, queue, rabbitStore, start, err)
		trace.Fail(span, err)
		span.Finish()
	}()
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Confirm)
	defer cancel()
	return r.send(ctx, queue, queue.Name, pack(message, carrier))
}

// send publishes to one of the queue's three and waits for the confirm.
func (r *Rabbit) send(ctx context.Context, queue Queue, target string, message amqp.Publishing) error {
	for {
		err := r.trySend(ctx, queue, target, message)
		if err == nil {
			return nil
		}
		if !errors.Is(err, errRefused) {
			return errs.Wrap(errs.Unavailable, err, "publishing %s to %s", message.MessageId, target)
		}
		// It has not been taken, so that trying again doubles nothing: a queue that
		// is just being made refuses for a moment.
		select {
		case <-ctx.Done():
		case <-time.After(leastWait):
		}
	}
}

func (r *Rabbit) trySend(ctx context.Context, queue Queue, target string, message amqp.Publishing) error {
	session := r.publishing.current()
	if session == nil {
		return errors.New("not connected")
	}
	if session.blocked.Load() {
		return errors.New("the broker blocks publishers")
	}
	sent := &publishing{ctx: ctx, message: message, outcome: make(chan error, 1)}
	select {
	case session.outbox(queue, target).requests <- sent:
	case <-session.gone:
		return errLost
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-sent.outcome:
		return err
	case <-session.gone:
		return errLost
	case <-ctx.Done():
		return fmt.Errorf("no confirm: %w", ctx.Err())
	}
}

var errLost = errors.New("the connection was lost before the confirm")

// Headers of ours; those of the trace stand beside them.
const (
	attemptsHeader = "attempts"
	reasonHeader   = "reason"
	diedHeader     = "died"
)

func pack(message Message, carrier map[string]string) amqp.Publishing {
	headers := amqp.Table{}
	for key, value := range carrier {
		headers[key] = value
	}
	if message.Attempt > 0 {
		headers[attemptsHeader] = int64(message.Attempt)
	}
	return amqp.Publishing{
		Headers: headers, DeliveryMode: amqp.Persistent, ContentType: "application/octet-stream",
		MessageId: message.ID, Type: message.Type, Body: message.Body,
	}
}

func unpack(delivery amqp.Delivery) inHand {
	message := inHand{
		Message: Message{ID: delivery.MessageId, Type: delivery.Type, Body: delivery.Body},
		ref:     delivery.DeliveryTag,
		again:   delivery.Redelivered,
		trace:   map[string]string{},
	}
	for key, value := range delivery.Headers {
		// The broker's own begin with x-.
		if text, ok := value.(string); ok && key != reasonHeader && !strings.HasPrefix(key, "x-") {
			message.trace[key] = text
		}
	}
	if attempts, ok := delivery.Headers[attemptsHeader].(int64); ok {
		// Whatever else may write there, no message lives for ever.
		message.Attempt = int(min(max(0, attempts), math.MaxInt32))
	}
	return message
}

// Dead lists the dead messages of the queue. While it looks at them no other
// process can see or replay them.
func (r *Rabbit) Dead(ctx context.Context, queue Queue, limit int) ([]Dead, error) {
	var dead []Dead
	err := r.inspect(ctx, queue, func(_ *amqp.Channel, delivery amqp.Delivery) (bool, error) {
		dead = append(dead, deadOf(queue, delivery))
		return len(dead) < limit, nil
	})
	return dead, err
}

// Replay confirms the message in its queue before it leaves the dead ones: if
// the process dies in between, it is in both.
func (r *Rabbit) Replay(ctx context.Context, queue Queue, id string) error {
	found := false
	err := r.inspect(ctx, queue, func(channel *amqp.Channel, delivery amqp.Delivery) (bool, error) {
		if delivery.MessageId != id {
			return true, nil
		}
		found = true
		message := unpack(delivery)
		message.Attempt = 0
		if err := r.send(ctx, queue, queue.Name, pack(message.Message, message.trace)); err != nil {
			return false, err
		}
		return false, channel.Ack(delivery.DeliveryTag, false)
	})
	if err == nil && !found {
		return errs.Wrap(errs.NotFound, errors.New("no such dead message"), "replaying %s of %s", id, queue.Name)
	}
	return err
}

// inspect shows dead messages, oldest first, until look wants no more. Closing
// the channel puts them back in their order.
func (r *Rabbit) inspect(ctx context.Context, queue Queue, look func(*amqp.Channel, amqp.Delivery) (more bool, err error)) error {
	if err := queue.check(); err != nil {
		return err
	}
	r.inspecting.Lock()
	defer r.inspecting.Unlock()
	doing := func(err error) error {
		return errs.Wrap(errs.Unavailable, err, "looking at the dead messages of %s", queue.Name)
	}
	session, err := r.consuming.wait(ctx)
	if err != nil {
		return doing(err)
	}
	channel, err := session.conn.Channel()
	if err != nil {
		return doing(err)
	}
	defer func() { _ = channel.Close() }() // of a lost connection: it is closed then
	if _, err := declare(channel, queue); err != nil {
		return doing(err)
	}
	for ctx.Err() == nil {
		delivery, ok, err := channel.Get(deadOfName(queue), false)
		if err != nil {
			return doing(err)
		}
		if !ok {
			return nil
		}
		more, err := look(channel, delivery)
		if err != nil {
			return doing(err)
		}
		if !more {
			return nil
		}
	}
	return doing(ctx.Err())
}

// deadOf reads what we noted when we gave the message up, or what the broker
// did when its consumers kept dying.
func deadOf(queue Queue, delivery amqp.Delivery) Dead {
	dead := Dead{Message: unpack(delivery).Message, Queue: queue.Name, Store: rabbitStore}
	if reason, ok := delivery.Headers[reasonHeader].(string); ok {
		dead.Reason = reason
	}
	if died, ok := delivery.Headers[diedHeader].(int64); ok {
		dead.Died = time.UnixMilli(died).UTC()
		return dead
	}
	deaths, _ := delivery.Headers["x-death"].([]any)
	if len(deaths) > 0 {
		death, _ := deaths[0].(amqp.Table)
		dead.Died, _ = death["time"].(time.Time)
		dead.Died = dead.Died.UTC()
		dead.Reason = fmt.Sprintf("%v: %d consumers died with it", death["reason"], maxDeliveries)
	}
	return dead
}

// Close ends both connections and everything on them.
func (r *Rabbit) Close() error {
	r.close()
	r.links.Wait()
	return nil
}

// The queue, where its messages wait for another attempt, and where they end.
func delayOfName(queue Queue) string { return queue.Name + ".delay" }
func deadOfName(queue Queue) string  { return queue.Name + ".dead" }

// declared is how many messages wait in the queue and its two companions.
type declared struct{ live, delayed, dead int }

// declare makes sure of the queue and its two companions. All are replicated,
// and hand over to each other at least once.
func declare(channel *amqp.Channel, queue Queue) (found declared, err error) {
	deadLetterTo := func(name string, more amqp.Table) amqp.Table {
		more["x-dead-letter-exchange"] = ""
		more["x-dead-letter-routing-key"] = name
		more["x-dead-letter-strategy"] = "at-least-once"
		more["x-overflow"] = "reject-publish" // or the strategy is not honoured
		return more
	}
	live := deadLetterTo(deadOfName(queue), amqp.Table{"x-delivery-limit": int64(maxDeliveries)})
	if queue.Single {
		live["x-single-active-consumer"] = true
	}
	for _, one := range []struct {
		name     string
		args     amqp.Table
		messages *int
	}{
		{deadOfName(queue), amqp.Table{"x-delivery-limit": int64(1 << 30)}, &found.dead}, // looking at it counts as a delivery
		{queue.Name, live, &found.live},
		{delayOfName(queue), deadLetterTo(queue.Name, amqp.Table{}), &found.delayed},
	} {
		one.args["x-queue-type"] = "quorum"
		made, err := channel.QueueDeclare(one.name, true, false, false, false, one.args)
		if err != nil {
			return found, fmt.Errorf("declaring %s: %w", one.name, err)
		}
		*one.messages = made.Messages
	}
	return found, nil
}

// delayed is how the delay queue is told how long to keep a message.
func delayed(delay time.Duration) string { return strconv.FormatInt(delay.Milliseconds(), 10) }
