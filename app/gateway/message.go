package gateway

import (
	"context"

	"backbeat/app/errs"
	"backbeat/model"
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
	var found *message.ChatResponse
	err = together(
		func() error { return g.userSeen(ctx, q, peer) },
		func() (err error) {
			found, err = g.rpc.chat.do(ctx, &message.ChatRequest{
				ViewerId: q.viewer, PeerId: peer, After: moment(q.params.get("pre_msg_time"), q.now),
			})
			return err
		})
	if err != nil {
		return nil, err
	}
	list := &messagesAnswer{success("获取聊天记录成功！"), make([]messageView, 0, len(found.GetMessages()))}
	for _, m := range found.GetMessages() {
		list.MessageList = append(list.MessageList, messageView{
			m.GetId(), m.GetToUserId(), m.GetFromUserId(), m.GetContent(), m.GetCreateTime(),
		})
	}
	return list, nil
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
