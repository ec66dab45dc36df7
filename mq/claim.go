package mq

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"sync"

	"gorm.io/gorm"

	"backbeat/model"
)

// errClaimLost says that messages were claimed by another consumer, because this
// one seemed dead.
var errClaimLost = errors.New("the claim was lost")

// claim is a batch in hand of a table's consumer. Rows are touched only while
// they bear its token, and found by primary key alone: no statement locks gaps
// that a publisher inserts into.
type claim struct {
	table *Table
	queue Queue
	token string

	// mu keeps a renewal and a settlement apart.
	mu sync.Mutex
	// held are the rows not settled yet.
	held map[uint64]bool
	// until is when the claim runs out, in Unix milliseconds. Only the goroutine
	// that renews it touches it.
	until int64
}

// newClaim returns a claim on rows that are yet to be marked with it.
func newClaim(table *Table, queue Queue, ids []int64, until int64) *claim {
	c := &claim{table: table, queue: queue, token: rand.Text(), held: make(map[uint64]bool, len(ids)), until: until}
	for _, id := range ids {
		c.held[uint64(id)] = true
	}
	return c
}

// padded repeats the last id so that a statement has the same text, and is
// prepared once, for any number of rows.
func (c *claim) padded(ids []int64) []int64 {
	for len(ids) < c.queue.Batch {
		ids = append(ids, ids[len(ids)-1])
	}
	return ids
}

// rows is where the claim's statements begin.
func (c *claim) rows(ctx context.Context, ids []int64) *gorm.DB {
	return c.table.db.WithContext(ctx).Model(&model.QueueMessage{}).Where("id IN ? AND claim = ?", c.padded(ids), c.token)
}

// renew makes the claim last longer.
func (c *claim) renew(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.held) == 0 {
		return nil
	}
	ids := c.heldIDs()
	until := c.table.now() + leaseFor.Milliseconds()
	if err := c.rows(ctx, ids).Update("available_at", until).Error; err != nil {
		return model.Wrap(err, "renewing a claim on %s", c.queue.Name)
	}
	// Affected rows would say less: MySQL leaves out those that were the same.
	var kept int64
	if err := c.rows(ctx, ids).Count(&kept).Error; err != nil {
		return model.Wrap(err, "renewing a claim on %s", c.queue.Name)
	}
	if int(kept) < len(ids) {
		return errClaimLost
	}
	c.until = until
	return nil
}

// release puts back what was not settled, at once and as if never taken.
func (c *claim) release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.held) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), releaseFor)
	defer cancel()
	err := c.rows(ctx, c.heldIDs()).Updates(map[string]any{
		"claim": "", "claims": gorm.Expr("claims - 1"), "available_at": c.table.now(),
	}).Error
	return model.Wrap(err, "putting messages of %s back", c.queue.Name)
}

func (c *claim) heldIDs() []int64 {
	ids := make([]int64, 0, c.queue.Batch)
	for _, ref := range slices.Sorted(maps.Keys(c.held)) {
		ids = append(ids, int64(ref))
	}
	return ids
}

// done deletes the batch.
func (c *claim) done(ctx context.Context, batch []inHand) error {
	return c.settle(ctx, batch, func(rows *gorm.DB) *gorm.DB { return rows.Delete(&model.QueueMessage{}) })
}

// retry makes the message due after the queue's delay.
func (c *claim) retry(ctx context.Context, message inHand) error {
	return c.update(ctx, message, map[string]any{
		"claim": "", "claims": 0, "attempts": message.Attempt, "available_at": c.table.now() + c.queue.Delay.Milliseconds(),
	})
}

// bury marks the message as dead.
func (c *claim) bury(ctx context.Context, message inHand, reason string) error {
	return c.update(ctx, message, map[string]any{
		"claim": "", "claims": 0, "attempts": message.Attempt, "dead": true, "reason": reason, "died_at": c.table.now(),
	})
}

func (c *claim) update(ctx context.Context, message inHand, values map[string]any) error {
	return c.settle(ctx, []inHand{message}, func(rows *gorm.DB) *gorm.DB { return rows.Updates(values) })
}

// settle ends the hand-over of the batch with one statement.
func (c *claim) settle(ctx context.Context, batch []inHand, do func(rows *gorm.DB) *gorm.DB) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := make([]int64, 0, c.queue.Batch)
	for _, message := range batch {
		ids = append(ids, int64(message.ref))
	}
	result := do(c.rows(ctx, ids))
	if result.Error != nil {
		return model.Wrap(result.Error, "settling messages of %s", c.queue.Name)
	}
	for _, message := range batch {
		delete(c.held, message.ref)
	}
	if int(result.RowsAffected) < len(batch) {
		return errClaimLost
	}
	return nil
}
