package mq

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"gorm.io/gorm"

	"backbeat/app/errs"
	"backbeat/app/trace"
	"backbeat/model"
)

// Table is a queue in a database table. A message in hand is claimed: its row
// names the claim and when it runs out, so that the message of a process that
// died is taken up by another. Nothing of a queue is read from a replica: claims and
// leases are decided by what is read, and an empty queue would seem full.
type Table struct {
	db      *gorm.DB
	deps    Deps
	metrics *instruments

	// closed ends with Close.
	closed context.Context
	close  context.CancelFunc

	mu sync.Mutex
	// wakes tells consumers in this process, by queue, that there is something.
	wakes map[string]chan struct{}
}

// NewTable returns a queue in the tables of model.QueueMessage and
// model.QueueLease. It does not own db.
func NewTable(db *gorm.DB, deps Deps) *Table {
	closed, end := context.WithCancel(context.Background())
	return &Table{db: db, deps: deps, metrics: newInstruments(deps.Metrics), closed: closed, close: end, wakes: map[string]chan struct{}{}}
}

// Publish returns nil once the message is committed.
func (t *Table) Publish(ctx context.Context, queue Queue, message Message) (err error) {
	if err := prepare(queue, &message); err != nil {
		return err
	}
	span, ctx, carrier := startPublish(ctx, queue, message)
	start := time.Now()
	defer func() {
		t.metrics.publish(ctx, queue, tableStore, start, err)
		trace.Fail(span, err)
		span.Finish()
	}()

	origin, err := json.Marshal(carrier)
	if err != nil { // cannot be: a map of strings
		return err
	}
	now := t.now()
	row := model.QueueMessage{
		MessageID: message.ID, Queue: queue.Name, AvailableAt: now, CreatedAt: now,
		Type: message.Type, Body: message.Body, Trace: string(origin),
	}
	if row.Body == nil {
		row.Body = []byte{} // the column is not null
	}
	if err := t.db.WithContext(ctx).Create(&row).Error; err != nil {
		return model.Wrap(err, "publishing %s to the table of %s", message.ID, queue.Name)
	}
	t.wake(queue.Name)
	return nil
}

// Dead lists the dead messages in the table.
func (t *Table) Dead(ctx context.Context, queue Queue, limit int) ([]Dead, error) {
	var rows []model.QueueMessage
	err := t.db.WithContext(ctx).Where("queue = ? AND dead = ?", queue.Name, true).
		Order("died_at, id").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, model.Wrap(err, "listing the dead messages of %s", queue.Name)
	}
	dead := make([]Dead, len(rows))
	for i, row := range rows {
		dead[i] = Dead{
			Message: Message{ID: row.MessageID, Type: row.Type, Body: row.Body, Attempt: row.Attempts},
			Queue:   row.Queue, Reason: row.Reason, Died: time.UnixMilli(row.DiedAt).UTC(), Store: tableStore,
		}
	}
	return dead, nil
}

// Replay makes the dead message with the id a fresh one.
func (t *Table) Replay(ctx context.Context, queue Queue, id string) error {
	result := t.db.WithContext(ctx).Model(&model.QueueMessage{}).
		Where("message_id = ? AND queue = ? AND dead = ?", id, queue.Name, true).
		Updates(map[string]any{
			"dead": false, "attempts": 0, "claims": 0, "claim": "", "reason": "", "died_at": 0, "available_at": t.now(),
		})
	if result.Error != nil {
		return model.Wrap(result.Error, "replaying %s of %s", id, queue.Name)
	}
	if result.RowsAffected == 0 {
		return errs.Wrap(errs.NotFound, gorm.ErrRecordNotFound, "replaying %s of %s", id, queue.Name)
	}
	t.wake(queue.Name)
	return nil
}

// Close takes the batches in hand away from consumers that have not returned.
func (t *Table) Close() error {
	t.close()
	return nil
}

func (t *Table) now() int64 { return t.deps.Now().UnixMilli() }

// wakeOf holds one signal at most: a consumer that takes it looks for messages.
func (t *Table) wakeOf(queue string) chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wakes[queue] == nil {
		t.wakes[queue] = make(chan struct{}, 1)
	}
	return t.wakes[queue]
}

func (t *Table) wake(queue string) {
	select {
	case t.wakeOf(queue) <- struct{}{}:
	default:
	}
}
