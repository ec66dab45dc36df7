package mq

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// link keeps a connection to the broker, and dials again whenever it is lost.
// The library could recover by itself, but then a channel outlives its
// connection and what was unconfirmed or in hand changes its meaning unseen;
// here everything that lives on a connection ends with it and is made anew.
type link struct {
	dial func(context.Context) (*amqp.Connection, error)
	log  *slog.Logger

	mu      sync.Mutex
	session *session
	// changed is closed when session has changed.
	changed chan struct{}
}

func newLink(dial func(context.Context) (*amqp.Connection, error), log *slog.Logger) *link {
	return &link{dial: dial, log: log, changed: make(chan struct{})}
}

// run owns the connection until ctx ends.
func (l *link) run(ctx context.Context) {
	away := outage{log: l.log}
	for wait := leastWait; ctx.Err() == nil; {
		conn, err := l.dial(ctx)
		if ctx.Err() == nil {
			away.note(err, "RabbitMQ does not answer")
		}
		if err == nil {
			wait = leastWait
			l.serve(ctx, conn)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, mostWait)
	}
}

// serve offers the connection until it or ctx ends.
func (l *link) serve(ctx context.Context, conn *amqp.Connection) {
	l.log.Info("connected to RabbitMQ")
	s := newSession(conn, l.log)
	l.set(s)
	select {
	case <-s.gone:
	case <-ctx.Done():
	}
	l.set(nil)
	s.close()
}

func (l *link) set(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.session = s
	close(l.changed)
	l.changed = make(chan struct{})
}

// current returns nil while there is no connection.
func (l *link) current() *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.session
}

// wait returns the connection as soon as there is one, or ctx's error.
func (l *link) wait(ctx context.Context) (*session, error) {
	for {
		l.mu.Lock()
		s, changed := l.session, l.changed
		l.mu.Unlock()
		if s != nil {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// session is the life of one connection and of what is done on it.
type session struct {
	conn *amqp.Connection
	log  *slog.Logger
	// gone is closed when the connection has ended.
	gone chan struct{}
	// blocked is set while the broker refuses to take messages.
	blocked atomic.Bool

	mu       sync.Mutex
	outboxes map[string]*outbox
	running  sync.WaitGroup
}

func newSession(conn *amqp.Connection, log *slog.Logger) *session {
	s := &session{conn: conn, log: log, gone: make(chan struct{}), outboxes: map[string]*outbox{}}
	ended := conn.NotifyClose(make(chan *amqp.Error, 1))
	blocks := conn.NotifyBlocked(make(chan amqp.Blocking, 1))
	s.running.Go(func() { s.watch(ended, blocks) })
	return s
}

func (s *session) watch(ended chan *amqp.Error, blocks chan amqp.Blocking) {
	defer close(s.gone)
	for {
		select {
		case blocking, ok := <-blocks:
			if !ok {
				blocks = nil // the connection is ending
				continue
			}
			s.blocked.Store(blocking.Active)
			s.log.Warn("RabbitMQ changed whether it takes messages", "blocked", blocking.Active, "reason", blocking.Reason)
		case cause := <-ended:
			if cause != nil {
				s.log.Warn("the connection to RabbitMQ was lost", "error", cause)
			}
			return
		}
	}
}

// outbox returns the one that publishes to target, one of queue's three.
func (s *session) outbox(queue Queue, target string) *outbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.outboxes[target]
	if o == nil {
		o = &outbox{session: s, queue: queue, target: target, requests: make(chan *publishing)}
		s.outboxes[target] = o
		s.running.Go(o.run)
	}
	return o
}

// close ends the connection, if it has not ended, and waits for all that used it.
func (s *session) close() {
	// An error says that the broker didn't say goodbye, or had left before.
	_ = s.conn.CloseDeadline(time.Now().Add(closeTimeout))
	s.running.Wait()
}
