package relation

import (
	"context"
	"slices"
	"sync"
	"time"

	"backbeat/app/cache"
	pb "backbeat/proto/relation"
)

const (
	// heldFollows and heldFollowers bound the bytes that an instance holds of whom users
	// follow and of who follows them; heldTimeout bounds one loading.
	heldFollows   = 64 << 20
	heldFollowers = 32 << 20
	heldTimeout   = time.Second
	// maxKnown bounds what is held of one who follows more than a list has, restBytes
	// is what that takes.
	maxKnown  = 4096
	restBytes = 64 << 10
)

// state is something of a user's at one version of it.
type state struct {
	user    int64
	version cache.Version
}

// follows are the users that somebody follows. Lists and flags come from the same
// ones, so that nobody who saw a follow in one misses it in the other while it is being
// made.
type follows struct {
	latest []int64 // at most maxList, the latest first
	ids    []int64 // the same in order
	// rest is nil unless there are more.
	rest *rest
}

func (f follows) weight() int {
	bytes := weight(f.latest) + weight(f.ids)
	if f.rest != nil {
		bytes += restBytes
	}
	return bytes
}

// weight is what ids take, in bytes.
func weight(ids []int64) int { return 8 * len(ids) }

// rest is what is known of those who are not among the latest that a user follows: of
// whom it was asked. It is safe for concurrent use.
type rest struct {
	mu    sync.Mutex
	known map[int64]bool
}

// unknown returns those of the users of whom it is not known, nor whether they are
// among the latest.
func (f follows) unknown(users []int64) (unknown []int64) {
	if f.rest == nil {
		return nil
	}
	f.rest.mu.Lock()
	defer f.rest.mu.Unlock()
	for _, user := range users {
		if _, known := f.rest.known[user]; !known && !f.latestHas(user) {
			unknown = append(unknown, user)
		}
	}
	return unknown
}

// learn notes which of the users are followed, until enough is known. Nothing is
// forgotten: who found somebody known relies on it.
func (r *rest) learn(users, followed []int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) >= maxKnown {
		return
	}
	for _, user := range users {
		_, r.known[user] = slices.BinarySearch(followed, user)
	}
}

// among returns those of the users who are followed, in their order: whom it knows of,
// and those told, which are sorted.
func (f follows) among(users, told []int64) (followed []int64) {
	if f.rest != nil {
		f.rest.mu.Lock()
		defer f.rest.mu.Unlock()
	}
	for _, user := range users {
		is := f.latestHas(user)
		if f.rest != nil && !is {
			_, is = slices.BinarySearch(told, user)
			is = is || f.rest.known[user]
		}
		if is {
			followed = append(followed, user)
		}
	}
	return followed
}

func (f follows) latestHas(user int64) bool {
	_, found := slices.BinarySearch(f.ids, user)
	return found
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
	told, err := s.learn(ctx, asked, sets)
	if err != nil {
		return nil, err
	}
	answers := make([]*pb.FlagsResponse_Viewer, len(asked))
	for i, viewer := range asked {
		answers[i] = &pb.FlagsResponse_Viewer{UserIds: sets[i].among(viewer.UserIds, told[viewer.Id])}
	}
	return answers, nil
}

// learn reads what the sets do not know of the users asked about: it returns whom of
// them the viewers follow, sorted.
func (s *Server) learn(ctx context.Context, asked []*pb.FlagsRequest_Viewer, sets []follows) (map[int64][]int64, error) {
	var unknown []wanted
	var of []*rest
	for i, viewer := range asked {
		if users := sets[i].unknown(viewer.UserIds); len(users) > 0 {
			unknown, of = append(unknown, wanted{viewer.Id, users}), append(of, sets[i].rest)
		}
	}
	told, err := s.store.followed(ctx, unknown)
	if err != nil {
		return nil, err
	}
	for _, followed := range told {
		slices.Sort(followed)
	}
	for i, w := range unknown {
		of[i].learn(w.users, told[w.viewer])
	}
	return told, nil
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
	found, err := s.store.follows(ctx, usersOf(of), maxList+1)
	if err != nil {
		return nil, err
	}
	ofUser := make(map[int64]follows, len(found))
	for user, latest := range found {
		var set follows
		if len(latest) > maxList {
			latest, set.rest = latest[:maxList], &rest{known: map[int64]bool{}}
		}
		set.latest, set.ids = slices.Clip(latest), slices.Clone(latest)
		slices.Sort(set.ids)
		ofUser[user] = set
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
