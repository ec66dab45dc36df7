package favorite

import (
	"context"
	"testing"
	"time"

	"gorm.io/gorm"

	"backbeat/mq"
	pb "backbeat/proto/favorite"
	"backbeat/test/harness/tables"
)

// sink takes every message.
type sink struct{}

func (sink) Publish(context.Context, mq.Queue, mq.Message) error { return nil }

func quiet(b *testing.B, db *gorm.DB, p Pending) *Service {
	b.Helper()
	w := newWorld(b, db, p)
	w.queue = sink{}
	return w.Service
}

func BenchmarkApplyBatch(b *testing.B) {
	tables.EachBench(b, func(b *testing.B, db *gorm.DB) {
		w := newWorker(b, db, memoryPending(), nil)
		version := epoch
		for b.Loop() {
			batch := make([]write, Queue.Batch)
			for i := range batch {
				version++
				batch[i] = write{1 + version*7%1000, 1001 + version*13%500, 2001 + version*13%500%50, version%5 > 0, version}
			}
			if err := w.handle(b.Context(), messages(b, batch)); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(Queue.Batch)*float64(b.N)/b.Elapsed().Seconds(), "likes/s")
	})
}

func BenchmarkAct(b *testing.B) {
	tables.EachBench(b, func(b *testing.B, db *gorm.DB) {
		now := time.Now()
		s := quiet(b, db, NewMemoryPending(func() time.Time { return now }))
		user := int64(0)
		b.ReportAllocs()
		for b.Loop() {
			user++
			if err := s.Act(b.Context(), one(user, film, carol, true), &pb.ActResponse{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkStats(b *testing.B) {
	tables.EachBench(b, func(b *testing.B, db *gorm.DB) {
		w := newWorld(b, db, memoryPending())
		var videos, users []int64
		for i := range int64(30) {
			videos, users = append(videos, film+i), append(users, carol+i)
			w.act(b, alice, film+2*i, carol+i, true)
		}
		w.drain(b)
		b.ReportAllocs()
		for b.Loop() {
			if err := w.Stats(b.Context(), &pb.StatsRequest{VideoIds: videos, UserIds: users}, &pb.StatsResponse{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
