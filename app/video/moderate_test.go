package video

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"backbeat/app/cache"
	"backbeat/app/changes"
	"backbeat/app/errs"
	"backbeat/app/media"
	"backbeat/model"
	pb "backbeat/proto/video"
	"backbeat/test/harness/tables"
)

// listed returns what a stranger sees: the feed, the author's works, how many they
// are said to be, and the video itself.
func listed(t *testing.T, s *Server, author, id int64) (feed, works []int64, count int64, known bool) {
	t.Helper()
	var page pb.FeedResponse
	check(t, s.Feed(t.Context(), &pb.FeedRequest{Before: noon.Add(time.Hour).UnixMilli(), Limit: 30}, &page))
	for _, v := range page.Videos {
		feed = append(feed, v.Id)
	}
	rows, count, err := s.store.byAuthor(t.Context(), author, 0, 30)
	check(t, err)
	for _, row := range rows {
		works = append(works, row.ID)
	}
	found, err := s.store.byIDs(t.Context(), []int64{id}, author)
	check(t, err)
	return feed, works, count, len(found) == 1
}

func TestAHiddenVideoIsNowhereUntilItIsShownAgain(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		const author = 7
		s := newServer(t, db, &outbox{})
		first, second := upload(t, s, author), upload(t, s, author)
		release(t, s, author, first, second)
		files, err := media.NewDisk(t.TempDir())
		check(t, err)
		journal := cache.NewMemoryJournal()
		_, position, _ := journal.After(t.Context(), "")
		counted := changes.NewAnnouncer(journal, s.log)
		play := "play/a.mp4" // both videos'
		for _, key := range []string{play, "cover/a.jpg"} {
			check(t, files.Put(t.Context(), key, strings.NewReader(key), int64(len(key)), ""))
		}
		for turn := range 2 { // hiding is no one-way street
			check(t, Hide(t.Context(), db, files, counted, first))
			if _, err := files.Open(t.Context(), play); (err == nil) != (turn == 0) {
				t.Errorf("opening the file of the video, which another one uses: %t: %v", turn == 0, err)
			}
			feed, works, count, known := listed(t, s, author, first)
			if !slices.Equal(feed, []int64{second}) || !slices.Equal(works, []int64{second}) || count != 1 || known {
				t.Errorf("hidden: feed %v, works %v, %d counted, known to its author: %t", feed, works, count, known)
			}
			if err := Hide(t.Context(), db, files, counted, first); !errs.Is(err, errs.Conflict) {
				t.Errorf("hiding twice: %v", err)
			}
			check(t, Unhide(t.Context(), db, counted, first, noon.Add(time.Minute)))
			feed, works, count, known = listed(t, s, author, first)
			if !slices.Equal(feed, []int64{first, second}) || !slices.Equal(works, []int64{second, first}) || count != 2 || !known {
				t.Errorf("shown again: feed %v, works %v, %d counted, known %t", feed, works, count, known)
			}
			if err := Unhide(t.Context(), db, counted, first, noon); !errs.Is(err, errs.Conflict) {
				t.Errorf("showing what is not hidden: %v", err)
			}
			row, err := Find(t.Context(), db, first)
			check(t, err)
			if row.PlayKey == play || row.State != model.VideoPublished {
				t.Errorf("it came back as %+v", row)
			}
			play = row.PlayKey
			file, err := files.Open(t.Context(), play)
			check(t, err)
			if content, err := io.ReadAll(file); err != nil || string(content) != "play/a.mp4" {
				t.Errorf("it came back with %q, %v", content, err)
			}
			check(t, file.Close())
		}
		if err := Hide(t.Context(), db, files, counted, 12345); !errs.Is(err, errs.NotFound) {
			t.Errorf("hiding nothing: %v", err)
		}
		// What its author's works are counted as changed four times, and when it could not
		// be hidden or shown it may have.
		if told, _, err := journal.After(t.Context(), position); err != nil || len(told) < 4 {
			t.Errorf("%d changes were announced, %v", len(told), err)
		}
		var kept int
		for _, err := range files.List(t.Context()) {
			check(t, err)
			kept++
		}
		if kept != 4 {
			t.Errorf("%d files are kept, want a pair for each video", kept)
		}
	})
}

func TestOnlyWhatIsInProcessingIsReprocessed(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		queue := &outbox{}
		s := newServer(t, db, queue)
		stuck, done := upload(t, s, 7), upload(t, s, 7)
		release(t, s, 7, done)
		for _, row := range []struct {
			name string
			id   int64
			sent int
			want errs.Kind
		}{
			{"in processing", stuck, 1, 0},
			{"published", done, 0, errs.Conflict},
			{"nowhere", 12345, 0, errs.NotFound},
		} {
			before := len(queue.jobs(t, PublishQueue))
			err := Reprocess(t.Context(), db, queue, row.id, noon)
			if (err == nil) != (row.sent == 1) || err != nil && !errs.Is(err, row.want) {
				t.Errorf("%s: %v", row.name, err)
			}
			if sent := len(queue.jobs(t, PublishQueue)) - before; sent != row.sent {
				t.Errorf("%s: %d jobs were sent", row.name, sent)
			}
		}
		rows, err := Stuck(t.Context(), db, noon.Add(time.Second), 10)
		check(t, err)
		if len(rows) != 1 || rows[0].ID != stuck {
			t.Errorf("stuck are %v", rows)
		}
		if rows, err = Stuck(t.Context(), db, noon, 10); err != nil || len(rows) > 0 {
			t.Errorf("stuck since before it was uploaded: %v, %v", rows, err)
		}
	})
}
