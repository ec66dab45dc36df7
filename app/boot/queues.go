package boot

import (
	"log/slog"

	"github.com/opentracing/opentracing-go"

	"backbeat/app/favorite"
	"backbeat/app/message"
	"backbeat/app/video"
	"backbeat/config"
	"backbeat/mq"
)

// Queues returns every queue there is.
func Queues() []mq.Queue {
	return append(favorite.Queues(), video.PublishQueue, video.TranscodeQueue, message.NoticeQueue)
}

// OpenBroker returns the queues as a role of this configuration has them, and
// what closes them: a command that looks after dead letters is no role.
func OpenBroker(cfg *config.Config, log *slog.Logger) (mq.Broker, func() error, error) {
	shared := newResources(cfg, log)
	s := &site{resources: shared, tracer: opentracing.NoopTracer{}, log: log}
	broker, err := s.openBroker()
	return broker, shared.close, err
}
