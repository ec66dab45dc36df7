package comment

import (
	"context"
	"maps"
	"slices"
	"time"

	"backbeat/model"
)

// mostAdded bounds the comments that one transaction writes.
const mostAdded = 64

// draft is a comment to write while somebody waits for it, by ctx.
type draft struct {
	ctx context.Context
	row model.Comment
}

// add writes a comment together with those that others write now. When ctx ends
// while that is in progress, nobody knows whether it was written.
func (s *Server) add(ctx context.Context, row model.Comment) (model.Comment, error) {
	one, err := s.adds.Do(ctx, draft{ctx, row})
	if err != nil {
		return row, model.Wrap(err, "adding a comment of user %d to video %d", row.UserID, row.VideoID)
	}
	return one.row, one.err
}

// write writes the comments of all who still wait. Before it tells them, it ends
// what is held of those videos, whatever came of it: it may be done.
func (s *Server) write(ctx context.Context, drafts []draft) ([]*added, error) {
	answers := make([]*added, len(drafts))
	var waiting []draft
	var comments []*added
	videos := map[int64]struct{}{}
	now := s.now().UnixMilli()
	for i, d := range drafts {
		one := &added{row: d.row, err: model.Wrap(d.ctx.Err(), "adding a comment of user %d to video %d", d.row.UserID, d.row.VideoID)}
		answers[i] = one
		if one.err == nil {
			one.row.CreatedAt = now
			waiting, comments = append(waiting, d), append(comments, one)
			videos[d.row.VideoID] = struct{}{}
		}
	}
	if len(comments) == 0 {
		return answers, nil
	}
	bounded, cancel := untilLast(ctx, waiting)
	defer cancel()
	defer func() { s.changed(ctx, slices.Collect(maps.Keys(videos))...) }()
	s.store.add(bounded, comments)
	return answers, nil
}

// untilLast returns ctx with the latest deadline of those who wait, without one if
// somebody has none.
func untilLast(ctx context.Context, waiting []draft) (context.Context, context.CancelFunc) {
	var latest time.Time
	for _, d := range waiting {
		deadline, bounded := d.ctx.Deadline()
		if !bounded {
			return ctx, func() {}
		}
		if deadline.After(latest) {
			latest = deadline
		}
	}
	return context.WithDeadline(ctx, latest)
}
