package message

import (
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"backbeat/app/errs"
	"backbeat/app/text"
	"backbeat/model"
	"backbeat/mq"
	"backbeat/proto/event"
	"backbeat/test/harness"
	"backbeat/test/harness/tables"
)

// FuzzNotify writes arbitrary notices. What is written can be shown to people;
// everything else is dead-lettered at once and writes nothing.
func FuzzNotify(f *testing.F) {
	for _, failed := range []*event.VideoFailed{
		{}, {VideoId: 1, AuthorId: 7, Title: "标题 ../../x 🎬", Reason: "不是视频文件"}, {VideoId: -1, AuthorId: 7}, {VideoId: 1, AuthorId: model.SystemUserID},
		{VideoId: 1, AuthorId: 7, Title: "\x00"}, {VideoId: 1<<63 - 1, AuthorId: 1<<63 - 1, Title: "'; DROP TABLE messages;--"},
	} {
		body, err := proto.Marshal(failed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(NoticeVideoFailed, body)
		f.Add("video.failed/2", body)
		f.Add(NoticeVideoFailed, append(body, 0xff))
	}
	db := tables.Open(f, harness.SQLite(f))
	worker := NewWorker(WorkerDeps{DB: db, Now: time.Now})
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		if err := db.Where("1 = 1").Delete(&model.Message{}).Error; err != nil {
			t.Fatal(err)
		}
		err := worker.handle(t.Context(), []mq.Message{{ID: "m", Type: kind, Body: body}})
		if err != nil && !errs.Is(err, errs.Invalid) {
			t.Errorf("%v", err)
		}
		var written []model.Message
		if err := db.Find(&written).Error; err != nil {
			t.Fatal(err)
		}
		for _, m := range written {
			if err != nil || kind != NoticeVideoFailed || !utf8.ValidString(m.Content) || !text.Valid(m.Content, text.MaxContent) || m.FromUserID != model.SystemUserID {
				t.Errorf("%q wrote %+v, %v", kind, m, err)
			}
		}
		if (err == nil) != (len(written) == 1) {
			t.Errorf("%d notices, %v", len(written), err)
		}
	})
}
