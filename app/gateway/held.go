package gateway

import (
	"context"
	"strings"
	"sync/atomic"

	"backbeat/app/batch"
	"backbeat/app/cache"
	"backbeat/config"
	"backbeat/proto/comment"
	"backbeat/proto/entity"
	"backbeat/proto/favorite"
	"backbeat/proto/relation"
	"backbeat/proto/user"
	"backbeat/proto/video"
)

const (
	// maxCounts bounds the counts held, each some 150 bytes: those of everybody who
	// comes by in the minutes that they may be held for.
	maxCounts = 200_000
	// heldCards bounds the cards of users, and those of videos. They are held for
	// minutes: of a hundred thousand who come by in that time each is asked for once.
	// One takes some 400 bytes.
	heldCards = 100_000
	// heldLists bounds the lists of videos that pages of the feed are made of. One takes
	// some 10 KiB.
	heldLists = 1024
	// heldFeeds and heldComments bound the bytes of the pages of either kind; clients
	// choose their Host and their cursor. A page of a hundred comments takes some 50 KiB.
	// maxHeldPage is the largest held, in bytes.
	heldFeeds    = 32 << 20
	heldComments = 128 << 20
	maxHeldPage  = 512 << 10
)

// subject is a video or a user, which counts are about.
type subject struct {
	video bool
	id    int64
}

// counts are what owners count about a subject.
type counts struct {
	// likes are those of a video, or those that a user received.
	likes, comments                  int64
	given, follows, followers, works int64
}

// heldCounts are counts as package changes keeps them right.
type heldCounts struct{ *cache.Held[subject, counts] }

// Forget drops the counts of who has changed.
func (h heldCounts) Forget(videos, users []int64) {
	subjects := make([]subject, 0, len(videos)+len(users))
	for _, id := range videos {
		subjects = append(subjects, subject{true, id})
	}
	for _, id := range users {
		subjects = append(subjects, subject{false, id})
	}
	h.Held.Forget(subjects...)
}

// degraded says which parts of what was loaded a fallback stood in for, or nobody.
type degraded struct{ parts []string }

func (d *degraded) Error() string { return "degraded: " + strings.Join(d.parts, ", ") }

// holdings are what a gateway holds for a short while of what is the same for
// everybody. Flags are never among it: they belong to a viewer, who has to see
// own acts at once.
type holdings struct {
	users  *cache.Held[int64, *entity.User]
	videos *cache.Held[int64, *entity.Video]
	counts *cache.Held[subject, counts]
	// pageCounts is how old counts may be when they go into a page that is held, a
	// Duration: they grow older with it.
	pageCounts atomic.Int64
	// pages is how long a page is held, or held unlooked at, a Duration.
	pages atomic.Int64
	// lists are videos of the feed before a time. They spare the service being asked
	// again for a page that was slow, or lacks a part, and is made anew.
	lists    *cache.Held[int64, *video.FeedResponse]
	feeds    *cache.Held[feedKey, *page]
	comments *cache.Held[commentsKey, *commentsPage]
	// tokens are sessions by the token that proves them.
	tokens *cache.Held[string, session]
}

// newHoldings returns holdings that hold only tokens until they are set.
func (g *Gateway) newHoldings() holdings {
	by := g.metrics.caches
	return holdings{
		users:    cache.NewHeld(heldCards, 0, g.now, g.loadUsers).Counted(by, "users"),
		videos:   cache.NewHeld(heldCards, 0, g.now, g.loadVideos).Counted(by, "videos"),
		counts:   cache.NewHeld(maxCounts, 0, g.now, g.loadCounts).Counted(by, "counts"),
		lists:    cache.NewHeld(heldLists, 0, g.now, g.loadLists).Counted(by, "lists"),
		feeds:    cache.NewWeighed(heldFeeds, (*page).weight, 0, g.now, g.loadFeeds).Counted(by, "feeds"),
		comments: cache.NewWeighed[commentsKey](heldComments, (*commentsPage).weight, 0, g.now, nil).Counted(by, "comments"),
		tokens:   cache.NewHeld[string, session](heldTokens, verifiedLife, g.now, nil).Counted(by, "tokens"),
	}
}

// set changes how long things are held, those that are held already included.
func (h *holdings) set(cfg config.Cache) {
	h.users.SetLife(cfg.Cards)
	h.videos.SetLife(cfg.Cards)
	h.counts.SetLife(cfg.Counts)
	pages := min(cfg.Pages, cfg.Counts)
	h.feeds.SetLife(pages)
	h.pages.Store(int64(pages))
	h.comments.SetLife(cfg.Cards)
	h.pageCounts.Store(int64(cfg.Counts - pages))
	h.lists.SetLife(min(pages, cfg.Counts-pages))
}

func (g *Gateway) loadUsers(ctx context.Context, ids []int64) (map[int64]*entity.User, error) {
	missing := &parts{}
	found := make(map[int64]*entity.User, len(ids))
	gather(ctx, missing, g.rpc.users, each(ids, func(ids []int64) *user.BatchGetRequest {
		return &user.BatchGetRequest{Ids: ids}
	}), func(resp *user.BatchGetResponse) {
		for _, u := range resp.GetUsers() {
			found[u.GetId()] = u
		}
	})
	return found, missing.fault()
}

// loadVideos finds what anybody may see: published videos, which stay so.
func (g *Gateway) loadVideos(ctx context.Context, ids []int64) (map[int64]*entity.Video, error) {
	found := make(map[int64]*entity.Video, len(ids))
	for _, some := range batch.Split(ids) {
		resp, err := g.rpc.videos.do(ctx, &video.BatchGetRequest{Ids: some})
		if err != nil {
			return nil, err
		}
		for _, v := range resp.GetVideos() {
			found[v.GetId()] = v
		}
	}
	return found, nil
}

// loadCounts asks all owners at the same time, each for everything at once.
func (g *Gateway) loadCounts(ctx context.Context, subjects []subject) (map[subject]counts, error) {
	var videoIDs, userIDs []int64
	for _, s := range subjects {
		if s.video {
			videoIDs = append(videoIDs, s.id)
		} else {
			userIDs = append(userIDs, s.id)
		}
	}
	missing := &parts{}
	var likes favorite.StatsResponse
	var comments, works map[int64]int64
	var follows map[int64]*relation.UserStat
	_ = together(
		func() error {
			gather(ctx, missing, g.rpc.likes, statsRequests(videoIDs, userIDs), func(resp *favorite.StatsResponse) {
				merge(&likes.Videos, resp.GetVideos())
				merge(&likes.Users, resp.GetUsers())
			})
			return nil
		},
		func() error {
			gather(ctx, missing, g.rpc.commentCounts, each(videoIDs, func(ids []int64) *comment.CountsRequest {
				return &comment.CountsRequest{VideoIds: ids}
			}), func(resp *comment.CountsResponse) { merge(&comments, resp.GetCounts()) })
			return nil
		},
		func() error {
			gather(ctx, missing, g.rpc.follows, each(userIDs, func(ids []int64) *relation.StatsRequest {
				return &relation.StatsRequest{UserIds: ids}
			}), func(resp *relation.StatsResponse) { merge(&follows, resp.GetUsers()) })
			return nil
		},
		func() error {
			gather(ctx, missing, g.rpc.counts, each(userIDs, func(ids []int64) *video.WorkCountsRequest {
				return &video.WorkCountsRequest{UserIds: ids}
			}), func(resp *video.WorkCountsResponse) { merge(&works, resp.GetWorkCounts()) })
			return nil
		})
	found := make(map[subject]counts, len(subjects))
	for _, id := range videoIDs {
		found[subject{true, id}] = counts{likes: likes.Videos[id].GetFavoriteCount(), comments: comments[id]}
	}
	for _, id := range userIDs {
		found[subject{false, id}] = counts{
			likes: likes.Users[id].GetTotalFavorited(), given: likes.Users[id].GetFavoriteCount(),
			follows: follows[id].GetFollowCount(), followers: follows[id].GetFollowerCount(), works: works[id],
		}
	}
	return found, missing.fault()
}

// statsRequests asks for videos and users in as few calls as both allow.
func statsRequests(videoIDs, userIDs []int64) []*favorite.StatsRequest {
	videos, users := batch.Split(videoIDs), batch.Split(userIDs)
	calls := make([]*favorite.StatsRequest, max(len(videos), len(users)))
	for i := range calls {
		calls[i] = &favorite.StatsRequest{}
		if i < len(videos) {
			calls[i].VideoIds = videos[i]
		}
		if i < len(users) {
			calls[i].UserIds = users[i]
		}
	}
	return calls
}
