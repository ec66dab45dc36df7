package gateway

import (
	"context"

	"backbeat/app/batch"
	"backbeat/proto/favorite"
	"backbeat/proto/relation"
)

// viewing is a viewer and what they may have flagged.
type viewing struct {
	viewer int64
	ids    []int64
}

// flagged is what of it they did. Missing tells that a fallback stood in.
type flagged struct {
	ids     []int64
	missing bool
}

// flags asks an owner for flags, those of all who look at a page now at once: no
// flag is older than the question, so viewers see their own acts.
type flags struct {
	part     string
	gathered *batch.Group[viewing, flagged]
	// ask asks for some viewers, their answers in order; what is missing already is
	// made up.
	ask func(ctx context.Context, missing *parts, asked []viewing) ([]flagged, error)
}

// newFlags asks by the command, whose requests pack makes and whose replies unpack
// takes apart.
func newFlags[Req, Resp any](c *command[Req, Resp], pack func([]viewing) *Req, unpack func(*Resp) [][]int64) *flags {
	f := &flags{part: c.part}
	f.ask = func(ctx context.Context, missing *parts, asked []viewing) ([]flagged, error) {
		resp, err := c.get(ctx, pack(asked), missing)
		if err != nil {
			c.logFailure(ctx, "part of a page is missing", err)
			return nil, err
		}
		var answers []flagged
		for _, ids := range unpack(resp) {
			answers = append(answers, flagged{ids, missing.has(c.part)})
		}
		return answers, nil
	}
	f.gathered = batch.NewGroup(batch.MaxViewers, func(ctx context.Context, asked []viewing) ([]flagged, error) {
		return f.ask(ctx, &parts{}, asked)
	})
	return f
}

// of returns which of the ids the viewer has flagged. Without an answer none are,
// and the part is missing.
func (f *flags) of(ctx context.Context, missing *parts, viewer int64, ids []int64) map[int64]bool {
	set := map[int64]bool{}
	for _, some := range batch.Split(ids) {
		answer, err := f.one(ctx, missing, viewing{viewer, some})
		if err != nil || answer.missing {
			missing.add(f.part)
		}
		for _, id := range answer.ids {
			set[id] = true
		}
	}
	return set
}

func (f *flags) one(ctx context.Context, missing *parts, asked viewing) (flagged, error) {
	if !missing.has(f.part) {
		return f.gathered.Do(ctx, asked)
	}
	answers, err := f.ask(ctx, missing, []viewing{asked})
	if err != nil {
		return flagged{}, err
	}
	return answers[0], nil
}

func (c *commands) newVideoFlags() *flags {
	return newFlags(c.likedVideos, func(asked []viewing) *favorite.FlagsRequest {
		req := &favorite.FlagsRequest{Viewers: make([]*favorite.FlagsRequest_Viewer, len(asked))}
		for i, by := range asked {
			req.Viewers[i] = &favorite.FlagsRequest_Viewer{Id: by.viewer, VideoIds: by.ids}
		}
		return req
	}, func(resp *favorite.FlagsResponse) (ids [][]int64) {
		for _, viewer := range resp.GetViewers() {
			ids = append(ids, viewer.GetVideoIds())
		}
		return ids
	})
}

func (c *commands) newUserFlags() *flags {
	return newFlags(c.followedUsers, func(asked []viewing) *relation.FlagsRequest {
		req := &relation.FlagsRequest{Viewers: make([]*relation.FlagsRequest_Viewer, len(asked))}
		for i, by := range asked {
			req.Viewers[i] = &relation.FlagsRequest_Viewer{Id: by.viewer, UserIds: by.ids}
		}
		return req
	}, func(resp *relation.FlagsResponse) (ids [][]int64) {
		for _, viewer := range resp.GetViewers() {
			ids = append(ids, viewer.GetUserIds())
		}
		return ids
	})
}

// flags returns which of the videos the viewer likes and whom of the users the
// viewer follows. Nobody follows themselves.
func (g *Gateway) flags(ctx context.Context, q *request, videoIDs, userIDs []int64) (liked, followed map[int64]bool) {
	if q.viewer == 0 {
		return nil, nil
	}
	userIDs = without(userIDs, q.viewer)
	likes := func() error {
		liked = g.rpc.videoFlags.of(ctx, q.missing, q.viewer, videoIDs)
		return nil
	}
	follows := func() error {
		followed = g.rpc.userFlags.of(ctx, q.missing, q.viewer, userIDs)
		return nil
	}
	switch {
	case len(userIDs) == 0:
		_ = likes()
	case len(videoIDs) == 0:
		_ = follows()
	default:
		_ = together(likes, follows)
	}
	return liked, followed
}
