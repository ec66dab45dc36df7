package mq

import (
	"context"
	"errors"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// mostUnconfirmed bounds what one outbox has sent and not seen confirmed.
const mostUnconfirmed = 1024

// publishing is a message on its way.
type publishing struct {
	// ctx is its publisher's: after its end nobody waits for the outcome.
	ctx     context.Context
	message amqp.Publishing
	// outcome takes one value without a reader.
	outcome chan error
}

// outbox publishes to one queue over a channel of its own, for any number of
// publishers and without waiting for one message before the next. A queue that
// does not confirm holds up no other.
type outbox struct {
	session  *session
	queue    Queue
	target   string
	requests chan *publishing
}

// run replaces the channel as often as it is closed, until the connection ends.
func (o *outbox) run() {
	away := outage{log: o.session.log}
	for {
		err := o.serve()
		if o.session.conn.IsClosed() { // which was said already, or asked for
			return
		}
		away.note(err, "a publishing channel ended", "queue", o.target)
		select {
		case <-o.session.gone:
			return
		case <-time.After(leastWait):
		}
	}
}

// serve publishes over one channel until that ends.
func (o *outbox) serve() error {
	channel, err := o.session.conn.Channel()
	if err != nil {
		return err
	}
	if _, err := declare(channel, o.queue); err != nil {
		return err // it closed the channel
	}
	if err := channel.Confirm(false); err != nil {
		return err
	}
	ended := channel.NotifyClose(make(chan *amqp.Error, 1))
	// Both are unbuffered and have one receiver, so that a return is seen before
	// the confirm that follows it.
	returns := channel.NotifyReturn(make(chan amqp.Return))
	confirms := channel.NotifyPublish(make(chan amqp.Confirmation))

	sent := &unconfirmed{byTag: map[uint64]sentMessage{}, room: make(chan struct{}, mostUnconfirmed), unroutable: make(chan struct{}, 1)}
	var settling sync.WaitGroup
	settling.Go(func() { sent.settle(returns, confirms) })
	err = o.publish(channel, sent, ended)
	err = errors.Join(err, channel.Close())
	settling.Wait()
	sent.failAll()
	return err
}

// publish sends what is asked for until the channel ends or the queue is gone.
func (o *outbox) publish(channel *amqp.Channel, sent *unconfirmed, ended <-chan *amqp.Error) error {
	for {
		select {
		case sent.room <- struct{}{}:
		case cause := <-ended:
			return closedBy(cause)
		}
		select {
		case request := <-o.requests:
			if request.ctx.Err() != nil {
				<-sent.room
				continue
			}
			sent.add(request)
			if err := channel.PublishWithContext(context.Background(), "", o.target, true, false, request.message); err != nil {
				return err
			}
		case <-sent.unroutable:
			return errUnroutable
		case cause := <-ended:
			return closedBy(cause)
		}
	}
}

func closedBy(cause *amqp.Error) error {
	if cause == nil {
		return amqp.ErrClosed
	}
	return cause
}

var (
	errUnroutable  = errors.New("the queue does not exist")
	errRefused     = errors.New("the broker refused the message")
	errUnconfirmed = errors.New("the channel ended before the confirm")
)

// unconfirmed is what was sent over a channel and waits for its confirm.
type unconfirmed struct {
	// room has a place for each.
	room chan struct{}
	// unroutable is signaled when a message came back: the queue has to be
	// declared again.
	unroutable chan struct{}

	mu    sync.Mutex
	last  uint64
	byTag map[uint64]sentMessage
}

type sentMessage struct {
	id      string
	outcome chan<- error
}

// add numbers the message as the broker will: it must be sent next.
func (u *unconfirmed) add(request *publishing) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.last++
	u.byTag[u.last] = sentMessage{request.message.MessageId, request.outcome}
}

// settle tells publishers their outcome until the channel ends.
func (u *unconfirmed) settle(returns <-chan amqp.Return, confirms <-chan amqp.Confirmation) {
	for {
		select {
		case returned, ok := <-returns:
			if !ok {
				returns = nil // the confirms end next
				continue
			}
			u.returned(returned.MessageId)
		case confirm, ok := <-confirms:
			if !ok {
				return
			}
			u.confirmed(confirm)
		}
	}
}

// returned fails a message that came back; its confirm still follows. Of two
// with the same id it fails both.
func (u *unconfirmed) returned(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for tag, message := range u.byTag {
		if message.id == id && message.outcome != nil {
			message.outcome <- errUnroutable
			u.byTag[tag] = sentMessage{id: id}
		}
	}
	select {
	case u.unroutable <- struct{}{}:
	default:
	}
}

func (u *unconfirmed) confirmed(confirm amqp.Confirmation) {
	u.mu.Lock()
	defer u.mu.Unlock()
	message, ok := u.byTag[confirm.DeliveryTag]
	if !ok {
		return
	}
	delete(u.byTag, confirm.DeliveryTag)
	<-u.room
	switch {
	case message.outcome == nil:
	case confirm.Ack:
		message.outcome <- nil
	default:
		message.outcome <- errRefused
	}
}

// failAll ends the wait of those whose channel has ended.
func (u *unconfirmed) failAll() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, message := range u.byTag {
		if message.outcome != nil {
			message.outcome <- errUnconfirmed
		}
	}
}
