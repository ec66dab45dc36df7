package gateway

import (
	"context"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"backbeat/app/batch"
	"backbeat/proto/comment"
	"backbeat/proto/entity"
	"backbeat/proto/favorite"
	"backbeat/proto/relation"
	"backbeat/proto/user"
	"backbeat/proto/video"
)

// parallel bounds how many tasks of one kind a request has in progress.
const parallel = 8

// parts collects the names of what is missing from a page, for the header
// Backbeat-Degraded. It is safe for concurrent use.
type parts struct {
	mu    sync.Mutex
	names []string
}

func (p *parts) add(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at, found := slices.BinarySearch(p.names, name); !found {
		p.names = slices.Insert(p.names, at, name)
	}
}

func (p *parts) list() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.names)
}

// String returns "favorite, relation".
func (p *parts) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.names, ", ")
}

// together runs tasks at the same time and returns when all have ended, with the
// first error. A panic in one of them is raised again here, where the request's
// recovery catches it.
func together(tasks ...func() error) error {
	var group errgroup.Group
	group.SetLimit(parallel)
	var once sync.Once
	var panicked any
	for _, task := range tasks {
		group.Go(func() error {
			defer func() {
				if p := recover(); p != nil {
					once.Do(func() { panicked = fmt.Sprintf("%v\n%s", p, debug.Stack()) })
				}
			}()
			return task()
		})
	}
	err := group.Wait()
	if panicked != nil {
		panic(panicked)
	}
	return err
}

// gather makes the calls at the same time and hands their replies to merge, one
// after the other. A call that brings nothing, not even by its fallback, leaves
// its part of the page missing.
func gather[Req, Resp any](ctx context.Context, q *request, c *command[Req, Resp], calls []*Req, merge func(*Resp)) {
	var mu sync.Mutex
	var tasks []func() error
	for _, req := range calls {
		tasks = append(tasks, func() error {
			resp, err := c.get(ctx, req, q.missing)
			if err != nil {
				q.missing.add(c.part)
				c.logFailure(ctx, "part of a page is missing", err)
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			merge(resp)
			return nil
		})
	}
	if len(tasks) == 1 { // as a rule; spares a goroutine
		_ = tasks[0]()
		return
	}
	_ = together(tasks...)
}

// facts is what all owners know of the videos and users of a page, as one viewer
// sees them.
type facts struct {
	users      map[int64]*entity.User
	works      map[int64]int64
	userLikes  map[int64]*favorite.UserStat
	videoLikes map[int64]*favorite.VideoStat
	comments   map[int64]int64
	follows    map[int64]*relation.UserStat
}

// facts asks the owners at the same time, each for all ids at once. Work counts
// that came with the videos are passed on; nil asks for them too.
func (g *Gateway) facts(ctx context.Context, q *request, videoIDs, userIDs []int64, works map[int64]int64) *facts {
	f := &facts{users: make(map[int64]*entity.User, len(userIDs)), works: works}
	tasks := []func() error{
		func() error {
			gather(ctx, q, g.rpc.users, each(userIDs, func(ids []int64) *user.BatchGetRequest {
				return &user.BatchGetRequest{Ids: ids}
			}), func(resp *user.BatchGetResponse) {
				for _, u := range resp.GetUsers() {
					f.users[u.GetId()] = u
				}
			})
			return nil
		},
		func() error {
			gather(ctx, q, g.rpc.likes, statsRequests(q.viewer, videoIDs, userIDs), func(resp *favorite.StatsResponse) {
				merge(&f.videoLikes, resp.GetVideos())
				merge(&f.userLikes, resp.GetUsers())
			})
			return nil
		},
		func() error {
			gather(ctx, q, g.rpc.commentCounts, each(videoIDs, func(ids []int64) *comment.CountsRequest {
				return &comment.CountsRequest{VideoIds: ids}
			}), func(resp *comment.CountsResponse) { merge(&f.comments, resp.GetCounts()) })
			return nil
		},
		func() error {
			gather(ctx, q, g.rpc.follows, each(userIDs, func(ids []int64) *relation.StatsRequest {
				return &relation.StatsRequest{ViewerId: q.viewer, UserIds: ids}
			}), func(resp *relation.StatsResponse) { merge(&f.follows, resp.GetUsers()) })
			return nil
		},
	}
	if works == nil {
		tasks = append(tasks, func() error {
			gather(ctx, q, g.rpc.counts, each(userIDs, func(ids []int64) *video.WorkCountsRequest {
				return &video.WorkCountsRequest{ViewerId: q.viewer, UserIds: ids}
			}), func(resp *video.WorkCountsResponse) { merge(&f.works, resp.GetWorkCounts()) })
			return nil
		})
	}
	_ = together(tasks...)
	return f
}

// each makes one request per batch of ids.
func each[Req any](ids []int64, ask func(ids []int64) *Req) []*Req {
	var calls []*Req
	for _, part := range batch.Split(ids) {
		calls = append(calls, ask(part))
	}
	return calls
}

// statsRequests asks for videos and users in as few calls as both allow.
func statsRequests(viewer int64, videoIDs, userIDs []int64) []*favorite.StatsRequest {
	videos, users := batch.Split(videoIDs), batch.Split(userIDs)
	calls := make([]*favorite.StatsRequest, max(len(videos), len(users)))
	for i := range calls {
		calls[i] = &favorite.StatsRequest{ViewerId: viewer}
		if i < len(videos) {
			calls[i].VideoIds = videos[i]
		}
		if i < len(users) {
			calls[i].UserIds = users[i]
		}
	}
	return calls
}

func merge[V any](into *map[int64]V, more map[int64]V) {
	if *into == nil {
		*into = more
		return
	}
	maps.Copy(*into, more)
}

// user returns a user's card, false for one who does not exist: lists leave those
// out (API §6, row 39).
func (f *facts) user(l links, id int64) (userView, bool) {
	u, found := f.users[id]
	if !found {
		return userView{}, false
	}
	likes, follows := f.userLikes[id], f.follows[id]
	return userView{
		ID:              id,
		Name:            u.GetName(),
		FollowCount:     follows.GetFollowCount(),
		FollowerCount:   follows.GetFollowerCount(),
		IsFollow:        follows.GetIsFollow(),
		Avatar:          l.avatar(u),
		BackgroundImage: l.background(u),
		Signature:       signature(u),
		TotalFavorited:  likes.GetTotalFavorited(),
		WorkCount:       f.works[id],
		FavoriteCount:   likes.GetFavoriteCount(),
	}, true
}

// users returns the cards of users in the order of ids.
func (g *Gateway) users(ctx context.Context, q *request, ids []int64) []userView {
	f := g.facts(ctx, q, nil, ids, nil)
	views := make([]userView, 0, len(ids))
	for _, id := range ids {
		if card, found := f.user(q.links, id); found {
			views = append(views, card)
		}
	}
	return views
}

// videos returns the cards of videos in their order.
func (g *Gateway) videos(ctx context.Context, q *request, videos []*entity.Video, works map[int64]int64) []videoView {
	if len(videos) == 0 {
		return []videoView{}
	}
	ids := make([]int64, len(videos))
	authors := make([]int64, len(videos))
	for i, v := range videos {
		ids[i], authors[i] = v.GetId(), v.GetAuthorId()
	}
	authors = distinct(authors)
	f := g.facts(ctx, q, ids, authors, works)
	cards := make(map[int64]userView, len(authors))
	for _, id := range authors {
		if card, found := f.user(q.links, id); found {
			cards[id] = card
		}
	}
	views := make([]videoView, 0, len(videos))
	for _, v := range videos {
		author, found := cards[v.GetAuthorId()]
		if !found {
			continue
		}
		likes := f.videoLikes[v.GetId()]
		views = append(views, videoView{
			ID:            v.GetId(),
			Author:        author,
			PlayURL:       q.links.play(v),
			CoverURL:      q.links.cover(v),
			FavoriteCount: likes.GetFavoriteCount(),
			CommentCount:  f.comments[v.GetId()],
			IsFavorite:    likes.GetIsFavorite(),
			Title:         v.GetTitle(),
		})
	}
	return views
}

// distinct sorts ids and removes repetitions, in place.
func distinct(ids []int64) []int64 {
	slices.Sort(ids)
	return slices.Compact(ids)
}
