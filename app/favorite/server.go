package favorite

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"backbeat/app/batch"
	"backbeat/app/errs"
	"backbeat/app/id"
	"backbeat/mq"
	"backbeat/proto/event"
	pb "backbeat/proto/favorite"
)

// publishTimeout bounds the wait for the queue. It must end well before an
// unconfirmed pending entry does.
const publishTimeout = provisionalLife / 2

// enterTimeout bounds the making of pending entries.
const enterTimeout = time.Second

var _ pb.FavoriteHandler = (*Service)(nil)

// Act takes likes and unlikes. What is known of the state only chooses the answer:
// the writes always go out, since what is known may be old.
func (s *Service) Act(ctx context.Context, in *pb.ActRequest, out *pb.ActResponse) error {
	if err := batch.CheckViewers(len(in.Acts)); err != nil || len(in.Acts) == 0 {
		return err
	}
	acts := make([]write, len(in.Acts))
	for i, act := range in.Acts {
		acts[i] = write{user: act.UserId, video: act.VideoId, author: act.AuthorId, liked: act.Liked}
		if err := check(acts[i]); err != nil {
			return err
		}
	}
	// Who leaves now would not know of entries made meanwhile, to take them back.
	entries, err := s.enter(context.WithoutCancel(ctx), acts)
	if err != nil {
		return err
	}
	var entered, others []write
	out.Already = make([]bool, len(acts))
	for i, act := range acts {
		out.Already[i] = entries[i].liked == act.liked
		act.version = entries[i].version
		if entries[i].full {
			others = append(others, act)
		} else {
			entered = append(entered, act)
		}
	}
	if err := s.send(ctx, entered); err != nil {
		return err
	}
	return s.applyNow(ctx, others)
}

// enter makes pending entries for acts, in their order. Those that got none are
// full, with a version of their own: a bound was met, or the entries are away.
func (s *Service) enter(ctx context.Context, acts []write) ([]allocation, error) {
	ctx, cancel := context.WithTimeout(ctx, enterTimeout)
	defer cancel()
	rows, err := s.store.rowsOf(ctx, acts)
	if err != nil {
		return nil, err
	}
	proposals := make([]proposal, len(acts))
	for i, act := range acts {
		row := rows[key{act.user, act.video}]
		act.version = s.clock.after(row.version)
		proposals[i] = proposal{act, row}
	}
	entries, err := s.pending.allocate(ctx, proposals)
	if err != nil {
		s.log.DebugContext(ctx, "likes are applied at once, without pending entries", "likes", len(acts), "error", err)
		entries = make([]allocation, len(acts))
		for i, p := range proposals {
			k := key{p.act.user, p.act.video}
			entries[i] = allocation{p.act.version, rows[k].liked, true}
			rows[k] = p.act
		}
		return entries, nil
	}
	for i := range entries {
		s.clock.see(entries[i].version)
		if entries[i].full {
			entries[i].version = s.clock.after(0)
		}
	}
	return entries, nil
}

// applyNow makes acts that got no pending entry true. The mark, where it can be
// left, is for instances that still reach the entries.
func (s *Service) applyNow(ctx context.Context, acts []write) error {
	if len(acts) == 0 {
		return nil
	}
	err := s.store.apply(ctx, acts, s.clock.after)
	s.counted.Changed(ctx, videosOf(acts), peopleOf(acts))
	if lost := s.pending.leave(context.WithoutCancel(ctx), s.clock.after(0), usersOf(acts)...); lost != nil {
		s.log.DebugContext(ctx, "likes held elsewhere are left to expire", "likes", len(acts), "error", lost)
	}
	return err
}

// send puts acts with their pending entries into the queues in use, in one message
// each. When one of them is refused the others still take effect.
func (s *Service) send(ctx context.Context, acts []write) error {
	parts := make([][]write, s.shards.Load())
	for _, act := range acts {
		shard := shardOf(act.video, len(parts))
		parts[shard] = append(parts[shard], act)
	}
	faults := make([]error, len(parts))
	var sending sync.WaitGroup
	for shard, part := range parts {
		if len(part) > 0 {
			sending.Go(func() { faults[shard] = s.sendTo(ctx, s.queues[shard], part) })
		}
	}
	sending.Wait()
	return errors.Join(faults...)
}

// sendTo puts acts into a queue, as one message, and settles what becomes of their
// entries even if the caller has gone.
func (s *Service) sendTo(ctx context.Context, queue mq.Queue, acts []write) error {
	body, err := encode(acts)
	if err != nil {
		return err
	}
	publishing, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	refused := s.queue.Publish(publishing, queue, mq.Message{Type: messageType, Body: body})
	settled := context.WithoutCancel(ctx)
	if refused != nil {
		err = s.pending.takeBack(settled, acts)
	} else {
		err = s.pending.keep(settled, acts)
	}
	if err != nil {
		s.log.DebugContext(ctx, "pending likes left to expire", "likes", len(acts), "error", err)
	}
	return errs.Wrap(errs.Unavailable, refused, "queueing %d likes", len(acts))
}

// encode returns the payload of a message, which decode reads.
func encode(acts []write) ([]byte, error) {
	payload := &event.FavoriteWrites{Writes: make([]*event.FavoriteWrite, len(acts))}
	for i, act := range acts {
		payload.Writes[i] = &event.FavoriteWrite{
			UserId: act.user, VideoId: act.video, AuthorId: act.author, Liked: act.liked, Version: act.version,
		}
	}
	body, err := proto.Marshal(payload)
	return body, errs.Wrap(errs.Internal, err, "encoding %d likes", len(acts))
}

// Stats counts the likes that were applied.
func (s *Service) Stats(ctx context.Context, in *pb.StatsRequest, out *pb.StatsResponse) error {
	if err := batch.Check(in.VideoIds); err != nil {
		return err
	}
	if err := batch.Check(in.UserIds); err != nil {
		return err
	}
	var err error
	out.Videos, out.Users, err = s.store.stats(ctx, in.VideoIds, in.UserIds)
	return err
}

// Flags returns what viewers like.
func (s *Service) Flags(ctx context.Context, in *pb.FlagsRequest, out *pb.FlagsResponse) error {
	if err := batch.CheckViewers(len(in.Viewers)); err != nil {
		return err
	}
	for _, viewer := range in.Viewers {
		if err := errors.Join(batch.Check([]int64{viewer.Id}), batch.Check(viewer.VideoIds)); err != nil {
			return err
		}
	}
	var err error
	out.Viewers, err = s.flags(ctx, in.Viewers)
	return err
}

func check(act write) error {
	for _, number := range []int64{act.user, act.video, act.author} {
		if number <= 0 || number > id.Max {
			return errs.New(errs.Invalid, "编号无效")
		}
	}
	return nil
}
