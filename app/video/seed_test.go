package video

import (
	"slices"
	"testing"
	"time"

	"gorm.io/gorm"

	"backbeat/app/errs"
	"backbeat/app/id"
	"backbeat/app/media"
	"backbeat/model"
	pb "backbeat/proto/video"
	"backbeat/test/harness"
)

var seedConfig = WorkerConfig{FFmpeg: "ffmpeg", FFprobe: "ffprobe", MaxDuration: time.Minute}

// The clock stands still, so that only the store tells the videos apart.
func TestSeededVideosAreTheFeed(t *testing.T) {
	onEveryDatabase(t, func(t *testing.T, db *gorm.DB) {
		store, err := media.NewDisk(t.TempDir())
		check(t, err)
		sent := &outbox{}
		worker := WorkerDeps{DB: db, Publisher: sent, Media: store, Now: stopped, Log: harness.Logger(t)}
		clip, err := StoreClip(t.Context(), seedConfig, worker, harness.Clip(t, harness.ClipOptions{Codec: "vp9"}))
		check(t, err)
		deps := Deps{DB: db, IDs: id.NewGenerator(stopped), Now: stopped}
		ids, err := Seed(t.Context(), deps, clip, slices.Values([]Work{{100, "一"}, {101, "二"}, {100, "三"}}))
		check(t, err)

		s := newServer(t, db, sent)
		var first, second pb.FeedResponse
		check(t, s.Feed(t.Context(), &pb.FeedRequest{Limit: 2}, &first))
		if got, want := idsOf(first.Videos), []int64{ids[2], ids[1]}; !slices.Equal(got, want) {
			t.Fatalf("the feed is %v, want %v", got, want)
		}
		var works pb.WorkCountsResponse
		check(t, s.WorkCounts(t.Context(), &pb.WorkCountsRequest{UserIds: []int64{100}}, &works))
		if works.WorkCounts[100] != 2 {
			t.Errorf("the author of two has %d works", works.WorkCounts[100])
		}
		check(t, s.Feed(t.Context(), &pb.FeedRequest{Before: first.Videos[1].PublishedAt}, &second))
		if got := idsOf(second.Videos); !slices.Equal(got, ids[:1]) {
			t.Errorf("its second page is %v, want %v", got, ids[:1])
		}
		for _, key := range []string{first.Videos[0].PlayKey, first.Videos[0].CoverKey} {
			object, err := store.Open(t.Context(), key)
			check(t, err)
			if object.Size() == 0 || first.Videos[0].PlayKey != second.Videos[0].PlayKey {
				t.Errorf("%s has %d bytes", key, object.Size())
			}
			check(t, object.Close())
		}

		// A worker's sweep, a year from now, leaves them as they are.
		worker.Now = func() time.Time { return noon.AddDate(1, 0, 0) }
		NewWorker(seedConfig, worker).sweep(t.Context())
		var row model.Video
		check(t, db.Take(&row, ids[0]).Error)
		if row.State != model.VideoPublished || len(sent.jobs(t, PublishQueue)) > 0 {
			t.Errorf("the sweep touched %+v", row)
		}

		if _, err := Seed(t.Context(), deps, clip, slices.Values([]Work{{102, "四"}, {100, "五"}})); !errs.Is(err, errs.Conflict) {
			t.Errorf("a second seed at the same time: %v", err)
		}
		var n int64
		check(t, db.Model(&model.Video{}).Count(&n).Error)
		if n != 3 {
			t.Errorf("%d videos, want 3", n)
		}
	})
}

func TestStoreClipRefuses(t *testing.T) {
	for name, path := range map[string]string{
		"a missing file": "/nonexistent.mp4",
		"no video":       write(t, []byte("words")),
		"a long video":   harness.Clip(t, harness.ClipOptions{Seconds: 5, Silent: true}),
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			store, err := media.NewDisk(folder)
			check(t, err)
			cfg := seedConfig
			cfg.MaxDuration = 2 * time.Second
			if _, err := StoreClip(t.Context(), cfg, WorkerDeps{Media: store, Now: stopped, Log: harness.Logger(t)}, path); err == nil {
				t.Error("it was stored")
			}
		})
	}
}
