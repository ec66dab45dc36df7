package message

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"gorm.io/gorm"

	"backbeat/app/errs"
	"backbeat/app/id"
	"backbeat/app/text"
	"backbeat/model"
	"backbeat/mq"
	"backbeat/proto/event"
)

// NoticeQueue carries what the system account tells users. Its messages are of
// type NoticeVideoFailed.
var NoticeQueue = mq.Queue{Name: "message.notice", Batch: 1, Attempts: 5, Delay: 5 * time.Second}

// NoticeVideoFailed is the type of an event.VideoFailed.
const NoticeVideoFailed = "video.failed/1"

// WorkerDeps is what the worker needs.
type WorkerDeps struct {
	DB       *gorm.DB
	Consumer mq.Consumer
	Now      func() time.Time
}

// Worker writes notices.
type Worker struct {
	store    *store
	consumer mq.Consumer
}

// NewWorker returns the worker. The database has been migrated.
func NewWorker(deps WorkerDeps) *Worker {
	return &Worker{store: &store{db: deps.DB, now: deps.Now}, consumer: deps.Consumer}
}

// Run writes notices until ctx ends and the one in hand is done.
func (w *Worker) Run(ctx context.Context) error {
	return w.consumer.Consume(ctx, NoticeQueue, w.handle)
}

// handle writes the notices of a batch. Each is written once however often it
// comes, so a batch that failed in the middle may come again.
func (w *Worker) handle(ctx context.Context, batch []mq.Message) error {
	for _, message := range batch {
		if err := w.notify(ctx, message); err != nil {
			return err
		}
	}
	return nil
}

func (w *Worker) notify(ctx context.Context, message mq.Message) error {
	if message.Type != NoticeVideoFailed {
		return errs.Wrap(errs.Invalid, fmt.Errorf("unknown type %q", message.Type), "reading notice %s", message.ID)
	}
	var failed event.VideoFailed
	if err := proto.Unmarshal(message.Body, &failed); err != nil {
		return errs.Wrap(errs.Invalid, err, "reading notice %s", message.ID)
	}
	content := fmt.Sprintf("你的作品《%s》未能发布：%s", failed.Title, failed.Reason)
	if failed.VideoId <= 0 || failed.AuthorId <= model.SystemUserID || !text.Valid(content, text.MaxContent) {
		return errs.Wrap(errs.Invalid, fmt.Errorf("video %d of user %d", failed.VideoId, failed.AuthorId), "reading notice %s", message.ID)
	}
	return w.store.notify(ctx, id.Derive(failed.VideoId), model.SystemUserID, failed.AuthorId, content)
}
