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
		s.log.DebugContext(ctx, "follows held elsewhere are ended later", "user", in.UserId, "error", lost)
	}
	if changed || err != nil {
		s.counted.Changed(ctx, nil, []int64{in.UserId, in.TargetId})
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

// Following returns whom users follow, latest first.
func (s *Server) Following(ctx context.Context, in *pb.ListsRequest, out *pb.ListsResponse) error {
	return s.lists(ctx, s.latestFollowing, true, in, out)
}

// Followers returns who follows users, latest first.
func (s *Server) Followers(ctx context.Context, in *pb.ListsRequest, out *pb.ListsResponse) error {
	return s.lists(ctx, s.latestFollowers, false, in, out)
}

// lists answers with what read finds for each user, and whom of them the viewers
// follow: everybody in a list of one's own following.
func (s *Server) lists(ctx context.Context, read func(ctx context.Context, users []int64) ([][]int64, error), following bool, in *pb.ListsRequest, out *pb.ListsResponse) error {
	if len(in.Lists) > batch.MaxLists {
		return errs.New(errs.Invalid, "一次查询的数量过多")
	}
	users := make([]int64, len(in.Lists))
	for i, asked := range in.Lists {
		users[i] = asked.UserId
	}
	if err := batch.Check(users); err != nil || len(users) == 0 {
		return err
	}
	found, err := read(ctx, users)
	if err != nil {
		return err
	}
	limit := batch.Limit(in.Limit, maxList)
	out.Lists = make([]*pb.ListsResponse_List, len(users))
	var looking []*pb.FlagsRequest_Viewer
	var seen []*pb.ListsResponse_List
	for i, ids := range found {
		list := &pb.ListsResponse_List{UserIds: ids[:min(limit, len(ids))]}
		out.Lists[i] = list
		switch viewer := in.Lists[i].ViewerId; {
		case following && viewer == users[i]:
			list.FollowedIds = list.UserIds
		case viewer > 0 && len(ids) > 0:
			looking, seen = append(looking, &pb.FlagsRequest_Viewer{Id: viewer, UserIds: list.UserIds}), append(seen, list)
		}
	}
	if len(looking) == 0 {
		return nil
	}
	flags, err := s.flags(ctx, looking)
	if err != nil {
		return err
	}
	for i, list := range seen {
		list.FollowedIds = flags[i].UserIds
	}
	return nil
}

// latestFollowing returns the lists held.
func (s *Server) latestFollowing(ctx context.Context, users []int64) ([][]int64, error) {
	sets, err := s.followsOf(ctx, users)
	lists := make([][]int64, len(sets))
	for i, set := range sets {
		lists[i] = set.latest
	}
	return lists, err
}

// latestFollowers returns the lists held. Without the cache nobody knows whether
// those are up to date.
func (s *Server) latestFollowers(ctx context.Context, users []int64) (lists [][]int64, err error) {
	if versions, lost := s.versions.Get(ctx, users...); lost == nil {
		states := make([]state, len(users))
		for i, user := range users {
			states[i] = state{user, versions[i]}
		}
		return s.followers.Get(ctx, states...)
	}
	lists = make([][]int64, len(users))
	for i, user := range users {
		if lists[i], err = s.store.followers(ctx, user, maxList); err != nil {
			return nil, err
		}
	}
	return lists, nil
}

// Friends returns who follows the user and is followed back, latest first.
func (s *Server) Friends(ctx context.Context, in *pb.FriendsRequest, out *pb.FriendsResponse) error {
	if err := batch.Check([]int64{in.UserId}); err != nil {
		return err
	}
	var err error
	out.UserIds, err = s.store.friends(ctx, in.UserId, batch.Limit(in.Limit, maxList))
	return err
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
