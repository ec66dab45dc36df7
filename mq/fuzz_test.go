package mq

import (
	"bytes"
	"maps"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// FuzzUnpack takes deliveries whose headers a stranger wrote. A count of attempts
// may not make a message immortal, and the broker's own headers are no trace.
func FuzzUnpack(f *testing.F) {
	f.Add("m", "favorite.write/1", []byte("body"), "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", int64(2))
	f.Add("", "", []byte(nil), "x-death", "1", int64(-1))
	f.Add("\xff", "\x00", []byte{0xff}, attemptsHeader, "many", int64(1)<<62)
	f.Add("m", "t", []byte("b"), reasonHeader, "poison", int64(-1)<<63)
	f.Fuzz(func(t *testing.T, id, kind string, body []byte, name, value string, attempts int64) {
		table := amqp.Table{name: value}
		if name != attemptsHeader {
			table[attemptsHeader] = attempts
		}
		delivery := amqp.Delivery{MessageId: id, Type: kind, Body: body, Headers: table}
		got := unpack(delivery)
		if got.Attempt < 0 || got.ID != id || got.Type != kind || !bytes.Equal(got.Body, body) {
			t.Errorf("unpacked %+v", got)
		}
		if dead := deadOf(Queue{Name: "q"}, delivery); dead.ID != id || dead.Attempt != got.Attempt {
			t.Errorf("the dead message is %+v", dead)
		}
		again := pack(got.Message, got.trace)
		back := unpack(amqp.Delivery{MessageId: again.MessageId, Type: again.Type, Body: again.Body, Headers: again.Headers})
		if back.Attempt != got.Attempt || name != attemptsHeader && !maps.Equal(back.trace, got.trace) {
			t.Errorf("%+v became %+v", got, back)
		}
	})
}
