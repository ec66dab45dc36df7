package video

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"backbeat/app/metrics"
	"backbeat/model"
)

// jobs counts what workers made of uploads.
type jobs struct{ published, failed, deferred prometheus.Counter }

func newJobs(to prometheus.Registerer) jobs {
	ended := metrics.Counters(to, "backbeat_video_jobs_total",
		"Steps that ended, by outcome: published, failed, or deferred to the slow lane, since the upload needs a transcode.", "outcome")
	return jobs{ended.WithLabelValues("published"), ended.WithLabelValues("failed"), ended.WithLabelValues("deferred")}
}

// measureUploads registers how many uploads are in which state, and since when. The
// service tells, not the workers: it does so when there are none.
func measureUploads(to prometheus.Registerer, s store, now func() time.Time) {
	uploads := metrics.NewGauge("backbeat_video_uploads",
		"Uploads that are not published, by state: unqueued (processing, without a job), queued (processing) or failed.", nil, "state")
	oldest := metrics.NewGauge("backbeat_video_oldest_upload_age_seconds",
		"Since when the oldest upload in processing waits, 0 when there is none.", nil)
	metrics.Read(to, "video_uploads", func(ctx context.Context) ([]metrics.Sample, error) {
		found, err := s.uploads(ctx)
		if err != nil {
			return nil, err
		}
		age := 0.0
		if found.oldest > 0 {
			age = max(0, now().Sub(time.UnixMilli(found.oldest)).Seconds())
		}
		return []metrics.Sample{
			{Gauge: uploads, Value: float64(found.unqueued), Labels: []string{"unqueued"}},
			{Gauge: uploads, Value: float64(found.queued), Labels: []string{"queued"}},
			{Gauge: uploads, Value: float64(found.failed), Labels: []string{"failed"}},
			{Gauge: oldest, Value: age},
		}, nil
	}, uploads, oldest)
}

// uploads counts those that are not published.
type uploads struct {
	unqueued, queued, failed int64
	// oldest is when the oldest in processing was created, in Unix ms, 0 for none.
	oldest int64
}

// uploads looks at rows of an index in which there are few: nothing to spare the primary.
func (s store) uploads(ctx context.Context) (found uploads, err error) {
	var rows []struct {
		State    model.VideoState
		Unqueued bool
		N        int64
		Oldest   int64
	}
	err = s.db.WithContext(ctx).Model(&model.Video{}).
		Select("state, queued_at = 0 AS unqueued, COUNT(*) AS n, MIN(created_at) AS oldest").
		Where("state IN ?", []model.VideoState{model.VideoProcessing, model.VideoFailed}).
		Group("state, queued_at = 0").Find(&rows).Error
	for _, row := range rows {
		switch {
		case row.State == model.VideoFailed:
			found.failed += row.N
			continue
		case row.Unqueued:
			found.unqueued += row.N
		default:
			found.queued += row.N
		}
		if found.oldest == 0 || row.Oldest < found.oldest {
			found.oldest = row.Oldest
		}
	}
	return found, model.Wrap(err, "counting uploads")
}
