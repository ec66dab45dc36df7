package gateway

import (
	"context"
	"errors"
	"time"

	"backbeat/proto/entity"
	"backbeat/proto/video"
)

const (
	// pageSize is how many videos a page of the feed has at most.
	pageSize = 30
	// recent is how far a cursor may lie in the past and still be worth comparing
	// with the first page: phones send their own time when they start.
	recent = 10 * time.Minute
)

// feedKey names a page of the feed: the one before a time, 0 for the first, with
// these links.
type feedKey struct {
	links
	before int64
}

// feed is a page of the newest videos before latest_time (API §2.1). Its
// next_time is that of the oldest video found, shown or not, so that paging goes
// on; after the last page it is now, so that the next swipe begins anew.
//
// Whoever asks for the newest videos, without a cursor or with one later than
// they are, gets the same page.
func (g *Gateway) feed(ctx context.Context, q *request) (answer, error) {
	before := moment(q.params.get("latest_time"), q.now)
	if before == 0 || before >= q.now.Add(-recent).UnixMilli() {
		first, err := g.feedPage(ctx, feedKey{q.links, 0})
		if err != nil || before == 0 || before > first.newest {
			return g.showFeed(ctx, q, first, err)
		}
	}
	p, err := g.feedPage(ctx, feedKey{q.links, before})
	return g.showFeed(ctx, q, p, err)
}

func (g *Gateway) showFeed(ctx context.Context, q *request, p *page, err error) (answer, error) {
	if err != nil {
		return nil, err
	}
	return g.show(ctx, q, p), nil
}

// feedPage returns a page held, or made for all who want it now. Which of its parts
// are degraded it says itself.
func (g *Gateway) feedPage(ctx context.Context, key feedKey) (*page, error) {
	pages, err := g.held.feeds.Get(ctx, key)
	if pages[0] == nil {
		return nil, err
	}
	return pages[0], nil
}

// loadFeeds makes pages. Its error is of those that could not be made, or could not be
// made whole.
func (g *Gateway) loadFeeds(ctx context.Context, keys []feedKey) (map[feedKey]*page, error) {
	made, faults := make([]*page, len(keys)), make([]error, len(keys))
	tasks := make([]func() error, len(keys))
	for i, key := range keys {
		tasks[i] = func() error {
			made[i], faults[i] = g.makeFeed(ctx, key)
			return nil
		}
	}
	_ = together(tasks...)
	pages := make(map[feedKey]*page, len(keys))
	for i, key := range keys {
		if made[i] != nil {
			pages[key] = made[i]
		}
	}
	return pages, errors.Join(faults...)
}

// loadLists asks for the newest videos before each of the times.
func (g *Gateway) loadLists(ctx context.Context, before []int64) (map[int64]*video.FeedResponse, error) {
	found, faults := make([]*video.FeedResponse, len(before)), make([]error, len(before))
	tasks := make([]func() error, len(before))
	for i, at := range before {
		tasks[i] = func() error {
			missing := &parts{}
			if found[i], faults[i] = g.rpc.feed.get(ctx, &video.FeedRequest{Before: at, Limit: pageSize}, missing); faults[i] == nil {
				faults[i] = missing.fault()
			}
			return nil
		}
	}
	_ = together(tasks...)
	lists := make(map[int64]*video.FeedResponse, len(before))
	for i, at := range before {
		if found[i] == nil {
			continue
		}
		lists[at] = found[i]
		for _, v := range found[i].GetVideos() {
			if v.GetState() == entity.Video_PUBLISHED {
				g.held.videos.Put(v.GetId(), v)
			}
		}
	}
	return lists, errors.Join(faults...)
}

// makeFeed asks for the page and renders it. It may come with an error that says which
// parts are degraded.
func (g *Gateway) makeFeed(ctx context.Context, key feedKey) (*page, error) {
	q := forAll(key.links)
	lists, err := g.held.lists.Get(ctx, key.before)
	q.missing.take(err)
	if lists[0] == nil {
		return nil, err
	}
	videos := lists[0].GetVideos()
	newest, next := int64(0), g.now().UnixMilli()
	if n := len(videos); n > 0 {
		newest, next = videos[0].GetPublishedAt(), videos[n-1].GetPublishedAt()
	}
	list := &feedAnswer{success("获取视频流成功"), g.videos(ctx, q, videos, nil), next}
	flagged := make([]subject, 0, 2*len(videos))
	for _, v := range list.VideoList {
		flagged = append(flagged, subject{false, v.Author.ID}, subject{true, v.ID})
	}
	p, err := newPage(list, flagged)
	if err != nil {
		return nil, err
	}
	p.newest, p.missing = newest, q.missing.list()
	return p, q.missing.fault()
}
