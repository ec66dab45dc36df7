package gateway

import (
	"context"
	"slices"

	"backbeat/app/batch"
	"backbeat/app/errs"
	"backbeat/proto/entity"
	"backbeat/proto/favorite"
	"backbeat/proto/video"
)

// like likes or unlikes a video (API §2.7). Doing so again changes nothing (D1).
func (g *Gateway) like(ctx context.Context, q *request) (answer, error) {
	liked, err := q.params.action()
	if err != nil {
		return nil, err
	}
	id, err := q.params.id("video_id")
	if err != nil {
		return nil, err
	}
	card, err := g.video(ctx, q, id)
	if err != nil {
		return nil, err
	}
	already, err := g.rpc.likings.Do(ctx, &favorite.ActRequest_Act{
		UserId: q.viewer, VideoId: id, AuthorId: card.GetAuthorId(), Liked: liked,
	})
	switch {
	case err != nil:
		return nil, err
	case !liked:
		return &plainAnswer{success("取消点赞成功")}, nil
	case already:
		return &plainAnswer{success("重复点赞")}, nil
	default:
		return &plainAnswer{success("点赞成功")}, nil
	}
}

// act takes what many like and unlike now, and returns what was so already.
func (c *commands) act(ctx context.Context, acts []*favorite.ActRequest_Act) ([]bool, error) {
	done, err := c.like.do(ctx, &favorite.ActRequest{Acts: acts})
	return done.GetAlready(), err
}

// liked lists the videos a user likes, latest like first (API §2.8).
func (g *Gateway) liked(ctx context.Context, q *request) (answer, error) {
	id, err := q.userID()
	if err != nil {
		return nil, err
	}
	list := &videosAnswer{success("获取喜欢列表成功"), []videoView{}}
	if id == 0 {
		return list, nil
	}
	var ids *favorite.ListLikedResponse
	err = together(
		func() error { return g.userSeen(ctx, q, id) },
		func() (err error) {
			ids, err = g.rpc.liked.do(ctx, &favorite.ListLikedRequest{UserId: id, Stranger: id != q.viewer})
			return err
		})
	if err != nil {
		return nil, err
	}
	videos, err := g.videosOf(ctx, q, ids.GetVideoIds())
	if err != nil {
		return nil, err
	}
	list.VideoList = g.videos(ctx, q, videos, nil)
	return list, nil
}

// video returns a video that the viewer may see, so may act on (D13).
func (g *Gateway) video(ctx context.Context, q *request, id int64) (*entity.Video, error) {
	found, err := g.videosOf(ctx, q, []int64{id})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, errs.New(errs.NotFound, "视频不存在")
	}
	return found[0], nil
}

// videosOf returns the videos with these ids that the viewer may see, in their
// order. What nobody may see could be the viewer's own, still processing.
func (g *Gateway) videosOf(ctx context.Context, q *request, ids []int64) ([]*entity.Video, error) {
	found, err := g.held.videos.Get(ctx, ids...)
	if err != nil {
		return nil, err
	}
	var hidden []int64
	for i, v := range found {
		if v == nil {
			hidden = append(hidden, ids[i])
		}
	}
	if len(hidden) > 0 && q.viewer != 0 {
		own := make(map[int64]*entity.Video, len(hidden))
		for _, some := range batch.Split(hidden) {
			resp, err := g.rpc.videos.do(ctx, &video.BatchGetRequest{Ids: some, ViewerId: q.viewer})
			if err != nil {
				return nil, err
			}
			for _, v := range resp.GetVideos() {
				own[v.GetId()] = v
			}
		}
		for i, v := range found {
			if v == nil {
				found[i] = own[ids[i]]
			}
		}
	}
	return slices.DeleteFunc(found, func(v *entity.Video) bool { return v == nil }), nil
}
