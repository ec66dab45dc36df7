package relation

import (
	"context"
	"errors"

	"backbeat/app/batch"
	"backbeat/app/errs"
	"backbeat/model"
	pb "backbeat/proto/relation"
)

// maxList bounds a list (API D7).
const maxList = 1000

// Act follows or unfollows.
func (s *Server) Act(ctx context.Context, in *pb.ActRequest, out *pb.ActResponse) error {
	if err := batch.Check([]int64{in.UserId, in.TargetId}); err != nil {
		return err
	}
	switch in.TargetId {
	case in.UserId:
		return errs.New(errs.Invalid, "不能对自己进行该操作！")
	case model.SystemUserID:
		return errs.New(errs.Forbidden, "不能关注系统账号")
	}
	act := s.store.unfollow
	if in.Follow {
		act = s.store.follow
	}
	changed, err := act(ctx, in.UserId, in.TargetId)
	// Whatever came of it, it may be done.
	if lost := s.versions.Drop(ctx, in.UserId, in.TargetId); lost != nil {
		s.log.DebugContext(ctx, "follows held elsewhere are left to expire", "user", in.UserId, "error", lost)
	}
	out.Already = err == nil && !changed
	return err
}

// Flags returns whom viewers follow.
func (s *Server) Flags(ctx context.Context, in *pb.FlagsRequest, out *pb.FlagsResponse) error {
	if err := batch.CheckViewers(len(in.Viewers)); err != nil {
		return err
	}
	for _, viewer := range in.Viewers {
		if err := errors.Join(batch.Check([]int64{viewer.Id}), batch.Check(viewer.UserIds)); err != nil {
			return err
		}
	}
	var err error
	out.Viewers, err = s.flags(ctx, in.Viewers)
	return err
}

// Following returns whom the user follows, latest first.
func (s *Server) Following(ctx context.Context, in *pb.FollowingRequest, out *pb.FollowingResponse) error {
	var err error
	if out.UserIds, err = list(ctx, s.store.following, in.UserId, in.Limit); err != nil {
		return err
	}
	if in.ViewerId == in.UserId {
		out.FollowedIds = out.UserIds
		return nil
	}
	out.FollowedIds, err = s.followed(ctx, in.ViewerId, out.UserIds)
	return err
}

// Followers returns who follows the user, latest first.
func (s *Server) Followers(ctx context.Context, in *pb.FollowersRequest, out *pb.FollowersResponse) error {
	var err error
	if out.UserIds, err = list(ctx, s.latestFollowers, in.UserId, in.Limit); err != nil {
		return err
	}
	out.FollowedIds, err = s.followed(ctx, in.ViewerId, out.UserIds)
	return err
}

// latestFollowers returns the list held, as far as it is wanted.
func (s *Server) latestFollowers(ctx context.Context, userID int64, limit int) ([]int64, error) {
	versions, err := s.versions.Get(ctx, userID)
	if err != nil { // the cache is away
		return s.store.followers(ctx, userID, limit)
	}
	lists, err := s.followers.Get(ctx, state{userID, versions[0]})
	if err != nil {
		return nil, err
	}
	return lists[0][:min(limit, len(lists[0]))], nil
}

// Friends returns who follows the user and is followed back, latest first.
func (s *Server) Friends(ctx context.Context, in *pb.FriendsRequest, out *pb.FriendsResponse) error {
	var err error
	out.UserIds, err = list(ctx, s.store.friends, in.UserId, in.Limit)
	return err
}

// list checks what the three lists are asked alike.
func list(ctx context.Context, read func(ctx context.Context, userID int64, limit int) ([]int64, error), userID int64, limit int32) ([]int64, error) {
	if err := batch.Check([]int64{userID}); err != nil {
		return nil, err
	}
	return read(ctx, userID, batch.Limit(limit, maxList))
}

// Stats returns the counters of users.
func (s *Server) Stats(ctx context.Context, in *pb.StatsRequest, out *pb.StatsResponse) error {
	if err := batch.Check(in.UserIds); err != nil {
		return err
	}
	rows, err := s.store.stats(ctx, in.UserIds)
	if err != nil {
		return err
	}
	out.Users = toStats(in.UserIds, rows)
	return nil
}
