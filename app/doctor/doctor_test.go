package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opentracing/opentracing-go"
	"gorm.io/gorm"

	"backbeat/app/doctor"
	"backbeat/app/errs"
	"backbeat/app/media"
	"backbeat/app/video"
	"backbeat/model"
	"backbeat/mq"
	"backbeat/test/harness"
	"backbeat/test/harness/tables"
)

var now = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// shelf is a store that holds objects of a given age.
type shelf struct {
	media.Store
	objects map[string]time.Time
	broken  error
}

func (s *shelf) List(context.Context) iter.Seq2[media.Info, error] {
	return func(yield func(media.Info, error) bool) {
		for key, at := range s.objects {
			if !yield(media.Info{Key: key, Size: 1, ModTime: at}, nil) {
				return
			}
		}
		if s.broken != nil {
			yield(media.Info{}, s.broken)
		}
	}
}

func (s *shelf) Delete(_ context.Context, keys ...string) error {
	for _, key := range keys {
		delete(s.objects, key)
	}
	return nil
}

// ward is a deployment with one of each thing that can be wrong.
func ward(t *testing.T, db *gorm.DB) (doctor.Deps, *shelf) {
	t.Helper()
	old, young := now.Add(-25*time.Hour), now.Add(-time.Hour)
	published := young.UnixMilli()
	store := &shelf{objects: map[string]time.Time{
		"video/aa/plays.mp4": old, "cover/aa/shown.jpg": old, "video/bb/original.mp4": old,
		"video/cc/orphan.mp4": old, "video/dd/young.mp4": young,
	}}
	for _, rows := range []any{
		[]model.Video{
			{ID: 10, AuthorID: 5, State: model.VideoPublished, PublishedAt: &published, PlayKey: "video/aa/plays.mp4", CoverKey: "cover/aa/shown.jpg"},
			{ID: 11, AuthorID: 5, State: model.VideoProcessing, CreatedAt: young.UnixMilli(), OriginalKey: "video/bb/original.mp4", PlayKey: "video/bb/original.mp4"},
			{ID: 12, AuthorID: 5, State: model.VideoProcessing, CreatedAt: now.UnixMilli(), QueuedAt: now.UnixMilli()},
		},
		[]model.VideoAuthor{{AuthorID: 5, Works: 3}},
	} {
		if err := db.Create(rows).Error; err != nil {
			t.Fatal(err)
		}
	}
	queue := mq.Queue{Name: "test", Batch: 1, Attempts: 1}
	table := mq.NewTable(db, mq.Deps{Tracer: opentracing.NoopTracer{}, Log: harness.Logger(t), Now: func() time.Time { return now }})
	t.Cleanup(func() { _ = table.Close() })
	if err := table.Publish(t.Context(), queue, mq.Message{ID: "m1", Type: "x"}); err != nil {
		t.Fatal(err)
	}
	consuming, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- table.Consume(consuming, queue, func(context.Context, []mq.Message) error {
			return errs.New(errs.Invalid, "unreadable")
		})
	}()
	harness.Eventually(t, 20*time.Second, func() error {
		dead, err := table.Dead(t.Context(), queue, 10)
		if err == nil && len(dead) == 0 {
			err = errors.New("not dead yet")
		}
		return err
	}, "a message to die")
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	return doctor.Deps{DB: db, Media: store, Broker: table, Queues: []mq.Queue{queue, video.PublishQueue}, Now: func() time.Time { return now }}, store
}

func findings(t *testing.T, deps doctor.Deps, fix bool) []string {
	t.Helper()
	var found []string
	for _, check := range doctor.Checks(deps) {
		some, err := check.Look(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", check.Name, err)
		}
		for _, f := range some {
			found = append(found, fmt.Sprintf("%s: %s | %s", check.Name, f.What, f.Mend))
			if !fix || !f.Safe() {
				continue
			}
			for range 2 { // twice does no harm
				if err := f.Fix(t.Context()); err != nil {
					t.Errorf("mending %q: %v", f.What, err)
				}
			}
		}
	}
	return found
}

func TestWhatIsWrongIsFoundAndMended(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		deps, store := ward(t, db)
		want := []string{
			"counters: video_authors.works says 3 where author_id is 5, and there are 1 | doctor -fix",
			"stored media: video/cc/orphan.mp4, 1 bytes of 2026-05-03, belongs to no video | doctor -fix",
			"uploads: video 11 has been in processing for 1h0m0s | video reprocess 11",
			"dead letters: a message of test was given up",
		}
		same := func(got, want string) bool { return strings.HasPrefix(got, want) }
		if found := findings(t, deps, true); !slices.EqualFunc(found, want, same) {
			t.Errorf("found %q", found)
		}
		if _, there := store.objects["video/cc/orphan.mp4"]; there || len(store.objects) != 4 {
			t.Errorf("stored are %v", store.objects)
		}
		// A job that was sent again takes its time, and a message takes a person.
		if left := findings(t, deps, false); !slices.EqualFunc(left, want[2:], same) {
			t.Errorf("afterwards: %q", left)
		}
	})
}

// Half a list must not pass for a clean bill.
func TestAStoreThatCanNotBeListedIsNoCleanBill(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		broken := errors.New("broken")
		deps := doctor.Deps{DB: db, Media: &shelf{broken: broken}, Now: time.Now}
		for _, check := range doctor.Checks(deps) {
			if _, err := check.Look(t.Context()); check.Name == "stored media" && !errors.Is(err, broken) {
				t.Errorf("got %v", err)
			}
		}
	})
}
