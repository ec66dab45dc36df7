package video

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"gorm.io/gorm"

	"backbeat/app/errs"
	"backbeat/app/id"
	"backbeat/app/recount"
	"backbeat/model"
	"backbeat/mq"
	"backbeat/proto/event"
	pb "backbeat/proto/video"
)

// PublishQueue carries every upload to a worker: probing, covers and remuxing
// take seconds at most.
var PublishQueue = mq.Queue{Name: "video.publish", Batch: 1, Attempts: 8, Delay: 10 * time.Second}

// TranscodeQueue is the slow lane: what PublishQueue's worker found to need a
// transcode waits here and holds up no upload that needs none.
var TranscodeQueue = mq.Queue{Name: "video.transcode", Batch: 1, Attempts: 3, Delay: 10 * time.Second}

// Types of the queues' messages.
const (
	publishType   = "video.publish/1"
	transcodeType = "video.transcode/1"
	failedType    = "video.failed/1"
)

// job is the message that asks a worker to persist the video with the id.
func job(kind string, id int64) (mq.Message, error) {
	body, err := proto.Marshal(&event.VideoPublish{VideoId: id})
	return mq.Message{Type: kind, Body: body}, err
}

// readJob returns whom a job of the kind is about; what it can't read it never will.
func readJob(kind string, message mq.Message) (int64, error) {
	var asked event.VideoPublish
	if err := proto.Unmarshal(message.Body, &asked); err != nil || message.Type != kind || asked.VideoId <= 0 {
		return 0, errs.Wrap(errs.Invalid, fmt.Errorf("not a %s", kind), "reading a %s", message.Type)
	}
	return asked.VideoId, nil
}

// Counters are what counts published videos.
var Counters = []recount.Table{{Name: "video_authors", Key: "author_id", Columns: []recount.Column{
	{Name: "works", Of: "videos", By: "author_id", Where: fmt.Sprintf("state = %d", model.VideoPublished)},
}}}

// Deps is what the service works with.
type Deps struct {
	DB    *gorm.DB
	Queue mq.Publisher
	IDs   *id.Generator
	Now   func() time.Time
	Log   *slog.Logger
	// Metrics may be nil.
	Metrics prometheus.Registerer
}

// Server answers the RPCs of idl/video.proto.
type Server struct {
	store store
	queue mq.Publisher
	ids   *id.Generator
	now   func() time.Time
	log   *slog.Logger
}

var _ pb.VideoHandler = (*Server)(nil)

// New returns the service, whose database has been migrated.
func New(deps Deps) *Server {
	measureUploads(deps.Metrics, store{deps.DB}, deps.Now)
	return &Server{store: store{deps.DB}, queue: deps.Queue, ids: deps.IDs, now: deps.Now, log: deps.Log}
}
