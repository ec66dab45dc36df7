package favorite

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"backbeat/app/errs"
	"backbeat/mq"
	"backbeat/proto/event"
)

// FuzzDecode reads arbitrary messages of the queue. What it takes is whole, and
// encodes to what decodes the same; everything else is dead-lettered at once.
func FuzzDecode(f *testing.F) {
	for _, payload := range []*event.FavoriteWrite{
		{}, {UserId: 1, VideoId: 2, AuthorId: 3, Liked: true, Version: 4}, {UserId: -1, VideoId: 2, AuthorId: 3, Version: 4},
		{UserId: 1, VideoId: 2, AuthorId: 1 << 53, Version: 4}, {UserId: 1, VideoId: 2, AuthorId: 3, Version: -4},
	} {
		body, err := proto.Marshal(payload)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(messageType, body)
		f.Add("favorite.write/2", body)
		f.Add(messageType, append(body, 0xff))
	}
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		w, err := decode(mq.Message{ID: "m", Type: kind, Body: body})
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Errorf("%v", err)
			}
			return
		}
		if kind != messageType || check(w) != nil || w.version <= 0 {
			t.Errorf("took %+v of type %q", w, kind)
		}
		if again, err := decode(messages(t, []write{w})[0]); err != nil || again != w {
			t.Errorf("%+v became %+v, %v", w, again, err)
		}
	})
}
