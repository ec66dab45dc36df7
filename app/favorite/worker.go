package favorite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"gorm.io/gorm"

	"backbeat/app/changes"
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
	// Changes is told whose counts changed; it may be nil.
	Changes *changes.Announcer
	Log     *slog.Logger
}

// Worker applies queued likes, each exactly once in effect.
type Worker struct {
	store   *store
	queue   mq.Consumer
	pending Pending
	counted *changes.Announcer
	log     *slog.Logger
}

// NewWorker returns the worker; Run starts it.
func NewWorker(deps WorkerDeps) *Worker {
	return &Worker{
		store: &store{deps.DB}, queue: deps.Queue, pending: deps.Pending,
		counted: deps.Changes, log: deps.Log,
	}
}

// Run applies likes from all Queues until ctx ends, then finishes the batches in hand.
// Any number of workers may run; each queue keeps all but one waiting. Which one that
// is matters little: a worker applies batches of several queues side by side, and the
// database has most of the work.
func (w *Worker) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, queue := range Queues() {
		group.Go(func() error { return w.queue.Consume(ctx, queue, w.handle) })
	}
	return group.Wait()
}

// mostApplied bounds the writes of one transaction, and of one round trip to the
// pending entries, which has little time.
const mostApplied = 256

// handle applies a batch and shortens the lives of the pending entries it made
// true. Entries it can't reach are older than their rows now and show nothing, so
// that is no failure. A transaction that fails leaves those before it in effect,
// which repeating them doesn't change.
func (w *Worker) handle(ctx context.Context, batch []mq.Message) error {
	var writes []write
	for _, message := range batch {
		some, err := decode(message)
		if err != nil {
			return err
		}
		writes = append(writes, some...)
	}
	for some := range slices.Chunk(newest(writes), mostApplied) {
		if err := w.store.apply(ctx, some, nil); err != nil {
			return err
		}
		w.counted.Changed(ctx, videosOf(some), peopleOf(some))
		if err := w.pending.settle(ctx, some); err != nil {
			w.log.DebugContext(ctx, "pending likes left to expire", "likes", len(some), "error", err)
		}
	}
	return nil
}

// decode reads a message; what it can't read it never will.
func decode(message mq.Message) ([]write, error) {
	if message.Type != messageType {
		return nil, errs.Wrap(errs.Invalid, fmt.Errorf("unknown type %q", message.Type), "message %s", message.ID)
	}
	var payload event.FavoriteWrites
	if err := proto.Unmarshal(message.Body, &payload); err != nil {
		return nil, errs.Wrap(errs.Invalid, err, "decoding message %s", message.ID)
	}
	writes := make([]write, len(payload.Writes))
	for i, w := range payload.Writes {
		writes[i] = write{w.UserId, w.VideoId, w.AuthorId, w.Liked, w.Version}
		if err := check(writes[i]); err != nil {
			return nil, errs.Wrap(errs.Invalid, err, "message %s", message.ID)
		}
		if w.Version <= 0 {
			return nil, errs.Wrap(errs.Invalid, fmt.Errorf("version %d", w.Version), "message %s", message.ID)
		}
	}
	if len(writes) == 0 {
		return nil, errs.Wrap(errs.Invalid, errors.New("it holds no likes"), "message %s", message.ID)
	}
	return writes, nil
}
