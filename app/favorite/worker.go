package favorite

import (
	"context"
	"fmt"
	"log/slog"

	"google.golang.org/protobuf/proto"
	"gorm.io/gorm"

	"backbeat/app/errs"
	"backbeat/mq"
	"backbeat/proto/event"
)

// WorkerDeps is what the worker needs.
type WorkerDeps struct {
	DB *gorm.DB
	// Queue hands over what the service published.
	Queue mq.Consumer
	// Pending is the one the service uses too.
	Pending Pending
	Log     *slog.Logger
}

// Worker applies queued likes, each exactly once in effect.
type Worker struct {
	store   *store
	queue   mq.Consumer
	pending Pending
	log     *slog.Logger
}

// NewWorker returns the worker; Run starts it.
func NewWorker(deps WorkerDeps) *Worker {
	return &Worker{store: &store{deps.DB}, queue: deps.Queue, pending: deps.Pending, log: deps.Log}
}

// Run applies likes until ctx ends, then finishes the batch in hand. Any number
// of workers may run; the queue keeps all but one waiting.
func (w *Worker) Run(ctx context.Context) error { return w.queue.Consume(ctx, Queue, w.handle) }

// handle applies a batch in one transaction and shortens the lives of the pending
// entries it made true. Entries it can't reach are older than their rows now and
// show nothing, so that is no failure.
func (w *Worker) handle(ctx context.Context, batch []mq.Message) error {
	writes := make([]write, len(batch))
	for i, message := range batch {
		var err error
		if writes[i], err = decode(message); err != nil {
			return err
		}
	}
	if err := w.store.apply(ctx, writes, nil); err != nil {
		return err
	}
	if err := w.pending.settle(ctx, newest(writes)); err != nil {
		w.log.DebugContext(ctx, "pending likes left to expire", "likes", len(writes), "error", err)
	}
	return nil
}

// decode reads a message; what it can't read it never will.
func decode(message mq.Message) (write, error) {
	if message.Type != messageType {
		return write{}, errs.Wrap(errs.Invalid, fmt.Errorf("unknown type %q", message.Type), "message %s", message.ID)
	}
	var payload event.FavoriteWrite
	if err := proto.Unmarshal(message.Body, &payload); err != nil {
		return write{}, errs.Wrap(errs.Invalid, err, "decoding message %s", message.ID)
	}
	w := write{payload.UserId, payload.VideoId, payload.AuthorId, payload.Liked, payload.Version}
	if err := check(w); err != nil {
		return write{}, errs.Wrap(errs.Invalid, err, "message %s", message.ID)
	}
	if w.version <= 0 {
		return write{}, errs.Wrap(errs.Invalid, fmt.Errorf("version %d", w.version), "message %s", message.ID)
	}
	return w, nil
}
