package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"backbeat/app/batch"
	"backbeat/proto/entity"
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

func (p *parts) has(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, found := slices.BinarySearch(p.names, name)
	return found
}

func (p *parts) list() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.names)
}

// take adds the parts that err, of one load or several, says are missing.
func (p *parts) take(err error) {
	var several interface{ Unwrap() []error }
	var one *degraded
	switch {
	case errors.As(err, &several):
		for _, err := range several.Unwrap() {
			p.take(err)
		}
	case errors.As(err, &one):
		for _, name := range one.parts {
			p.add(name)
		}
	}
}

// fault is an error when a part is missing.
func (p *parts) fault() error {
	if missing := p.list(); len(missing) > 0 {
		return &degraded{missing}
	}
	return nil
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
	if len(tasks) == 1 { // spares a goroutine
		return tasks[0]()
	}
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
func gather[Req, Resp any](ctx context.Context, missing *parts, c *command[Req, Resp], calls []*Req, merge func(*Resp)) {
	var mu sync.Mutex
	var tasks []func() error
	for _, req := range calls {
		tasks = append(tasks, func() error {
			resp, err := c.get(ctx, req, missing)
			if err != nil {
				missing.add(c.part)
				c.logFailure(ctx, "part of a page is missing", err)
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			merge(resp)
			return nil
		})
	}
	_ = together(tasks...)
}

// facts is what all owners know of the videos and users of a page, as one viewer
// sees them.
type facts struct {
	users           map[int64]*entity.User
	counts          map[subject]counts
	liked, followed map[int64]bool
	// works are counts that a service told this viewer, who may see more than
	// others.
	works map[int64]int64
}

// facts brings them together from what is held and what the viewer's own services
// say. Flags that are known already are not asked for.
func (g *Gateway) facts(ctx context.Context, q *request, videoIDs, userIDs []int64, followed map[int64]bool) *facts {
	f := &facts{users: make(map[int64]*entity.User, len(userIDs)), counts: make(map[subject]counts, len(videoIDs)+len(userIDs))}
	_ = together(
		func() error {
			users, err := g.held.users.Get(ctx, userIDs...)
			q.missing.take(err)
			for i, u := range users {
				if u != nil {
					f.users[userIDs[i]] = u
				}
			}
			return nil
		},
		func() error {
			subjects := make([]subject, 0, len(videoIDs)+len(userIDs))
			for _, id := range videoIDs {
				subjects = append(subjects, subject{true, id})
			}
			for _, id := range userIDs {
				subjects = append(subjects, subject{false, id})
			}
			age := time.Duration(math.MaxInt64)
			if q.forAll {
				age = time.Duration(g.held.pageCounts.Load())
			}
			found, err := g.held.counts.GetYounger(ctx, age, subjects...)
			q.missing.take(err)
			for i, s := range subjects {
				f.counts[s] = found[i]
			}
			return nil
		},
		func() error {
			if followed != nil {
				f.liked, _ = g.flags(ctx, q, videoIDs, nil)
				f.followed = followed
				return nil
			}
			f.liked, f.followed = g.flags(ctx, q, videoIDs, userIDs)
			return nil
		})
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
	n := f.counts[subject{false, id}]
	works, told := f.works[id]
	if !told {
		works = n.works
	}
	return userView{
		ID:              id,
		Name:            u.GetName(),
		FollowCount:     n.follows,
		FollowerCount:   n.followers,
		IsFollow:        f.followed[id],
		Avatar:          l.avatar(u),
		BackgroundImage: l.background(u),
		Signature:       signature(u),
		TotalFavorited:  n.likes,
		WorkCount:       works,
		FavoriteCount:   n.given,
	}, true
}

// users returns the cards of users in the order of ids. Followed are those whom
// the viewer follows, nil to ask.
func (g *Gateway) users(ctx context.Context, q *request, ids []int64, followed map[int64]bool) []userView {
	f := g.facts(ctx, q, nil, ids, followed)
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
	f := g.facts(ctx, q, ids, authors, nil)
	f.works = works
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
		n := f.counts[subject{true, v.GetId()}]
		views = append(views, videoView{
			ID:            v.GetId(),
			Author:        author,
			PlayURL:       q.links.play(v),
			CoverURL:      q.links.cover(v),
			FavoriteCount: n.likes,
			CommentCount:  n.comments,
			IsFavorite:    f.liked[v.GetId()],
			Title:         v.GetTitle(),
		})
	}
	return views
}

// without returns ids less one.
func without(ids []int64, id int64) []int64 {
	at := slices.Index(ids, id)
	if at < 0 {
		return ids
	}
	return slices.Concat(ids[:at], ids[at+1:])
}

// distinct sorts ids and removes repetitions, in place.
func distinct(ids []int64) []int64 {
	slices.Sort(ids)
	return slices.Compact(ids)
}

// asSet returns ids as a set, which is never nil.
func asSet(ids []int64) map[int64]bool {
	set := make(map[int64]bool, len(ids))
	for _, id := range ids {
		set[id] = true
	}
	return set
}
