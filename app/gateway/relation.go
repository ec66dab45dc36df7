package gateway

import (
	"context"

	"backbeat/app/batch"
	"backbeat/app/errs"
	"backbeat/model"
	"backbeat/proto/entity"
	"backbeat/proto/message"
	"backbeat/proto/relation"
)

// follow follows or unfollows somebody (API §2.11). Doing so again changes
// nothing (D1).
func (g *Gateway) follow(ctx context.Context, q *request) (answer, error) {
	follow, err := q.params.action()
	if err != nil {
		return nil, err
	}
	target, err := q.params.id("to_user_id")
	switch {
	case err != nil:
		return nil, err
	case target == q.viewer:
		return nil, errs.New(errs.Invalid, "不能对自己进行该操作！")
	case target == model.SystemUserID:
		return nil, errs.New(errs.Forbidden, "不能关注系统账号")
	}
	if err := g.userExists(ctx, target); err != nil {
		return nil, err
	}
	done, err := g.rpc.follow.do(ctx, &relation.ActRequest{UserId: q.viewer, TargetId: target, Follow: follow})
	switch {
	case err != nil:
		return nil, err
	case !follow:
		return &plainAnswer{success("取消关注成功！")}, nil
	case done.GetAlready():
		return &plainAnswer{success("已经关注过该用户了！")}, nil
	default:
		return &plainAnswer{success("关注成功！")}, nil
	}
}

// following lists whom a user follows (API §2.12).
func (g *Gateway) following(ctx context.Context, q *request) (answer, error) {
	return g.userList(ctx, q, "获取关注列表成功！", g.rpc.followings)
}

// followers lists who follows a user (API §2.12).
func (g *Gateway) followers(ctx context.Context, q *request) (answer, error) {
	return g.userList(ctx, q, "获取粉丝列表成功！", g.rpc.fans)
}

// listsOf asks for the lists that many look at now.
func listsOf(c *command[relation.ListsRequest, relation.ListsResponse]) *userLists {
	return batch.NewGroup(batch.MaxLists, func(ctx context.Context, asked []*relation.ListsRequest_List) ([]*relation.ListsResponse_List, error) {
		found, err := c.do(ctx, &relation.ListsRequest{Lists: asked})
		return found.GetLists(), err
	})
}

// userList answers with the cards of the users in the list of the user asked for.
func (g *Gateway) userList(ctx context.Context, q *request, text string, lists *userLists) (answer, error) {
	id, err := q.userID()
	if err != nil {
		return nil, err
	}
	list := &usersAnswer{success(text), []userView{}}
	if id == 0 {
		return list, nil
	}
	var found *relation.ListsResponse_List
	err = together(
		func() error { return g.userSeen(ctx, q, id) },
		func() (err error) {
			found, err = lists.Do(ctx, &relation.ListsRequest_List{UserId: id, ViewerId: q.viewer})
			return err
		})
	if err != nil {
		return nil, err
	}
	list.UserList = g.users(ctx, q, found.GetUserIds(), asSet(found.GetFollowedIds()))
	return list, nil
}

// friends lists the viewer's mutual follows with the last message of each, and
// the system account once it has written to the viewer: the app shows chats with
// friends only (API §2.13).
func (g *Gateway) friends(ctx context.Context, q *request) (answer, error) {
	found, err := g.rpc.friends.do(ctx, &relation.FriendsRequest{UserId: q.viewer})
	if err != nil {
		return nil, err
	}
	ids := append(found.GetUserIds(), model.SystemUserID)
	var cards []userView
	var latest map[int64]*entity.Message
	_ = together(
		func() error {
			cards = g.users(ctx, q, ids, nil)
			return nil
		},
		func() error {
			latest = g.latest(ctx, q, ids)
			return nil
		})
	list := &friendsAnswer{success("获取好友列表成功"), make([]friendView, 0, len(cards))}
	for _, card := range cards {
		last := latest[card.ID]
		if card.ID == model.SystemUserID && last == nil {
			continue
		}
		friend := friendView{userView: card, Message: last.GetContent(), MsgType: msgReceived}
		if last.GetFromUserId() == q.viewer {
			friend.MsgType = msgSent
		}
		list.UserList = append(list.UserList, friend)
	}
	return list, nil
}

// latest returns the viewer's last message with each peer who has one.
func (g *Gateway) latest(ctx context.Context, q *request, peers []int64) map[int64]*entity.Message {
	var latest map[int64]*entity.Message
	gather(ctx, q.missing, g.rpc.latest, each(peers, func(ids []int64) *message.LatestRequest {
		return &message.LatestRequest{ViewerId: q.viewer, PeerIds: ids}
	}), func(resp *message.LatestResponse) { merge(&latest, resp.GetMessages()) })
	return latest
}
