package message

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"gorm.io/gorm"

	"backbeat/app/errs"
	"backbeat/app/id"
	"backbeat/model"
	"backbeat/mq"
	"backbeat/proto/event"
	"backbeat/test/harness/tables"
)

// line is a consumer that hands over what it holds and keeps what came of it.
type line struct {
	messages []mq.Message
	queue    mq.Queue
	outcomes []error
}

func (l *line) Consume(ctx context.Context, queue mq.Queue, handle mq.Handler) error {
	l.queue = queue
	for _, message := range l.messages {
		l.outcomes = append(l.outcomes, handle(ctx, []mq.Message{message}))
	}
	return nil
}

func notice(tb testing.TB, failed *event.VideoFailed) mq.Message {
	tb.Helper()
	body, err := proto.Marshal(failed)
	if err != nil {
		tb.Fatal(err)
	}
	return mq.Message{ID: "m", Type: NoticeVideoFailed, Body: body}
}

// deliver runs a worker over the messages.
func deliver(t *testing.T, db *gorm.DB, messages ...mq.Message) *line {
	t.Helper()
	l := &line{messages: messages}
	worker := NewWorker(WorkerDeps{DB: db, Consumer: l, Now: time.Now})
	if err := worker.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestTheAuthorReadsWhyTheVideoFailed(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(db, time.Now)
		const video = 4242
		done := deliver(t, db, notice(t, &event.VideoFailed{VideoId: video, AuthorId: ada, Title: "../../x🎬", Reason: "不是视频文件"}))
		if done.outcomes[0] != nil || done.queue != NoticeQueue {
			t.Fatalf("from %v came %v", done.queue, done.outcomes)
		}
		const want = "你的作品《../../x🎬》未能发布：不是视频文件"
		wantChat(t, s, ada, model.SystemUserID, 0, 0, want)
		wantChat(t, s, ada, model.SystemUserID, 1, 0, want) // a poll shows it too
		last, err := latest(t.Context(), s, ada, bob, model.SystemUserID)
		if err != nil || len(last) != 1 {
			t.Fatalf("Latest returned %v, %v", last, err)
		}
		m := last[model.SystemUserID]
		if m.Id != id.Derive(video) || m.FromUserId != model.SystemUserID || m.ToUserId != ada || m.Content != want {
			t.Errorf("the notice is %v", m)
		}
	})
}

func TestARedeliveredNoticeIsWrittenOnce(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(db, time.Now)
		first := notice(t, &event.VideoFailed{VideoId: 10, AuthorId: ada, Title: "一", Reason: "坏"})
		second := notice(t, &event.VideoFailed{VideoId: 11, AuthorId: ada, Title: "二", Reason: "坏"})
		for i, outcome := range deliver(t, db, first, second, first, first).outcomes {
			if outcome != nil {
				t.Errorf("delivery %d: %v", i, outcome)
			}
		}
		wantChat(t, s, ada, model.SystemUserID, 0, 0, "你的作品《一》未能发布：坏", "你的作品《二》未能发布：坏")
		last, err := latest(t.Context(), s, ada, model.SystemUserID)
		if err != nil || last[model.SystemUserID].GetId() != id.Derive(11) {
			t.Errorf("the last message is %v, %v", last, err)
		}

		// Two consumers may hold it at once.
		third := notice(t, &event.VideoFailed{VideoId: 12, AuthorId: ada, Title: "三", Reason: "坏"})
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				if outcome := deliver(t, db, third).outcomes[0]; outcome != nil {
					t.Error(outcome)
				}
			})
		}
		group.Wait()
		messages, err := chat(t.Context(), s, ada, model.SystemUserID, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		wantRising(t, messages, 3)
		last, err = latest(t.Context(), s, ada, model.SystemUserID)
		if err != nil || last[model.SystemUserID].String() != messages[2].String() {
			t.Errorf("the last message is %v, %v, want %v", last, err, messages[2])
		}
	})
}

// Such messages can never succeed: Invalid sends them to the dead letters.
func TestWhatIsNoNoticeIsInvalid(t *testing.T) {
	good := &event.VideoFailed{VideoId: 1, AuthorId: ada, Title: "一", Reason: "坏"}
	change := func(edit func(*event.VideoFailed)) mq.Message {
		edited := proto.CloneOf(good)
		edit(edited)
		return notice(t, edited)
	}
	unknown := notice(t, good)
	unknown.Type = "video.failed/2"
	tests := map[string]mq.Message{
		"unknown type":     unknown,
		"not a payload":    {ID: "m", Type: NoticeVideoFailed, Body: []byte("\xff\xff")},
		"empty":            {ID: "m", Type: NoticeVideoFailed},
		"no video":         change(func(f *event.VideoFailed) { f.VideoId = 0 }),
		"no author":        change(func(f *event.VideoFailed) { f.AuthorId = 0 }),
		"to the system":    change(func(f *event.VideoFailed) { f.AuthorId = model.SystemUserID }),
		"longer than fits": change(func(f *event.VideoFailed) { f.Reason = strings.Repeat("坏", 1024) }),
		"NUL in the title": change(func(f *event.VideoFailed) { f.Title = "a\x00" }),
	}
	db := tables.Open(t, "sqlite:"+t.TempDir()+"/test.db")
	for name, message := range tests {
		t.Run(name, func(t *testing.T) {
			if outcome := deliver(t, db, message).outcomes[0]; !errs.Is(outcome, errs.Invalid) {
				t.Errorf("it came to %v", outcome)
			}
		})
	}
	var rows int64
	if err := db.Model(&model.Message{}).Count(&rows).Error; err != nil || rows != 0 {
		t.Errorf("%d messages were written, %v", rows, err)
	}
}
