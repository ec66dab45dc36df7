package gateway

import (
	"context"

	"backbeat/proto/video"
)

// pageSize is how many videos a page of the feed has at most.
const pageSize = 30

// feed is a page of the newest videos before latest_time (API §2.1). Its
// next_time is that of the oldest video found, shown or not, so that paging goes
// on; after the last page it is now, so that the next swipe begins anew.
func (g *Gateway) feed(ctx context.Context, q *request) (answer, error) {
	before := moment(q.params.get("latest_time"), q.now)
	if front, err := g.front(ctx, q, before); front != nil || err != nil {
		return front, err
	}
	return g.page(ctx, q, before)
}

// page is the page before a time, 0 for the first, as the viewer sees it.
func (g *Gateway) page(ctx context.Context, q *request, before int64) (*feedAnswer, error) {
	page, err := g.rpc.feed.get(ctx, &video.FeedRequest{Before: before, Limit: pageSize}, q.missing)
	if err != nil {
		return nil, err
	}
	newest := int64(0)
	next := q.now.UnixMilli()
	if n := len(page.GetVideos()); n > 0 {
		newest, next = page.GetVideos()[0].GetPublishedAt(), page.GetVideos()[n-1].GetPublishedAt()
	}
	works := page.GetWorkCounts()
	if works == nil { // nobody has any, says the service; nil would ask again
		works = map[int64]int64{}
	}
	return &feedAnswer{success("获取视频流成功"), g.videos(ctx, q, page.GetVideos(), works), next, newest}, nil
}
