package video

import (
	"testing"

	"backbeat/app/errs"
	"backbeat/mq"
)

// FuzzReadJob reads arbitrary messages of the queues as jobs. What it takes names a
// video; everything else is dead-lettered at once.
func FuzzReadJob(f *testing.F) {
	for _, id := range []int64{0, 1, -1, 1<<53 - 1, 1<<63 - 1} {
		message, err := job(publishType, id)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(publishType, message.Body)
		f.Add(transcodeType, message.Body)
		f.Add(publishType, append(message.Body, 0xff))
	}
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		id, err := readJob(publishType, mq.Message{Type: kind, Body: body})
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Errorf("%v", err)
			}
			return
		}
		message, err := job(kind, id)
		if err != nil || kind != publishType || id <= 0 {
			t.Errorf("took video %d of type %q, %v", id, kind, err)
		}
		if again, err := readJob(publishType, message); err != nil || again != id {
			t.Errorf("%d became %d, %v", id, again, err)
		}
	})
}
