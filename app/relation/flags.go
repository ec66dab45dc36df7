package relation

import (
	"context"
	"slices"
	"time"

	"backbeat/app/cache"
	pb "backbeat/proto/relation"
)

const (
	// heldLife is how old what an instance holds may be, should word of a change not
	// reach it.
	heldLife = 3 * time.Second
	// heldFollows is how many users' follows an instance holds, maxHeld the longest
	// of them: one takes at most 8 KiB. Of those who follow more it asks the store.
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

// follows are the users that somebody follows, or more than are held. Lists and
// flags come from the same ones, so that nobody who saw a follow in one misses it in
// the other while it is being made.
type follows struct {
	latest []int64 // first
	ids    []int64 // in order
	more   bool
}

// flags returns whom each of the viewers follows of the users asked about.
func (s *Server) flags(ctx context.Context, asked []*pb.FlagsRequest_Viewer) ([]*pb.FlagsResponse_Viewer, error) {
	viewers := make([]int64, len(asked))
	for i, viewer := range asked {
		viewers[i] = viewer.Id
	}
	sets, err := s.followsOf(ctx, viewers)
	if err != nil {
		return nil, err
	}
	var among []wanted
	for i, viewer := range asked {
		if sets[i].more {
			among = append(among, wanted{viewer.Id, viewer.UserIds})
		}
	}
	followed, err := s.store.followed(ctx, among)
	if err != nil {
		return nil, err
	}
	answers := make([]*pb.FlagsResponse_Viewer, len(asked))
	for i, viewer := range asked {
		mine := sets[i]
		if mine.more {
			mine.ids = followed[viewer.Id]
			slices.Sort(mine.ids)
		}
		answers[i] = &pb.FlagsResponse_Viewer{UserIds: mine.among(viewer.UserIds)}
	}
	return answers, nil
}

// among returns those of the users who are followed, in their order.
func (f follows) among(users []int64) (followed []int64) {
	for _, user := range users {
		if _, found := slices.BinarySearch(f.ids, user); found {
			followed = append(followed, user)
		}
	}
	return followed
}

// followsOf returns the viewers' follows as they are held. Without the cache nobody
// knows whether those are up to date.
func (s *Server) followsOf(ctx context.Context, viewers []int64) ([]follows, error) {
	versions, err := s.versions.Get(ctx, viewers...)
	states := make([]state, len(viewers))
	for i, viewer := range viewers {
		states[i].user = viewer
		if err == nil {
			states[i].version = versions[i]
		}
	}
	if err == nil {
		return s.follows.Get(ctx, states...)
	}
	found, err := s.loadFollows(ctx, states)
	sets := make([]follows, len(viewers))
	for i, state := range states {
		sets[i] = found[state]
	}
	return sets, err
}

// loadFollows reads the follows of several users, each once however many versions
// of them are asked for: sets are shared.
func (s *Server) loadFollows(ctx context.Context, of []state) (map[state]follows, error) {
	ctx, cancel := context.WithTimeout(ctx, heldTimeout)
	defer cancel()
	found, err := s.store.follows(ctx, usersOf(of), maxHeld+1)
	if err != nil {
		return nil, err
	}
	ofUser := make(map[int64]follows, len(found))
	for user, latest := range found {
		if len(latest) > maxHeld {
			ofUser[user] = follows{more: true}
			continue
		}
		ids := slices.Clone(latest)
		slices.Sort(ids)
		ofUser[user] = follows{latest: slices.Clip(latest), ids: ids}
	}
	sets := make(map[state]follows, len(of))
	for _, key := range of {
		sets[key] = ofUser[key.user]
	}
	return sets, nil
}

// usersOf returns whom states are of, each once.
func usersOf(states []state) []int64 {
	users := make([]int64, len(states))
	for i, of := range states {
		users[i] = of.user
	}
	slices.Sort(users)
	return slices.Compact(users)
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
