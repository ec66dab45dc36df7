package mq

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"backbeat/model"
)

const (
	// pollEvery is how long a message published by another process waits at most.
	pollEvery = 500 * time.Millisecond
	// leaseFor is how long a claim or the lead of a queue outlives its process.
	// It bounds how far the clocks of processes may differ.
	leaseFor   = 10 * time.Second
	renewEvery = leaseFor / 4
	// releaseFor bounds the last words of a consumer that stops.
	releaseFor = 2 * time.Second
)

// Consume hands over what the table holds until ctx ends. With Queue.Single only
// the holder of the queue's lease does.
func (t *Table) Consume(ctx context.Context, queue Queue, handle Handler) error {
	if err := queue.check(); err != nil {
		return err
	}
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.closed, cancel)()

	c := &tableConsumer{table: t, queue: queue, handle: handle, tally: t.metrics.tally(queue, tableStore), owner: rand.Text()}
	away := outage{log: t.deps.Log}
	for stop.Err() == nil {
		full, leads, err := c.round(stop)
		if stop.Err() == nil {
			away.note(err, "a table queue is not served", "queue", queue.Name)
		}
		if full {
			t.wake(queue.Name) // there may be more, for others in this process too
		}
		var wake chan struct{} // signals are for consumers that lead
		if leads {
			wake = t.wakeOf(queue.Name)
		}
		select {
		case <-stop.Done():
		case <-wake:
		case <-time.After(pollEvery):
		}
	}
	c.resign()
	return nil
}

// tableConsumer is one call of Table.Consume.
type tableConsumer struct {
	table  *Table
	queue  Queue
	handle Handler
	tally  *tally
	// owner is who holds the lease of a queue with a single consumer.
	owner string
	// leadsUntil is when that lease runs out, in Unix milliseconds.
	leadsUntil int64
}

// round hands over one batch if there is any. It reports whether the batch was
// full, so that there may be more, and whether this consumer leads.
func (c *tableConsumer) round(stop context.Context) (full, leads bool, err error) {
	if leads, err = c.lead(stop); err != nil || !leads {
		return false, false, err
	}
	batch, claim, err := c.take(stop)
	if err != nil || len(batch) == 0 {
		return false, true, err
	}
	err = c.handOver(stop, batch, claim)
	return len(batch) == c.queue.Batch, true, err
}

// handOver delivers the batch while it keeps the claim, and puts back what was
// not settled.
func (c *tableConsumer) handOver(stop context.Context, batch []inHand, claim *claim) error {
	held, lost := context.WithCancel(context.WithoutCancel(stop))
	defer lost()
	defer context.AfterFunc(c.table.closed, lost)()
	var keeper sync.WaitGroup
	keeper.Go(func() { c.keep(held, lost, claim) })

	d := deliverer{queue: c.queue, handle: c.handle, settle: claim, tally: c.tally, deps: c.table.deps}
	d.noteAgain(batch)
	err := d.deliver(stop, held, batch)
	lost()
	keeper.Wait()
	return errors.Join(err, claim.release())
}

// keep renews the claim, and the lease, until held ends. It calls lost when they
// are another's or may be.
func (c *tableConsumer) keep(held context.Context, lost func(), claim *claim) {
	ticker := time.NewTicker(renewEvery)
	defer ticker.Stop()
	for {
		select {
		case <-held.Done():
			return
		case <-ticker.C:
		}
		leads, err := c.lead(held)
		if err == nil && leads {
			err = claim.renew(held)
		}
		if held.Err() == nil && (!leads || errors.Is(err, errClaimLost) || c.table.now() >= claim.until) {
			c.table.deps.Log.Warn("a batch is abandoned, its claim ran out", "queue", c.queue.Name, "error", err)
			lost()
			return
		}
	}
}

// lead takes or renews the lease of a queue with a single consumer and reports
// whether this consumer holds it.
func (c *tableConsumer) lead(ctx context.Context) (bool, error) {
	now := c.table.now()
	if !c.queue.Single || now < c.leadsUntil-(leaseFor-renewEvery).Milliseconds() {
		return true, nil
	}
	until := now + leaseFor.Milliseconds()
	taken, err := c.takeLease(ctx, now, until)
	switch {
	case err != nil:
		return now < c.leadsUntil, model.Wrap(err, "taking the lease of %s", c.queue.Name)
	case taken:
		c.leadsUntil = until
	default:
		c.leadsUntil = 0
	}
	return taken, nil
}

func (c *tableConsumer) takeLease(ctx context.Context, now, until int64) (bool, error) {
	db := c.table.db.WithContext(ctx)
	var lease model.QueueLease
	if err := db.Limit(1).Find(&lease, "queue = ?", c.queue.Name).Error; err != nil {
		return false, err
	}
	switch {
	case lease.Queue == "":
		first := model.QueueLease{Queue: c.queue.Name, Owner: c.owner, Until: until}
		created := db.Clauses(clause.OnConflict{DoNothing: true}).Create(&first)
		return created.RowsAffected == 1, created.Error
	case lease.Owner == c.owner && lease.Until == until:
		return true, nil
	case lease.Owner != c.owner && lease.Until > now:
		return false, nil
	}
	// Only if nobody else did in between.
	renewed := db.Model(&model.QueueLease{}).Where("queue = ? AND owner = ? AND until = ?", lease.Queue, lease.Owner, lease.Until).
		Updates(map[string]any{"owner": c.owner, "until": until})
	return renewed.RowsAffected == 1, renewed.Error
}

// resign lets another consumer lead at once.
func (c *tableConsumer) resign() {
	if c.leadsUntil == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), releaseFor)
	defer cancel()
	err := c.table.db.WithContext(ctx).Model(&model.QueueLease{}).
		Where("queue = ? AND owner = ?", c.queue.Name, c.owner).Update("until", 0).Error
	if err != nil {
		c.table.deps.Log.Warn("a lease could not be given back and will run out", "queue", c.queue.Name, "error", err)
	}
}

// take claims up to a batch of messages that are due, oldest first.
func (c *tableConsumer) take(ctx context.Context) ([]inHand, *claim, error) {
	db, now := c.table.db.WithContext(ctx), c.table.now()
	var ids []int64
	err := db.Model(&model.QueueMessage{}).Where("queue = ? AND dead = ? AND available_at <= ?", c.queue.Name, false, now).
		Order("available_at, id").Limit(c.queue.Batch).Pluck("id", &ids).Error
	if err != nil || len(ids) == 0 {
		return nil, nil, model.Wrap(err, "looking into %s", c.queue.Name)
	}
	claim := newClaim(c.table, c.queue, ids, now+leaseFor.Milliseconds())
	batch, err := c.claim(context.WithoutCancel(ctx), claim, ids, now)
	if err != nil {
		return nil, nil, errors.Join(err, claim.release())
	}
	return batch, claim, nil
}

// claim makes those of the rows its own that no other consumer claimed meanwhile:
// they are no longer due. It is not interrupted, or claimed rows would lie idle.
func (c *tableConsumer) claim(ctx context.Context, claim *claim, ids []int64, now int64) ([]inHand, error) {
	ctx, cancel := context.WithTimeout(ctx, leaseFor/2)
	defer cancel()
	db := c.table.db.WithContext(ctx)
	err := db.Model(&model.QueueMessage{}).Where("id IN ? AND dead = ? AND available_at <= ?", claim.padded(ids), false, now).
		Updates(map[string]any{"claim": claim.token, "claims": gorm.Expr("claims + 1"), "available_at": claim.until}).Error
	if err != nil {
		return nil, model.Wrap(err, "claiming messages of %s", c.queue.Name)
	}
	var rows []model.QueueMessage
	if err := claim.rows(ctx, ids).Order("id").Find(&rows).Error; err != nil {
		return nil, model.Wrap(err, "reading messages of %s", c.queue.Name)
	}
	return c.unpack(ctx, claim, rows)
}

// unpack turns claimed rows into messages, and buries those that consumers keep
// dying with.
func (c *tableConsumer) unpack(ctx context.Context, claim *claim, rows []model.QueueMessage) ([]inHand, error) {
	clear(claim.held)
	batch := make([]inHand, 0, len(rows))
	for _, row := range rows {
		message := inHand{
			Message: Message{ID: row.MessageID, Type: row.Type, Body: row.Body, Attempt: row.Attempts},
			ref:     uint64(row.ID),
			again:   row.Claims > 1,
		}
		claim.held[message.ref] = true
		if row.Claims > maxDeliveries {
			c.tally.buried.Inc()
			c.table.deps.Log.Error("a message is given up, its consumers keep dying", "queue", c.queue.Name, "message", row.MessageID)
			if err := claim.bury(ctx, message, fmt.Sprintf("%d consumers died with it", maxDeliveries)); err != nil {
				return nil, err
			}
			continue
		}
		if err := json.Unmarshal([]byte(row.Trace), &message.trace); err != nil {
			c.table.deps.Log.Warn("a message brings no trace", "queue", c.queue.Name, "message", row.MessageID, "error", err)
		}
		batch = append(batch, message)
	}
	return batch, nil
}
