package mq

import (
	"context"
	"errors"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// resendTimeout bounds the confirm of a message on its way to another attempt or
// to the dead.
const resendTimeout = 5 * time.Second

// idle is how long a subscription may bring nothing before it is made anew. A
// broker whose queue is deleted and declared again may keep a consumer of the old
// one waiting without a word.
const idle = 10 * time.Second

// errIdle ends a subscription that brought nothing, which is no failure.
var errIdle = errors.New("idle")

// Consume hands over what the broker delivers until ctx ends. What was fetched
// beyond the batch in hand then goes back to the queue.
func (r *Rabbit) Consume(ctx context.Context, queue Queue, handle Handler) error {
	if err := queue.check(); err != nil {
		return err
	}
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.closed, cancel)()

	away := outage{log: r.deps.Log}
	for wait := leastWait; ; wait = min(2*wait, mostWait) {
		session, err := r.consuming.wait(stop)
		if err != nil {
			return nil
		}
		began := time.Now()
		err = r.consume(stop, session, queue, handle)
		if stop.Err() != nil {
			return nil
		}
		if errors.Is(err, errIdle) {
			continue
		}
		if time.Since(began) > mostWait {
			wait = leastWait
		}
		if !session.conn.IsClosed() { // which was said already
			away.note(err, "a consumer was interrupted and subscribes again", "queue", queue.Name)
		}
		select {
		case <-stop.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// consume delivers over one channel until that ends or stop does.
func (r *Rabbit) consume(stop context.Context, session *session, queue Queue, handle Handler) error {
	channel, err := session.conn.Channel()
	if err != nil {
		return err
	}
	held, lost := context.WithCancel(context.WithoutCancel(stop))
	defer lost()
	var pump sync.WaitGroup
	defer pump.Wait()
	defer func() { _ = channel.Close() }() // what is not acknowledged goes back

	// A batch is gathered while the one before it is handled.
	prefetch := 2 * queue.Batch
	if queue.Batch == 1 {
		prefetch = 1
	}
	if _, err := declare(channel, queue); err != nil {
		return err
	}
	if err := channel.Qos(prefetch, 0, false); err != nil {
		return err
	}
	deliveries, err := channel.Consume(queue.Name, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	fetched := make(chan amqp.Delivery, prefetch)
	pump.Go(func() {
		defer lost() // the channel ended, or the broker canceled the consumer
		for delivery := range deliveries {
			fetched <- delivery
		}
	})

	d := deliverer{queue: queue, handle: handle, settle: &rabbitSettler{r, channel, queue}, tally: r.metrics.tally(queue, rabbitStore), deps: r.deps}
	for {
		batch := gather(stop, held, fetched, queue)
		switch {
		case stop.Err() != nil:
			return nil
		case len(batch) == 0 && held.Err() != nil:
			return errors.New("the subscription ended")
		case len(batch) == 0:
			return errIdle
		}
		d.noteAgain(batch)
		if err := d.deliver(stop, held, batch); err != nil {
			return err
		}
	}
}

// gather waits for one message and adds those that follow it soon enough. It
// returns none when the subscription ends or is idle.
func gather(stop, held context.Context, fetched <-chan amqp.Delivery, queue Queue) []inHand {
	var batch []inHand
	quiet := time.NewTimer(idle)
	defer quiet.Stop()
	select {
	case <-stop.Done():
		return nil
	case <-held.Done():
		return nil
	case <-quiet.C:
		return nil
	case delivery := <-fetched:
		batch = append(batch, unpack(delivery))
	}
	if queue.Batch == 1 {
		return batch
	}
	enough := time.NewTimer(queue.Gather)
	defer enough.Stop()
	for len(batch) < queue.Batch {
		select {
		case delivery := <-fetched:
			batch = append(batch, unpack(delivery))
			continue
		default:
		}
		select {
		case delivery := <-fetched:
			batch = append(batch, unpack(delivery))
		case <-enough.C:
			return batch
		case <-stop.Done():
			return batch
		case <-held.Done():
			return batch
		}
	}
	return batch
}

// rabbitSettler ends hand-overs on the channel they came from. Batches are
// settled in the order of their delivery.
type rabbitSettler struct {
	rabbit  *Rabbit
	channel *amqp.Channel
	queue   Queue
}

func (s *rabbitSettler) done(_ context.Context, batch []inHand) error {
	return s.channel.Ack(batch[len(batch)-1].ref, true)
}

func (s *rabbitSettler) retry(ctx context.Context, message inHand) error {
	again := pack(message.Message, message.trace)
	again.Expiration = delayed(s.queue.Delay)
	return s.resend(ctx, message, delayOfName(s.queue), again)
}

func (s *rabbitSettler) bury(ctx context.Context, message inHand, reason string) error {
	dead := pack(message.Message, message.trace)
	dead.Headers[reasonHeader] = reason
	dead.Headers[diedHeader] = s.rabbit.deps.Now().UnixMilli()
	return s.resend(ctx, message, deadOfName(s.queue), dead)
}

// resend acknowledges a message once its successor is confirmed.
func (s *rabbitSettler) resend(ctx context.Context, message inHand, target string, successor amqp.Publishing) error {
	ctx, cancel := context.WithTimeout(ctx, resendTimeout)
	defer cancel()
	if err := s.rabbit.send(ctx, s.queue, target, successor); err != nil {
		return err
	}
	return s.done(ctx, []inHand{message})
}
