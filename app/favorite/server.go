package favorite

import (
	"context"
	"errors"

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

var _ pb.FavoriteHandler = (*Service)(nil)

// Act takes a like or unlike. What is known of the state only chooses the answer:
// the write always goes out, since what is known may be old.
func (s *Service) Act(ctx context.Context, in *pb.ActRequest, out *pb.ActResponse) error {
	act := write{user: in.UserId, video: in.VideoId, author: in.AuthorId, liked: in.Liked}
	if err := check(act); err != nil {
		return err
	}
	row, err := s.store.row(ctx, act.user, act.video)
	if err != nil {
		return err
	}
	act.version = s.clock.after(row.version)
	version, known, err := s.pending.allocate(ctx, act, row)
	s.clock.see(version)
	if err != nil {
		s.log.DebugContext(ctx, "like applied at once, without a pending entry", "user", act.user, "video", act.video, "error", err)
		out.Already = row.liked == act.liked
		return s.applyNow(ctx, act)
	}
	act.version = version
	out.Already = known == act.liked
	return s.send(ctx, act)
}

// applyNow makes an act that got no pending entry true. The mark, where it can be
// left, is for instances that still reach the entries.
func (s *Service) applyNow(ctx context.Context, act write) error {
	err := s.store.apply(ctx, []write{act}, s.clock.after)
	if lost := s.pending.leave(context.WithoutCancel(ctx), act.user, s.clock.after(0)); lost != nil {
		s.log.DebugContext(ctx, "likes held elsewhere are left to expire", "user", act.user, "error", lost)
	}
	return err
}

// send puts an act with its pending entry into the queue, and settles what
// becomes of the entry even if the caller has gone.
func (s *Service) send(ctx context.Context, act write) error {
	body, err := proto.Marshal(&event.FavoriteWrite{
		UserId: act.user, VideoId: act.video, AuthorId: act.author, Liked: act.liked, Version: act.version,
	})
	if err != nil {
		return errs.Wrap(errs.Internal, err, "encoding like of video %d by user %d", act.video, act.user)
	}
	publishing, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	refused := s.queue.Publish(publishing, Queue, mq.Message{Type: messageType, Body: body})
	conclude := s.pending.keep
	if refused != nil {
		conclude = s.pending.takeBack
	}
	if err := conclude(context.WithoutCancel(ctx), act); err != nil {
		s.log.DebugContext(ctx, "pending like left to expire", "user", act.user, "video", act.video, "error", err)
	}
	if refused != nil {
		return errs.Wrap(errs.Unavailable, refused, "queueing like of video %d by user %d", act.video, act.user)
	}
	return nil
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
