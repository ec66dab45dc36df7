package message

import (
	"context"
	"errors"

	"backbeat/app/batch"
	"backbeat/app/errs"
	"backbeat/app/text"
	"backbeat/model"
	pb "backbeat/proto/message"
)

// maxList bounds a list (API D7).
const maxList = 1000

// Send writes a message.
func (s *Server) Send(ctx context.Context, in *pb.SendRequest, out *pb.SendResponse) error {
	if err := batch.Check([]int64{in.FromUserId, in.ToUserId}); err != nil {
		return err
	}
	switch {
	case in.FromUserId == in.ToUserId:
		return errs.New(errs.Invalid, "不能给自己发送消息")
	case in.FromUserId == model.SystemUserID || in.ToUserId == model.SystemUserID:
		return errs.New(errs.Forbidden, "不能与系统账号聊天")
	case !text.Valid(in.Content, text.MaxContent):
		return errs.New(errs.Invalid, "消息须为1至1024个字")
	}
	row, err := s.store.send(ctx, in.FromUserId, in.ToUserId, in.Content)
	if err != nil {
		return err
	}
	out.Message = toEntity(row)
	return nil
}

// Chat returns messages between viewer and peer.
func (s *Server) Chat(ctx context.Context, in *pb.ChatRequest, out *pb.ChatResponse) error {
	if err := batch.Check([]int64{in.ViewerId, in.PeerId}); err != nil {
		return err
	}
	if in.ViewerId == in.PeerId {
		return errs.New(errs.Invalid, "不能查看与自己的聊天记录！")
	}
	limit := batch.Limit(in.Limit, maxList)
	var rows []model.Message
	var err error
	if in.After > 0 {
		rows, err = s.store.after(ctx, in.ViewerId, in.PeerId, in.After, limit)
	} else {
		rows, err = s.store.newest(ctx, in.ViewerId, in.PeerId, limit)
	}
	if err != nil {
		return err
	}
	out.Messages = toEntities(rows)
	return nil
}

// Newer tells which chats have a message later than a time.
func (s *Server) Newer(ctx context.Context, in *pb.NewerRequest, out *pb.NewerResponse) error {
	pairs := make([]pair, len(in.Chats))
	viewers, peers := make([]int64, len(in.Chats)), make([]int64, len(in.Chats))
	for i, chat := range in.Chats {
		pairs[i] = pairOf(chat.ViewerId, chat.PeerId)
		viewers[i], peers[i] = chat.ViewerId, chat.PeerId
	}
	if err := errors.Join(batch.Check(viewers), batch.Check(peers)); err != nil {
		return err
	}
	last, err := s.store.lastTimes(ctx, pairs)
	if err != nil {
		return err
	}
	out.Newer = make([]bool, len(pairs))
	for i, chat := range in.Chats {
		out.Newer[i] = last[pairs[i]] > chat.After
	}
	return nil
}

// Latest returns the last message of the viewer with each peer.
func (s *Server) Latest(ctx context.Context, in *pb.LatestRequest, out *pb.LatestResponse) error {
	if err := batch.Check([]int64{in.ViewerId}); err != nil {
		return err
	}
	if err := batch.Check(in.PeerIds); err != nil {
		return err
	}
	rows, err := s.store.latest(ctx, in.ViewerId, in.PeerIds)
	if err != nil {
		return err
	}
	out.Messages = toLatest(in.ViewerId, rows)
	return nil
}
