package gateway

import (
	"context"
	"slices"
	"sync"

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
	done, err := g.rpc.like.do(ctx, &favorite.ActRequest{
		UserId: q.viewer, VideoId: id, AuthorId: card.GetAuthorId(), Liked: liked,
	})
	switch {
	case err != nil:
		return nil, err
	case !liked:
		return &plainAnswer{success("取消点赞成功")}, nil
	case done.GetAlready():
		return &plainAnswer{success("重复点赞")}, nil
	default:
		return &plainAnswer{success("点赞成功")}, nil
	}
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
			ids, err = g.rpc.liked.do(ctx, &favorite.ListLikedRequest{UserId: id})
			return err
		})
	if err != nil {
		return nil, err
	}
	videos, works, err := g.videosOf(ctx, q, ids.GetVideoIds())
	if err != nil {
		return nil, err
	}
	list.VideoList = g.videos(ctx, q, videos, works)
	return list, nil
}

// video returns a video that the viewer may see, so may act on (D13).
func (g *Gateway) video(ctx context.Context, q *request, id int64) (*entity.Video, error) {
	found, err := g.rpc.videos.do(ctx, &video.BatchGetRequest{Ids: []int64{id}, ViewerId: q.viewer})
	if err != nil {
		return nil, err
	}
	if len(found.GetVideos()) == 0 {
		return nil, errs.New(errs.NotFound, "视频不存在")
	}
	return found.GetVideos()[0], nil
}

// videosOf returns the videos with these ids that the viewer may see, in their
// order, and the work counts of their authors.
func (g *Gateway) videosOf(ctx context.Context, q *request, ids []int64) ([]*entity.Video, map[int64]int64, error) {
	var mu sync.Mutex
	parts := batch.Split(ids)
	found := make([][]*entity.Video, len(parts))
	works := map[int64]int64{}
	tasks := make([]func() error, len(parts))
	for i, part := range parts {
		tasks[i] = func() error {
			resp, err := g.rpc.videos.do(ctx, &video.BatchGetRequest{Ids: part, ViewerId: q.viewer})
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			found[i] = resp.GetVideos()
			merge(&works, resp.GetWorkCounts())
			return nil
		}
	}
	err := together(tasks...)
	return slices.Concat(found...), works, err
}
