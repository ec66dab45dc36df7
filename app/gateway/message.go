package gateway

import (
	"context"

	"backbeat/app/errs"
	"backbeat/model"
	"backbeat/proto/entity"
	"backbeat/proto/message"
)

// chat shows a conversation: all of it, or what the peer wrote since
// pre_msg_time (API §2.14).
func (g *Gateway) chat(ctx context.Context, q *request) (answer, error) {
	peer, err := q.params.id("to_user_id")
	if err != nil {
		return nil, err
	}
	if peer == q.viewer {
		return nil, errs.New(errs.Invalid, "不能查看与自己的聊天记录！")
	}
	var found []*entity.Message
	err = together(
		func() error { return g.userSeen(ctx, q, peer) },
		func() (err error) {
			found, err = g.messages(ctx, q.viewer, peer, moment(q.params.get("pre_msg_time"), q.now))
			return err
		})
	if err != nil {
		return nil, err
	}
	list := &messagesAnswer{success("获取聊天记录成功！"), make([]messageView, 0, len(found))}
	for _, m := range found {
		list.MessageList = append(list.MessageList, messageView{
			m.GetId(), m.GetToUserId(), m.GetFromUserId(), m.GetContent(), m.GetCreateTime(),
		})
	}
	return list, nil
}

// messages returns what a chat holds after a time, 0 for all of it. Most polls find
// nothing: those of all viewers are asked together whether there is anything.
func (g *Gateway) messages(ctx context.Context, viewer, peer, after int64) ([]*entity.Message, error) {
	if after > 0 {
		newer, err := g.rpc.polls.Do(ctx, &message.NewerRequest_Chat{ViewerId: viewer, PeerId: peer, After: after})
		if err != nil || !newer {
			return nil, err
		}
	}
	found, err := g.rpc.chat.do(ctx, &message.ChatRequest{ViewerId: viewer, PeerId: peer, After: after})
	return found.GetMessages(), err
}

// poll asks which chats have news.
func (c *commands) poll(ctx context.Context, chats []*message.NewerRequest_Chat) ([]bool, error) {
	found, err := c.newer.do(ctx, &message.NewerRequest{Chats: chats})
	return found.GetNewer(), err
}

// send writes a message to anybody but oneself and the system account
// (API §2.15).
func (g *Gateway) send(ctx context.Context, q *request) (answer, error) {
	if action, err := q.params.action(); err != nil || !action {
		return nil, errs.New(errs.Invalid, "非发送消息操作！")
	}
	peer, err := q.params.id("to_user_id")
	if err != nil {
		return nil, err
	}
	content, err := q.params.text("content")
	switch {
	case err != nil:
		return nil, err
	case peer == q.viewer:
		return nil, errs.New(errs.Invalid, "不能给自己发送消息")
	case peer == model.SystemUserID:
		return nil, errs.New(errs.Forbidden, "不能给系统账号发送消息")
	}
	if err := g.userExists(ctx, peer); err != nil {
		return nil, err
	}
	_, err = g.rpc.send.do(ctx, &message.SendRequest{FromUserId: q.viewer, ToUserId: peer, Content: content})
	if err != nil {
		return nil, err
	}
	return &plainAnswer{success("发送消息成功！")}, nil
}
