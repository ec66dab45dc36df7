package video

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"gorm.io/gorm"

	"backbeat/app/changes"
	"backbeat/app/errs"
	"backbeat/app/media"
	"backbeat/app/video/ffmpeg"
	"backbeat/model"
	"backbeat/mq"
	"backbeat/proto/event"
)

// WorkerConfig is what can be set about a worker.
type WorkerConfig struct {
	// FFmpeg and FFprobe are programs in PATH or paths.
	FFmpeg, FFprobe string
	// MaxDuration bounds a video (API D12).
	MaxDuration time.Duration
	// Transcodes is how many videos are transcoded at once, beside the one that is
	// probed and remuxed.
	Transcodes int
	// Scratch is a folder for files in work, which every user must be able to pass
	// through; empty is one in the system's temporary folder. Workers may share it.
	Scratch string
	// Notices is the queue that takes event.VideoFailed.
	Notices mq.Queue
}

// WorkerDeps is what a worker works with.
type WorkerDeps struct {
	DB        *gorm.DB
	Publisher mq.Publisher
	Consumer  mq.Consumer
	Media     media.Store
	// Changes is told whose counts changed; it may be nil.
	Changes *changes.Announcer
	Now     func() time.Time
	Log     *slog.Logger
	// Metrics may be nil.
	Metrics prometheus.Registerer
}

// Worker persists the uploads that the queues bring and sweeps up behind
// everybody. Any number of them may run.
type Worker struct {
	cfg       WorkerConfig
	store     store
	publisher mq.Publisher
	consumer  mq.Consumer
	media     media.Store
	counted   *changes.Announcer
	now       func() time.Time
	log       *slog.Logger
	jobs      jobs

	// Set by Run.
	tools   *ffmpeg.Tools
	scratch *scratch
}

// NewWorker returns a worker, which Run sets to work.
func NewWorker(cfg WorkerConfig, deps WorkerDeps) *Worker {
	return &Worker{
		cfg: cfg, store: store{deps.DB}, publisher: deps.Publisher, consumer: deps.Consumer,
		media: deps.Media, counted: deps.Changes, now: deps.Now, log: deps.Log, jobs: newJobs(deps.Metrics),
	}
}

// Run works until ctx ends, then leaves what is in hand to others and returns
// nil. It returns an error when it can't work here at all, such as without ffmpeg.
func (w *Worker) Run(ctx context.Context) (err error) {
	if w.scratch, err = openScratch(w.cfg.Scratch); err != nil {
		return fmt.Errorf("preparing the video worker's folder: %w", err)
	}
	defer func() { err = errors.Join(err, w.scratch.close()) }()
	if w.tools, err = ffmpeg.New(ctx, w.cfg.FFmpeg, w.cfg.FFprobe, w.scratch.path, w.log); err != nil {
		return err
	}
	transcodes := max(1, w.cfg.Transcodes)
	fast := lane{PublishQueue, publishType, false, make(chan struct{}, 1)}
	slow := lane{TranscodeQueue, transcodeType, true, make(chan struct{}, transcodes)}
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error { return w.consume(ctx, fast) })
	for range transcodes {
		running.Go(func() error { return w.consume(ctx, slow) })
	}
	running.Go(func() error { return w.sweepUntil(ctx) })
	return running.Wait()
}

// lane is one of the two queues of uploads.
type lane struct {
	queue mq.Queue
	kind  string
	// transcodes is false in the lane that only remuxes.
	transcodes bool
	// slots bounds the uploads in work, whatever number of queues a consumer
	// takes from.
	slots chan struct{}
}

// consume works on what the lane's queue brings until stop ends. It then drops
// what is in hand: doing that again elsewhere is better than a stop that takes
// as long as a transcode.
func (w *Worker) consume(stop context.Context, from lane) error {
	return w.consumer.Consume(stop, from.queue, func(ctx context.Context, batch []mq.Message) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(stop, cancel)()
		select {
		case from.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		defer func() { <-from.slots }()
		for _, message := range batch {
			if err := w.handle(ctx, from, message); err != nil {
				return err
			}
		}
		return nil
	})
}

// handle brings an upload one step on: to published, to failed or into the slow
// lane. An upload that is there already only gets what may be missing.
func (w *Worker) handle(ctx context.Context, from lane, message mq.Message) error {
	id, err := readJob(from.kind, message)
	if err != nil {
		return err
	}
	row, err := w.store.get(ctx, id)
	if err != nil {
		return err
	}
	switch row.State {
	case model.VideoPublished, model.VideoHidden:
		return nil
	case model.VideoFailed:
		return w.notify(ctx, row)
	}
	last := message.Attempt+1 >= from.queue.Attempts
	return w.settle(ctx, row, w.persist(ctx, row, from), last)
}

// settle decides what becomes of an upload by how its processing ended. No upload
// fails because something of ours is away or full; anything else of ours may
// fail it when it happens on the last attempt.
func (w *Worker) settle(ctx context.Context, row *model.Video, err error, last bool) error {
	var bad *refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &bad):
		w.log.InfoContext(ctx, "refused an upload", "video", row.ID, "reason", bad.reason, "cause", bad.cause)
		return w.fail(ctx, row, bad.reason)
	case errs.Is(err, errs.Unavailable):
		return err
	case errs.Is(err, errs.Exhausted):
		return again(errs.Unavailable, row, err)
	case !last:
		return again(errs.Internal, row, err)
	default:
		w.log.ErrorContext(ctx, "gave up on an upload", "video", row.ID, "error", err)
		return w.fail(ctx, row, "视频处理失败，请重新上传")
	}
}

// again asks the queue for another attempt by the kind it returns, whatever kind
// the cause has.
func again(kind errs.Kind, row *model.Video, cause error) error {
	return errs.Wrap(kind, errors.New(cause.Error()), "persisting video %d", row.ID)
}

// fail ends an upload and tells its author, in this order: a worker that dies in
// between leaves a failed row and the job, which then only tells. The original
// has no further use and may be hostile, so it goes at once; if it can't, the
// sweep will delete it with all that was made of it.
func (w *Worker) fail(ctx context.Context, row *model.Video, reason string) error {
	won, err := w.store.fail(ctx, row.ID, reason, w.now().UnixMilli())
	if err != nil || !won {
		return err
	}
	w.jobs.failed.Inc()
	if err := w.media.Delete(ctx, row.OriginalKey); err != nil {
		w.log.WarnContext(ctx, "a later sweep will delete a failed upload", "video", row.ID, "error", err)
	}
	row.Reason = reason
	return w.notify(ctx, row)
}

// notify tells the author of a failed upload. Telling twice writes one notice.
func (w *Worker) notify(ctx context.Context, row *model.Video) error {
	body, err := proto.Marshal(&event.VideoFailed{VideoId: row.ID, AuthorId: row.AuthorID, Title: row.Title, Reason: row.Reason})
	if err != nil {
		return err
	}
	return w.publisher.Publish(ctx, w.cfg.Notices, mq.Message{Type: failedType, Body: body})
}
