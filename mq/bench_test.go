package mq_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"backbeat/mq"
)

// BenchmarkConsume hands over messages that wait, in batches of up to 256, to a
// handler that does nothing.
func BenchmarkConsume(b *testing.B) {
	for _, world := range worlds() {
		b.Run(world.name, func(b *testing.B) {
			l := newLab(b, world.open(b))
			l.queue.Batch = 256
			p := l.process()
			body := []byte(strings.Repeat("x", 40)) // as long as a like
			var publishing errgroup.Group
			publishing.SetLimit(32)
			for range b.N {
				publishing.Go(func() error {
					return p.Publish(b.Context(), l.queue, mq.Message{Type: "bench/1", Body: body})
				})
			}
			must(b, publishing.Wait())
			var handled atomic.Int64
			all := make(chan struct{})
			arrived := sync.OnceFunc(func() { close(all) })
			b.ReportAllocs()
			b.ResetTimer()
			stop := l.consume(p, func(_ context.Context, batch []mq.Message) error {
				if handled.Add(int64(len(batch))) >= int64(b.N) {
					arrived()
				}
				return nil
			})
			<-all
			b.StopTimer()
			stop()
		})
	}
}
