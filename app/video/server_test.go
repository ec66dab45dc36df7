package video

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"
	"pgregory.net/rapid"

	"backbeat/app/batch"
	"backbeat/app/errs"
	"backbeat/app/id"
	"backbeat/model"
	"backbeat/mq"
	"backbeat/proto/entity"
	"backbeat/proto/event"
	pb "backbeat/proto/video"
	"backbeat/test/harness"

	"google.golang.org/protobuf/proto"
)

// noon is where tests stop the clock.
var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func stopped() time.Time { return noon }

func openDB(tb testing.TB, dsn string) *gorm.DB {
	tb.Helper()
	db, err := model.Open(tb.Context(), dsn, 8, harness.Logger(tb))
	check(tb, err)
	tb.Cleanup(func() { check(tb, model.Close(db)) })
	check(tb, model.Migrate(tb.Context(), db))
	return db
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// outbox is a queue that keeps what is published and fails when told to.
type outbox struct {
	mu   sync.Mutex
	err  error
	sent map[string][]mq.Message
}

func (o *outbox) Publish(_ context.Context, queue mq.Queue, message mq.Message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return o.err
	}
	if o.sent == nil {
		o.sent = map[string][]mq.Message{}
	}
	o.sent[queue.Name] = append(o.sent[queue.Name], message)
	return nil
}

func (o *outbox) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = err
}

// jobs returns the ids of the videos whose jobs were sent to the queue.
func (o *outbox) jobs(tb testing.TB, queue mq.Queue) []int64 {
	tb.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	var ids []int64
	for _, message := range o.sent[queue.Name] {
		var asked event.VideoPublish
		check(tb, proto.Unmarshal(message.Body, &asked))
		ids = append(ids, asked.VideoId)
	}
	return ids
}

func newServer(tb testing.TB, db *gorm.DB, queue mq.Publisher) *Server {
	return New(Deps{DB: db, Queue: queue, IDs: id.NewGenerator(stopped), Now: stopped, Log: harness.Logger(tb)})
}

// upload publishes one video of the author and returns its id.
func upload(tb testing.TB, s *Server, author int64) int64 {
	tb.Helper()
	var out pb.PublishResponse
	check(tb, s.Publish(tb.Context(), &pb.PublishRequest{AuthorId: author, Title: "海边", OriginalKey: fmt.Sprintf("original/%x.mp4", rand.Uint64()), Size: 10}, &out))
	return out.Video.Id
}

// release makes the uploads published, as a worker would.
func release(tb testing.TB, s *Server, author int64, ids ...int64) {
	tb.Helper()
	for _, id := range ids {
		won, err := s.store.publish(tb.Context(), &model.Video{ID: id, AuthorID: author, PlayKey: "play/a.mp4", CoverKey: "cover/a.jpg"}, noon.UnixMilli())
		check(tb, err)
		if !won {
			tb.Fatalf("video %d had left processing", id)
		}
	}
}

func idsOf(videos []*entity.Video) []int64 {
	ids := make([]int64, len(videos))
	for i, v := range videos {
		ids[i] = v.Id
	}
	return ids
}

func onEveryDatabase(t *testing.T, test func(t *testing.T, db *gorm.DB)) {
	for _, database := range harness.Databases() {
		t.Run(database.Name, func(t *testing.T) { test(t, openDB(t, database.Open(t))) })
	}
}

func TestPublishRefusesBadInput(t *testing.T) {
	good := func() *pb.PublishRequest {
		return &pb.PublishRequest{AuthorId: 7, Title: "标题", OriginalKey: "original/a.mp4", Size: 1}
	}
	tests := map[string]func(*pb.PublishRequest){
		"no title":         func(in *pb.PublishRequest) { in.Title = "" },
		"blank title":      func(in *pb.PublishRequest) { in.Title = " \u200b" },
		"101 runes":        func(in *pb.PublishRequest) { in.Title = strings.Repeat("海", 101) },
		"title with NUL":   func(in *pb.PublishRequest) { in.Title = "a\x00" },
		"title not UTF-8":  func(in *pb.PublishRequest) { in.Title = "\xff\xfe" },
		"no author":        func(in *pb.PublishRequest) { in.AuthorId = 0 },
		"no key":           func(in *pb.PublishRequest) { in.OriginalKey = "" },
		"too long a key":   func(in *pb.PublishRequest) { in.OriginalKey = strings.Repeat("a", 256) },
		"nothing in it":    func(in *pb.PublishRequest) { in.Size = 0 },
		"negative author ": func(in *pb.PublishRequest) { in.AuthorId = -1 },
	}
	db := openDB(t, harness.SQLite(t))
	queue := &outbox{}
	s := newServer(t, db, queue)
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			in := good()
			spoil(in)
			if err := s.Publish(t.Context(), in, &pb.PublishResponse{}); !errs.Is(err, errs.Invalid) {
				t.Errorf("Publish returned %v, want Invalid", err)
			}
		})
	}
	var rows int64
	check(t, db.Model(&model.Video{}).Count(&rows).Error)
	if rows != 0 || len(queue.sent) != 0 {
		t.Errorf("refused uploads left %d rows and %d queues with jobs", rows, len(queue.sent))
	}
}

func TestPublishedUploadIsInItsAuthorsListAlone(t *testing.T) {
	onEveryDatabase(t, func(t *testing.T, db *gorm.DB) {
		queue := &outbox{}
		s := newServer(t, db, queue)
		title := strings.Repeat("🎬", 100)
		var out pb.PublishResponse
		check(t, s.Publish(t.Context(), &pb.PublishRequest{AuthorId: 7, Title: title, OriginalKey: "original/a.mp4", Size: 9}, &out))
		id := out.Video.Id
		if out.Video.State != entity.Video_PROCESSING || out.Video.PlayKey != "original/a.mp4" || out.Video.Title != title {
			t.Errorf("Publish answered %v", out.Video)
		}
		if got := queue.jobs(t, PublishQueue); !slices.Equal(got, []int64{id}) {
			t.Errorf("jobs of %v were queued, want of %d", got, id)
		}
		for viewer, want := range map[int64]int{7: 1, 8: 0, 0: 0} {
			var list pb.ListByAuthorResponse
			check(t, s.ListByAuthor(t.Context(), &pb.ListByAuthorRequest{AuthorId: 7, ViewerId: viewer}, &list))
			var got pb.BatchGetResponse
			check(t, s.BatchGet(t.Context(), &pb.BatchGetRequest{Ids: []int64{id}, ViewerId: viewer}, &got))
			var counts pb.WorkCountsResponse
			check(t, s.WorkCounts(t.Context(), &pb.WorkCountsRequest{UserIds: []int64{7, 8}, ViewerId: viewer}, &counts))
			if len(list.Videos) != want || int(list.WorkCount) != want || len(got.Videos) != want || int(counts.WorkCounts[7]) != want {
				t.Errorf("viewer %d sees %d in the list, %d works, %d in the batch, a count of %d; want %d", viewer,
					len(list.Videos), list.WorkCount, len(got.Videos), counts.WorkCounts[7], want)
			}
			if count, ok := counts.WorkCounts[8]; !ok || count != 0 {
				t.Errorf("a user without works has the count %d, present: %t", count, ok)
			}
		}
		var feed pb.FeedResponse
		check(t, s.Feed(t.Context(), &pb.FeedRequest{}, &feed))
		if len(feed.Videos) != 0 {
			t.Errorf("the feed shows %v", feed.Videos)
		}
	})
}

func TestFailedUploadIsInNoList(t *testing.T) {
	onEveryDatabase(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db, &outbox{})
		id := upload(t, s, 7)
		won, err := s.store.fail(t.Context(), id, "无法识别的视频文件", noon.UnixMilli())
		check(t, err)
		if !won {
			t.Fatal("an upload in processing did not fail")
		}
		var list pb.ListByAuthorResponse
		check(t, s.ListByAuthor(t.Context(), &pb.ListByAuthorRequest{AuthorId: 7, ViewerId: 7}, &list))
		var got pb.BatchGetResponse
		check(t, s.BatchGet(t.Context(), &pb.BatchGetRequest{Ids: []int64{id}, ViewerId: 7}, &got))
		if len(list.Videos)+len(got.Videos)+int(list.WorkCount) != 0 {
			t.Errorf("a failed upload shows: list %v, batch %v, %d works", list.Videos, got.Videos, list.WorkCount)
		}
		if won, err := s.store.publish(t.Context(), &model.Video{ID: id, AuthorID: 7}, 1); won || err != nil {
			t.Errorf("a failed upload was published (%t, %v)", won, err)
		}
	})
}

// The row is durable, so a queue that is away delays an upload and fails nothing.
func TestPublishWithoutAQueueIsLeftToTheSweep(t *testing.T) {
	db := openDB(t, harness.SQLite(t))
	queue := &outbox{err: errs.New(errs.Unavailable, "")}
	s := newServer(t, db, queue)
	id := upload(t, s, 7)
	later := noon
	w := NewWorker(WorkerConfig{}, WorkerDeps{DB: db, Publisher: queue, Now: func() time.Time { return later }, Log: harness.Logger(t)})

	queue.fail(nil)
	check(t, w.resend(t.Context()))
	if got := queue.jobs(t, PublishQueue); len(got) != 0 {
		t.Errorf("jobs of %v were sent while their Publish may still be at it", got)
	}
	later = noon.Add(unqueuedAfter + time.Second)
	for range 2 {
		check(t, w.resend(t.Context()))
	}
	if got := queue.jobs(t, PublishQueue); !slices.Equal(got, []int64{id}) {
		t.Errorf("jobs of %v were sent, want of %d once", got, id)
	}
	later = later.Add(lostAfter + time.Second)
	check(t, w.resend(t.Context()))
	if got := queue.jobs(t, PublishQueue); !slices.Equal(got, []int64{id, id}) {
		t.Errorf("after %v jobs of %v were sent, want the lost one again", lostAfter, got)
	}
}

func TestFeedPagesLoseAndRepeatNothing(t *testing.T) {
	onEveryDatabase(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db, &outbox{})
		const videos, atOnce = 100, 30
		var want []int64
		for i := range videos {
			id := upload(t, s, int64(1+i%3))
			at := noon.Add(time.Duration(i) * time.Second)
			if i >= videos-atOnce {
				at = noon.Add(videos * time.Second)
			}
			_, err := s.store.publish(t.Context(), &model.Video{ID: id, AuthorID: int64(1 + i%3)}, at.UnixMilli())
			check(t, err)
			want = append(want, id)
		}
		slices.Reverse(want)
		var got []int64
		for before := int64(0); ; {
			var page pb.FeedResponse
			check(t, s.Feed(t.Context(), &pb.FeedRequest{Before: before, Limit: 7}, &page))
			if len(page.Videos) == 0 {
				break
			}
			for _, v := range page.Videos {
				if before != 0 && v.PublishedAt >= before {
					t.Fatalf("a page before %d holds a video of %d", before, v.PublishedAt)
				}
				before = v.PublishedAt
			}
			got = append(got, idsOf(page.Videos)...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("paging gave %d videos, want %d, each once, newest first", len(got), len(want))
		}
		var page pb.FeedResponse
		check(t, s.Feed(t.Context(), &pb.FeedRequest{Limit: 1000}, &page))
		if len(page.Videos) != maxPage {
			t.Errorf("a page has %d videos, want at most %d", len(page.Videos), maxPage)
		}
	})
}

// Any number of workers that publish the same and other videos at the same
// instant publish each once, at a time of its own, and count it once.
func TestConcurrentPublishesCountOnce(t *testing.T) {
	onEveryDatabase(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db, &outbox{})
		rapid.Check(t, func(rt *rapid.T) {
			author := rapid.Int64Range(1, 1<<40).Draw(rt, "author")
			uploads := rapid.IntRange(1, 8).Draw(rt, "uploads")
			workers := rapid.IntRange(2, 4).Draw(rt, "workers")
			var ids []int64
			for range uploads {
				ids = append(ids, upload(t, s, author))
			}
			var group sync.WaitGroup
			wins := make(chan int64, uploads*workers)
			for range workers {
				group.Go(func() {
					for _, i := range rand.Perm(uploads) {
						won, err := s.store.publish(t.Context(), &model.Video{ID: ids[i], AuthorID: author}, noon.UnixMilli())
						if err != nil {
							t.Error(err)
						}
						if won {
							wins <- ids[i]
						}
					}
				})
			}
			group.Wait()
			close(wins)
			won := map[int64]int{}
			for id := range wins {
				won[id]++
			}
			rows, _, err := s.store.byAuthor(t.Context(), author, 0, maxWorks)
			check(t, err)
			works, err := s.store.works(t.Context(), []int64{author}, 0)
			check(t, err)
			times := map[int64]bool{}
			for _, row := range rows {
				times[*row.PublishedAt] = true
				if won[row.ID] > 1 {
					rt.Errorf("video %d was published %d times", row.ID, won[row.ID])
				}
			}
			if int(works[author]) != len(rows) || len(times) != len(rows) || len(rows) < uploads {
				rt.Errorf("%d uploads: %d works, %d rows, %d publish times", uploads, works[author], len(rows), len(times))
			}
		})
	})
}

func TestBatchGetKeepsTheOrderAskedFor(t *testing.T) {
	onEveryDatabase(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db, &outbox{})
		a, b, c := upload(t, s, 7), upload(t, s, 7), upload(t, s, 8)
		release(t, s, 7, a, b)
		release(t, s, 8, c)
		var out pb.BatchGetResponse
		check(t, s.BatchGet(t.Context(), &pb.BatchGetRequest{Ids: []int64{c, 99, a, b}}, &out))
		if want := []int64{c, a, b}; !slices.Equal(idsOf(out.Videos), want) {
			t.Errorf("BatchGet gave %v, want %v", idsOf(out.Videos), want)
		}
	})
}

func TestListByAuthorIsNewestFirstAndBounded(t *testing.T) {
	onEveryDatabase(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(t, db, &outbox{})
		a, b, c := upload(t, s, 7), upload(t, s, 7), upload(t, s, 7)
		release(t, s, 7, c, a)
		tests := map[string]struct {
			viewer int64
			limit  int32
			want   []int64
			works  int64
		}{
			"a stranger":           {0, 0, []int64{c, a}, 2},
			"the author":           {7, 0, []int64{c, b, a}, 3},
			"the author, only two": {7, 2, []int64{c, b}, 3},
		}
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				var out pb.ListByAuthorResponse
				check(t, s.ListByAuthor(t.Context(), &pb.ListByAuthorRequest{AuthorId: 7, ViewerId: tt.viewer, Limit: tt.limit}, &out))
				if !slices.Equal(idsOf(out.Videos), tt.want) || out.WorkCount != tt.works {
					t.Errorf("got %v and %d works, want %v and %d", idsOf(out.Videos), out.WorkCount, tt.want, tt.works)
				}
			})
		}
	})
}

func TestBatchesAreBounded(t *testing.T) {
	s := newServer(t, openDB(t, harness.SQLite(t)), &outbox{})
	many := make([]int64, batch.Max+1)
	for i := range many {
		many[i] = int64(i + 1)
	}
	for name, err := range map[string]error{
		"BatchGet of too many":   s.BatchGet(t.Context(), &pb.BatchGetRequest{Ids: many}, &pb.BatchGetResponse{}),
		"WorkCounts of too many": s.WorkCounts(t.Context(), &pb.WorkCountsRequest{UserIds: many}, &pb.WorkCountsResponse{}),
		"ListByAuthor of nobody": s.ListByAuthor(t.Context(), &pb.ListByAuthorRequest{}, &pb.ListByAuthorResponse{}),
	} {
		if !errs.Is(err, errs.Invalid) {
			t.Errorf("%s returned %v, want Invalid", name, err)
		}
	}
	var counts pb.WorkCountsResponse
	check(t, s.WorkCounts(t.Context(), &pb.WorkCountsRequest{}, &counts))
	var none pb.BatchGetResponse
	check(t, s.BatchGet(t.Context(), &pb.BatchGetRequest{}, &none))
	if len(counts.WorkCounts)+len(none.Videos) != 0 {
		t.Errorf("asking for nothing gave %v and %v", counts.WorkCounts, none.Videos)
	}
}

// A page costs one statement for the videos, an author's own one more for the
// work count.
func TestPagesCostFewStatements(t *testing.T) {
	db := openDB(t, harness.SQLite(t))
	s := newServer(t, db, &outbox{})
	var ids []int64
	for author := range int64(30) {
		id := upload(t, s, author+1)
		release(t, s, author+1, id)
		ids = append(ids, id)
	}
	var statements int
	count := func(*gorm.DB) { statements++ }
	check(t, errors.Join(
		db.Callback().Query().After("*").Register("test:count", count),
		db.Callback().Row().After("*").Register("test:count", count),
		db.Callback().Raw().After("*").Register("test:count", count)))
	tests := map[string]struct {
		call func() error
		want int
	}{
		"Feed": {func() error { return s.Feed(t.Context(), &pb.FeedRequest{}, &pb.FeedResponse{}) }, 1},
		"BatchGet": {func() error {
			return s.BatchGet(t.Context(), &pb.BatchGetRequest{Ids: ids, ViewerId: 1}, &pb.BatchGetResponse{})
		}, 1},
		"ListByAuthor": {func() error {
			return s.ListByAuthor(t.Context(), &pb.ListByAuthorRequest{AuthorId: 1, ViewerId: 1}, &pb.ListByAuthorResponse{})
		}, 2},
	}
	for name, test := range tests {
		statements = 0
		check(t, test.call())
		if statements != test.want {
			t.Errorf("%s ran %d statements, want %d", name, statements, test.want)
		}
	}
}

func BenchmarkFeed(b *testing.B) {
	db := openDB(b, harness.SQLite(b))
	s := newServer(b, db, &outbox{})
	for range 1000 {
		release(b, s, 7, upload(b, s, 7))
	}
	b.ReportAllocs()
	for b.Loop() {
		check(b, s.Feed(b.Context(), &pb.FeedRequest{}, &pb.FeedResponse{}))
	}
}
