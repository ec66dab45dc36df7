package comment

import (
	"context"
	"slices"

	"backbeat/app/batch"
	"backbeat/app/errs"
	"backbeat/app/text"
	"backbeat/model"
	pb "backbeat/proto/comment"
)

// maxList bounds a list (API D7).
const maxList = 1000

// Add writes comments. When it fails they may still have been written, so what is
// held of their videos ends whatever came of it.
func (s *Server) Add(ctx context.Context, in *pb.AddRequest, out *pb.AddResponse) error {
	if err := batch.CheckViewers(len(in.Drafts)); err != nil || len(in.Drafts) == 0 {
		return err
	}
	now := s.now().UnixMilli()
	rows, videos := make([]model.Comment, len(in.Drafts)), make([]int64, len(in.Drafts))
	for i, draft := range in.Drafts {
		if err := batch.Check([]int64{draft.UserId, draft.VideoId}); err != nil {
			return err
		}
		if !text.Valid(draft.Content, text.MaxContent) {
			return errs.New(errs.Invalid, "评论须为1至1024个字")
		}
		rows[i] = model.Comment{UserID: draft.UserId, VideoID: draft.VideoId, Content: draft.Content, CreatedAt: now}
		videos[i] = draft.VideoId
	}
	slices.Sort(videos)
	defer s.changed(ctx, slices.Compact(videos)...)
	if err := s.store.add(ctx, rows); err != nil {
		return err
	}
	for _, row := range rows {
		out.Comments = append(out.Comments, toEntity(row))
	}
	return nil
}

// Delete removes a comment of this user under this video.
func (s *Server) Delete(ctx context.Context, in *pb.DeleteRequest, _ *pb.DeleteResponse) error {
	if err := batch.Check([]int64{in.UserId, in.VideoId, in.CommentId}); err != nil {
		return err
	}
	defer s.changed(ctx, in.VideoId)
	return s.store.remove(ctx, in.UserId, in.VideoId, in.CommentId)
}

// List returns a video's comments, newest first.
func (s *Server) List(ctx context.Context, in *pb.ListRequest, out *pb.ListResponse) error {
	if err := batch.Check([]int64{in.VideoId}); err != nil {
		return err
	}
	comments, version, err := s.latest(ctx, in.VideoId, in.Known)
	if err != nil {
		return err
	}
	out.Comments = comments[:min(len(comments), batch.Limit(in.Limit, maxList))]
	out.Version = version
	return nil
}

// Versions returns the versions of the comments of several videos.
func (s *Server) Versions(ctx context.Context, in *pb.VersionsRequest, out *pb.VersionsResponse) error {
	if err := batch.Check(in.VideoIds); err != nil {
		return err
	}
	out.Versions = s.numbers(ctx, in.VideoIds)
	return nil
}

// Counts returns how many comments each video has.
func (s *Server) Counts(ctx context.Context, in *pb.CountsRequest, out *pb.CountsResponse) error {
	if err := batch.Check(in.VideoIds); err != nil {
		return err
	}
	var err error
	out.Counts, err = s.store.counts(ctx, in.VideoIds)
	return err
}
