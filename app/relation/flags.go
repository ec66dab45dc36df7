package relation

import (
	"context"
	"slices"
	"time"

	"backbeat/app/cache"
)

const (
	// heldLife is how old what an instance holds may be, should word of a change not
	// reach it.
	heldLife = 3 * time.Second
	// heldFollows is how many users' follows an instance holds, maxHeld the longest
	// of them: a set takes at most 4 KiB. Of those who follow more it asks the store.
	heldFollows = 8192
	maxHeld     = 512
	// heldLists bounds the lists held, heldTimeout one loading.
	heldLists   = 2048
	heldTimeout = time.Second
)

// state is something of a user's at one version of it.
type state struct {
	user    int64
	version cache.Version
}

// follows are the users that somebody follows, in order, or not all of them.
type follows struct {
	ids  []int64
	more bool
}

// flags returns those of the users whom the viewer follows, in their order.
func (s *Server) flags(ctx context.Context, viewer int64, users []int64) ([]int64, error) {
	if viewer <= 0 || len(users) == 0 {
		return nil, nil
	}
	mine, err := s.followsOf(ctx, viewer)
	if err == nil && mine.more {
		mine.ids, err = s.store.followed(ctx, viewer, users)
		slices.Sort(mine.ids)
	}
	var followed []int64
	for _, user := range users {
		if _, found := slices.BinarySearch(mine.ids, user); found {
			followed = append(followed, user)
		}
	}
	return followed, err
}

// followsOf returns the viewer's follows as they are held. Without the cache nobody
// knows whether they are up to date.
func (s *Server) followsOf(ctx context.Context, viewer int64) (follows, error) {
	version, err := s.versions.Get(ctx, viewer)
	if err != nil { //nolint:nilerr // the store knows, and Redis's client logs that it is away
		return follows{more: true}, nil
	}
	mine, err := s.follows.Get(ctx, state{viewer, version})
	return mine[0], err
}

// loadFollows reads the follows of several users.
func (s *Server) loadFollows(ctx context.Context, of []state) (map[state]follows, error) {
	ctx, cancel := context.WithTimeout(ctx, heldTimeout)
	defer cancel()
	users := make([]int64, len(of))
	for i, key := range of {
		users[i] = key.user
	}
	found, err := s.store.follows(ctx, users, maxHeld+1)
	if err != nil {
		return nil, err
	}
	sets := make(map[state]follows, len(of))
	for _, key := range of {
		ids := found[key.user]
		slices.Sort(ids)
		ids = slices.Compact(ids)
		if len(ids) > maxHeld {
			sets[key] = follows{more: true}
			continue
		}
		sets[key] = follows{ids: slices.Clip(ids)}
	}
	return sets, nil
}

// loadFollowers reads the lists of followers one by one.
func (s *Server) loadFollowers(ctx context.Context, of []state) (map[state][]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, heldTimeout)
	defer cancel()
	lists := make(map[state][]int64, len(of))
	for _, key := range of {
		ids, err := s.store.followers(ctx, key.user, maxList)
		if err != nil {
			return nil, err
		}
		lists[key] = ids
	}
	return lists, nil
}
