package video

import (
	"context"
	"math"
	"time"

	"backbeat/app/batch"
	"backbeat/app/errs"
	"backbeat/app/text"
	"backbeat/model"
	pb "backbeat/proto/video"
)

const (
	// maxPage is the most videos on a page of the feed (API §2.1).
	maxPage = 30
	// maxWorks is the most videos in an author's list (API D7).
	maxWorks = 5000
	// maxKey is the longest media key, in bytes: the column's size.
	maxKey = 255
	// settled is how long ago a time must be that no video is being published at any
	// more: longer than any publication takes, with what clocks differ by.
	settled = 5 * time.Minute
	// draws bounds how often an id is drawn again because another process drew
	// the same.
	draws = 10
)

// Publish implements the RPC of the same name: the row first, then its job. The
// row alone makes the upload durable, so a queue that takes no job delays the
// upload until the sweep but fails nothing.
func (s *Server) Publish(ctx context.Context, in *pb.PublishRequest, out *pb.PublishResponse) error {
	switch {
	case !text.Valid(in.Title, text.MaxTitle):
		return errs.New(errs.Invalid, "标题应为1到100个字")
	case in.AuthorId <= 0 || in.OriginalKey == "" || len(in.OriginalKey) > maxKey || in.Size <= 0:
		return errs.New(errs.Invalid, "")
	}
	row := &model.Video{
		AuthorID: in.AuthorId, Title: in.Title, OriginalKey: in.OriginalKey, PlayKey: in.OriginalKey,
		State: model.VideoProcessing, CreatedAt: s.now().UnixMilli(), Size: in.Size,
	}
	if err := s.insert(ctx, row); err != nil {
		return err
	}
	if err := s.enqueue(ctx, row.ID); err != nil {
		s.log.WarnContext(ctx, "the sweep will queue an upload", "video", row.ID, "error", err)
	}
	out.Video = toEntity(row)
	return nil
}

func (s *Server) insert(ctx context.Context, row *model.Video) error {
	var err error
	for range draws {
		row.ID = s.ids.Next()
		if err = s.store.insert(ctx, row); !errs.Is(err, errs.Conflict) {
			return err
		}
	}
	return err
}

func (s *Server) enqueue(ctx context.Context, id int64) error {
	message, err := job(publishType, id)
	if err != nil {
		return err
	}
	if err := s.queue.Publish(ctx, PublishQueue, message); err != nil {
		return err
	}
	return s.store.markQueued(ctx, id, s.now().UnixMilli())
}

// Feed implements the RPC of the same name.
func (s *Server) Feed(ctx context.Context, in *pb.FeedRequest, out *pb.FeedResponse) error {
	before := in.Before
	if before <= 0 {
		before = math.MaxInt64
	}
	read := s.store.feed
	if before < s.now().Add(-settled).UnixMilli() {
		read = s.store.feedOfOld
	}
	rows, err := read(ctx, before, batch.Limit(in.Limit, maxPage))
	if err != nil {
		return err
	}
	out.Videos = toEntities(rows)
	return nil
}

// ListByAuthor implements the RPC of the same name.
func (s *Server) ListByAuthor(ctx context.Context, in *pb.ListByAuthorRequest, out *pb.ListByAuthorResponse) error {
	if err := batch.Check([]int64{in.AuthorId}); err != nil {
		return err
	}
	rows, count, err := s.store.byAuthor(ctx, in.AuthorId, in.ViewerId, batch.Limit(in.Limit, maxWorks))
	if err != nil {
		return err
	}
	out.Videos, out.WorkCount = toEntities(rows), count
	return nil
}

// BatchGet implements the RPC of the same name.
func (s *Server) BatchGet(ctx context.Context, in *pb.BatchGetRequest, out *pb.BatchGetResponse) error {
	if err := batch.Check(in.Ids); err != nil {
		return err
	}
	rows, err := s.store.byIDs(ctx, in.Ids, in.ViewerId)
	if err != nil {
		return err
	}
	found := make(map[int64]*model.Video, len(rows))
	for i := range rows {
		found[rows[i].ID] = &rows[i]
	}
	for _, id := range in.Ids {
		if row := found[id]; row != nil {
			out.Videos = append(out.Videos, toEntity(row))
		}
	}
	return nil
}

// WorkCounts implements the RPC of the same name.
func (s *Server) WorkCounts(ctx context.Context, in *pb.WorkCountsRequest, out *pb.WorkCountsResponse) error {
	if err := batch.Check(in.UserIds); err != nil {
		return err
	}
	var err error
	out.WorkCounts, err = s.store.works(ctx, in.UserIds, in.ViewerId)
	return err
}
