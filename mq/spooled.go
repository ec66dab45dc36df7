package mq

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"backbeat/app/errs"
)

// After restAfter failures in a row the primary is left alone for restFor, then
// one publish probes it: while it hangs, hardly anybody waits for it.
const (
	restAfter = 3
	restFor   = time.Second
)

// Spooled is a primary broker with a table queue beside it. A publish that the
// primary can't confirm in time goes into the table; consumers take from both,
// so nothing has to be forwarded.
type Spooled struct {
	primary Broker
	spool   *Table
	confirm time.Duration
	log     *slog.Logger

	mu        sync.Mutex
	failures  int
	restUntil time.Time
	probing   bool
}

// NewSpooled joins the two; each publish waits for primary at most confirm.
func NewSpooled(primary Broker, spool *Table, confirm time.Duration, log *slog.Logger) *Spooled {
	return &Spooled{primary: primary, spool: spool, confirm: confirm, log: log}
}

// Publish returns nil once either has the message. It returns Unavailable when
// neither has it for sure; the message may then still be delivered.
func (s *Spooled) Publish(ctx context.Context, queue Queue, message Message) error {
	if err := prepare(queue, &message); err != nil { // one id in both
		return err
	}
	failed := s.publishPrimary(ctx, queue, message)
	if failed == nil {
		return nil
	}
	if err := s.spool.Publish(ctx, queue, message); err != nil {
		return errs.Wrap(errs.Unavailable, errors.Join(failed, err), "publishing to %s", queue.Name)
	}
	s.spool.metrics.spooled.WithLabelValues(queue.Name).Inc()
	return nil
}

var errResting = errors.New("the broker failed a moment ago and is left alone")

func (s *Spooled) publishPrimary(ctx context.Context, queue Queue, message Message) error {
	probe, ok := s.admit()
	if !ok {
		return errResting
	}
	bounded, cancel := context.WithTimeout(ctx, s.confirm)
	defer cancel()
	err := s.primary.Publish(bounded, queue, message)
	// A caller that went away says nothing about the primary.
	s.record(err, probe, err != nil && ctx.Err() == nil)
	return err
}

// admit says whether a publish may try the primary, and as its probe.
func (s *Spooled) admit() (probe, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures < restAfter {
		return false, true
	}
	if s.probing || s.spool.deps.Now().Before(s.restUntil) {
		return false, false
	}
	s.probing = true
	return true, true
}

func (s *Spooled) record(err error, probe, failed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if probe {
		s.probing = false
	}
	switch {
	case err == nil:
		if s.failures >= restAfter {
			s.log.Info("the broker confirms again")
		}
		s.failures = 0
	case failed:
		s.failures++
		s.restUntil = s.spool.deps.Now().Add(restFor)
		if s.failures == restAfter {
			s.log.Warn("the broker does not confirm, messages go into the table", "error", err)
		}
	}
}

// Consume takes from both at once. With Queue.Single the handler is called for
// one of them at a time in this process; over all processes each of them has a
// single active consumer of its own, so two batches meet only while there are
// spooled messages.
func (s *Spooled) Consume(ctx context.Context, queue Queue, handle Handler) error {
	if queue.Single {
		handle = oneAtATime(handle)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, consumer := range []Consumer{s.primary, s.spool} {
		group.Go(func() error { return consumer.Consume(ctx, queue, handle) })
	}
	return group.Wait()
}

func oneAtATime(handle Handler) Handler {
	turn := make(chan struct{}, 1)
	return func(ctx context.Context, batch []Message) error {
		select {
		case turn <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		defer func() { <-turn }()
		return handle(ctx, batch)
	}
}

// Dead lists the dead messages of both.
func (s *Spooled) Dead(ctx context.Context, queue Queue, limit int) ([]Dead, error) {
	dead, err := s.primary.Dead(ctx, queue, limit)
	if err != nil {
		return nil, err
	}
	spooled, err := s.spool.Dead(ctx, queue, limit)
	if err != nil {
		return nil, err
	}
	dead = append(dead, spooled...)
	slices.SortStableFunc(dead, func(a, b Dead) int { return cmp.Compare(a.Died.UnixMilli(), b.Died.UnixMilli()) })
	return dead[:min(limit, len(dead))], nil
}

// Replay puts the message back into the queue it died in.
func (s *Spooled) Replay(ctx context.Context, queue Queue, id string) error {
	err := s.spool.Replay(ctx, queue, id)
	if !errs.Is(err, errs.NotFound) {
		return err
	}
	return s.primary.Replay(ctx, queue, id)
}

// Close closes both.
func (s *Spooled) Close() error { return errors.Join(s.primary.Close(), s.spool.Close()) }
