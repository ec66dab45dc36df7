package favorite

import (
	"context"
	"errors"
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

const (
	// together is how many acts at most get their entries at the same time.
	together = 128
	// enterTimeout bounds that.
	enterTimeout = time.Second
)

var _ pb.FavoriteHandler = (*Service)(nil)

// Act takes a like or unlike. What is known of the state only chooses the answer:
// the write always goes out, since what is known may be old.
func (s *Service) Act(ctx context.Context, in *pb.ActRequest, out *pb.ActResponse) error {
	act := write{user: in.UserId, video: in.VideoId, author: in.AuthorId, liked: in.Liked}
	if err := check(act); err != nil {
		return err
	}
	// Who leaves now would not know of an entry made meanwhile, to take it back.
	entered, err := s.entering.Do(context.WithoutCancel(ctx), act)
	if err != nil {
		return err
	}
	out.Already = entered.known == act.liked
	if entered.lost != nil {
		s.log.DebugContext(ctx, "like applied at once, without a pending entry", "user", act.user, "video", act.video, "error", entered.lost)
		return s.applyNow(ctx, act)
	}
	act.version = entered.version
	return s.send(ctx, act)
}

// entered is what became of an act that asked for a pending entry: its version, or
// why there is no entry, and the state known before.
type entered struct {
	version int64
	lost    error
	known   bool
}

// enter makes pending entries for the acts of several callers.
func (s *Service) enter(ctx context.Context, acts []write) ([]entered, error) {
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
	made, lost := s.pending.allocate(ctx, proposals)
	answers := make([]entered, len(acts))
	for i := range acts {
		if lost != nil {
			answers[i] = entered{lost: lost, known: proposals[i].row.liked}
			continue
		}
		s.clock.see(made[i].version)
		answers[i] = entered{version: made[i].version, known: made[i].liked}
		if made[i].full {
			answers[i].lost = errFull
		}
	}
	return answers, nil
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
	settled := context.WithoutCancel(ctx)
	if refused != nil {
		err = s.pending.takeBack(settled, act)
	} else {
		_, err = s.keeping.Do(settled, act)
	}
	if err != nil {
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
