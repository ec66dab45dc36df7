package favorite

import (
	"slices"
	"testing"

	"backbeat/app/errs"
	"backbeat/mq"
)

// FuzzDecode reads arbitrary messages of the queue. What it takes is whole, and
// encodes to what decodes the same; everything else is dead-lettered at once.
func FuzzDecode(f *testing.F) {
	for _, writes := range [][]write{
		nil, {{}}, {{1, 2, 3, true, 4}}, {{1, 2, 3, true, 4}, {5, 6, 7, false, 8}}, {{-1, 2, 3, true, 4}},
		{{1, 2, 1 << 53, true, 4}}, {{1, 2, 3, true, 4}, {1, 2, 3, true, -4}},
	} {
		body, err := encode(writes)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(messageType, body)
		f.Add("favorite.write/1", body)
		f.Add(messageType, append(body, 0xff))
	}
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		writes, err := decode(mq.Message{ID: "m", Type: kind, Body: body})
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Errorf("%v", err)
			}
			return
		}
		for _, w := range writes {
			if kind != messageType || check(w) != nil || w.version <= 0 {
				t.Errorf("took %+v of type %q", w, kind)
			}
		}
		body, err = encode(writes)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := decode(mq.Message{ID: "m", Type: messageType, Body: body}); err != nil || !slices.Equal(again, writes) {
			t.Errorf("%+v became %+v, %v", writes, again, err)
		}
	})
}
