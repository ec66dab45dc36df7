package video

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"backbeat/model"
	"backbeat/test/harness"
)

// Uploads are counted by where they stand, and the oldest in processing has an age.
func TestUploadsAreMeasured(t *testing.T) {
	for _, database := range harness.Databases() {
		t.Run(database.Name, func(t *testing.T) {
			db := openDB(t, database.Open(t))
			metrics := prometheus.NewRegistry()
			New(Deps{DB: db, Now: stopped, Metrics: metrics})
			shows := func(want map[string]float64) {
				t.Helper()
				found := harness.Metrics(t, metrics)
				for name, n := range want {
					if got, there := found[name]; got != n || !there {
						t.Errorf("%s is %v, want %v", name, got, n)
					}
				}
			}
			const age = "backbeat_video_oldest_upload_age_seconds"
			shows(map[string]float64{`backbeat_video_uploads{state="queued"}`: 0, age: 0})
			ago := func(d time.Duration) int64 { return noon.Add(-d).UnixMilli() }
			published := ago(0)
			for i, row := range []model.Video{
				{State: model.VideoProcessing, CreatedAt: ago(time.Minute)},
				{State: model.VideoProcessing, CreatedAt: ago(time.Second), QueuedAt: ago(0)},
				{State: model.VideoProcessing, CreatedAt: ago(2 * time.Minute), QueuedAt: ago(0)},
				{State: model.VideoFailed, CreatedAt: ago(time.Hour), QueuedAt: ago(0)},
				{State: model.VideoFailed, CreatedAt: ago(time.Hour)},
				{State: model.VideoPublished, CreatedAt: ago(2 * time.Hour), PublishedAt: &published},
			} {
				row.ID = int64(i + 1)
				check(t, db.Create(&row).Error)
			}
			shows(map[string]float64{
				`backbeat_video_uploads{state="unqueued"}`: 1, `backbeat_video_uploads{state="queued"}`: 2,
				`backbeat_video_uploads{state="failed"}`: 2, age: 120, `backbeat_reading_up{name="video_uploads"}`: 1,
			})
		})
	}
}
