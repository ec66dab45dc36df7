package video

import (
	"context"
	"time"

	"backbeat/model"
)

const (
	// sweepEvery is the pause between two sweeps.
	sweepEvery = 2 * time.Second
	// unqueuedAfter is when an upload without a job has lost whoever was to send it.
	unqueuedAfter = 5 * time.Second
	// lostAfter is when a job that ended nowhere is sent again: longer than any
	// backlog, and harmless if it wasn't lost.
	lostAfter = 6 * time.Hour
	// keepOriginal is how long a finished upload keeps its original, which its
	// author's app may be playing.
	keepOriginal = time.Hour
	// sweepBatch bounds the rows of one sweep.
	sweepBatch = 100
)

// sweepUntil sweeps until ctx ends and returns nil.
func (w *Worker) sweepUntil(ctx context.Context) error {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			w.sweep(ctx)
		}
	}
}

// sweep makes good what others could not finish. Several workers may do so at
// once: each step can be done twice. What it finds it acts on, so it asks the primary.
func (w *Worker) sweep(ctx context.Context) {
	if err := w.resend(ctx); err != nil && ctx.Err() == nil {
		w.log.WarnContext(ctx, "the next sweep will send jobs again", "error", err)
	}
	if err := w.deleteOriginals(ctx); err != nil && ctx.Err() == nil {
		w.log.WarnContext(ctx, "the next sweep will delete originals", "error", err)
	}
}

// resend sends the jobs of uploads that have none.
func (w *Worker) resend(ctx context.Context) error {
	now := w.now()
	rows, err := w.store.unqueued(ctx, now.Add(-unqueuedAfter).UnixMilli(), now.Add(-lostAfter).UnixMilli(), sweepBatch)
	if err != nil {
		return err
	}
	for _, row := range rows {
		message, err := job(publishType, row.ID)
		if err != nil {
			return err
		}
		if err := w.publisher.Publish(ctx, PublishQueue, message); err != nil {
			return err
		}
		if err := w.store.markQueued(ctx, row.ID, now.UnixMilli()); err != nil {
			return err
		}
	}
	return nil
}

// deleteOriginals deletes what finished uploads no longer need: the original, and
// of a failed one what a worker may have stored before another failed it.
func (w *Worker) deleteOriginals(ctx context.Context) error {
	rows, err := w.store.finished(ctx, w.now().Add(-keepOriginal).UnixMilli(), sweepBatch)
	if err != nil {
		return err
	}
	for _, row := range rows {
		keys := []string{row.OriginalKey}
		if row.State == model.VideoFailed {
			keys = append(keys, playKey(row.OriginalKey), coverKey(row.OriginalKey))
		}
		if err := w.media.Delete(ctx, keys...); err != nil {
			return err
		}
		if err := w.store.forgetOriginal(ctx, row.ID); err != nil {
			return err
		}
	}
	return nil
}
