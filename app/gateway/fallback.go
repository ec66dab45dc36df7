package gateway

import (
	"context"
	"log/slog"
	"maps"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"google.golang.org/protobuf/proto"

	"backbeat/proto/comment"
	"backbeat/proto/entity"
	"backbeat/proto/favorite"
	"backbeat/proto/message"
	"backbeat/proto/relation"
	"backbeat/proto/user"
	"backbeat/proto/video"
)

// maxKnown bounds each kind of last known value, in entries.
const maxKnown = 20_000

// lastKnown holds values that a service once told, the recently used ones. What
// it does not know is the zero value, so zero values take no room.
type lastKnown[K, V comparable] struct{ values *otter.Cache[K, V] }

func newLastKnown[K, V comparable]() lastKnown[K, V] {
	return lastKnown[K, V]{otter.Must(&otter.Options[K, V]{MaximumSize: maxKnown})}
}

// set keeps a value. Most are known already, and reading is the cheaper part.
func (k lastKnown[K, V]) set(key K, value V) {
	var zero V
	old, _ := k.values.GetIfPresent(key)
	switch {
	case old == value:
	case value == zero:
		k.values.Invalidate(key)
	default:
		k.values.Set(key, value)
	}
}

func (k lastKnown[K, V]) get(key K) V {
	value, _ := k.values.GetIfPresent(key)
	return value
}

// profile is an entity.User as a comparable value.
type profile struct{ name, avatar, background, signature string }

// total is a favorite.UserStat, pair the counts of a relation.UserStat.
type total struct{ received, given int64 }
type pair struct{ follows, followers int64 }

// marks are what one viewer was last told to like or follow, in any order, of what
// they looked at. They are replaced, never changed.
type marks map[int64]struct{}

// maxMarks bounds those kept of a viewer, allMarks those of all viewers.
const (
	maxMarks = 500
	allMarks = 10 * maxKnown
)

// lastMarks holds marks of viewers who looked at something recently.
type lastMarks struct{ viewers *otter.Cache[int64, marks] }

func newLastMarks() lastMarks {
	return lastMarks{otter.Must(&otter.Options[int64, marks]{
		MaximumWeight: allMarks,
		Weigher:       func(_ int64, m marks) uint32 { return uint32(len(m) + 1) },
	})}
}

// learn keeps for each id asked about whether it is among the set ones, which are in
// the same order. Mostly that is known already, and costs no more than looking.
func (l lastMarks) learn(viewer int64, asked, set []int64) {
	known, _ := l.viewers.GetIfPresent(viewer)
	var changed marks
	for _, id := range asked {
		is := len(set) > 0 && set[0] == id
		if is {
			set = set[1:]
		}
		if _, was := known[id]; was == is {
			continue
		}
		if changed == nil {
			changed = make(marks, len(known)+len(set)+1)
			maps.Copy(changed, known)
		}
		if is {
			changed[id] = struct{}{}
		} else {
			delete(changed, id)
		}
	}
	if changed == nil {
		return
	}
	for id := range changed { // some of them have to go
		if len(changed) <= maxMarks {
			break
		}
		delete(changed, id)
	}
	l.viewers.Set(viewer, changed)
}

// recall returns those of the ids that are marked.
func (l lastMarks) recall(viewer int64, asked []int64) []int64 {
	known, _ := l.viewers.GetIfPresent(viewer)
	var set []int64
	for _, id := range asked {
		if _, is := known[id]; is {
			set = append(set, id)
		}
	}
	return set
}

// memory is what joined parts of pages are made of while their service is away:
// the last known values, then zero values.
type memory struct {
	profiles   lastKnown[int64, profile]
	works      lastKnown[int64, int64]
	videoLikes lastKnown[int64, int64]
	liked      lastMarks
	userLikes  lastKnown[int64, total]
	comments   lastKnown[int64, int64]
	follows    lastKnown[int64, pair]
	followed   lastMarks
}

func newMemory() *memory {
	return &memory{
		profiles:   newLastKnown[int64, profile](),
		works:      newLastKnown[int64, int64](),
		videoLikes: newLastKnown[int64, int64](),
		liked:      newLastMarks(),
		userLikes:  newLastKnown[int64, total](),
		comments:   newLastKnown[int64, int64](),
		follows:    newLastKnown[int64, pair](),
		followed:   newLastMarks(),
	}
}

func (m *memory) learnUsers(_ context.Context, _ *user.BatchGetRequest, resp *user.BatchGetResponse) {
	for _, u := range resp.GetUsers() {
		m.profiles.set(u.GetId(), profile{u.GetName(), u.GetAvatar(), u.GetBackgroundImage(), u.GetSignature()})
	}
}

// recallUsers answers for everybody asked for: whether somebody unknown exists
// can't be told now, and a page without its authors would be empty.
func (m *memory) recallUsers(_ context.Context, req *user.BatchGetRequest) *user.BatchGetResponse {
	resp := &user.BatchGetResponse{}
	for _, id := range req.GetIds() {
		p := m.profiles.get(id)
		if p.name == "" {
			p.name = "用户" + strconv.FormatInt(id, 10)
		}
		resp.Users = append(resp.Users, &entity.User{
			Id: id, Name: p.name, Avatar: p.avatar, BackgroundImage: p.background, Signature: p.signature,
		})
	}
	return resp
}

// knowsUser reports whether the user service has shown this user before. Nobody
// is ever removed.
func (m *memory) knowsUser(id int64) bool { return m.profiles.get(id) != (profile{}) }

func (m *memory) learnWorks(_ context.Context, _ *video.WorkCountsRequest, resp *video.WorkCountsResponse) {
	for id, n := range resp.GetWorkCounts() {
		m.works.set(id, n)
	}
}

func (m *memory) recallWorks(_ context.Context, req *video.WorkCountsRequest) *video.WorkCountsResponse {
	resp := &video.WorkCountsResponse{WorkCounts: map[int64]int64{}}
	for _, id := range req.GetUserIds() {
		resp.WorkCounts[id] = m.works.get(id)
	}
	return resp
}

func (m *memory) learnLikes(_ context.Context, _ *favorite.StatsRequest, resp *favorite.StatsResponse) {
	for id, stat := range resp.GetVideos() {
		m.videoLikes.set(id, stat.GetFavoriteCount())
	}
	for id, stat := range resp.GetUsers() {
		m.userLikes.set(id, total{stat.GetTotalFavorited(), stat.GetFavoriteCount()})
	}
}

func (m *memory) recallLikes(_ context.Context, req *favorite.StatsRequest) *favorite.StatsResponse {
	resp := &favorite.StatsResponse{Videos: map[int64]*favorite.VideoStat{}, Users: map[int64]*favorite.UserStat{}}
	for _, id := range req.GetVideoIds() {
		resp.Videos[id] = &favorite.VideoStat{FavoriteCount: m.videoLikes.get(id)}
	}
	for _, id := range req.GetUserIds() {
		t := m.userLikes.get(id)
		resp.Users[id] = &favorite.UserStat{TotalFavorited: t.received, FavoriteCount: t.given}
	}
	return resp
}

func (m *memory) learnComments(_ context.Context, _ *comment.CountsRequest, resp *comment.CountsResponse) {
	for id, n := range resp.GetCounts() {
		m.comments.set(id, n)
	}
}

func (m *memory) recallComments(_ context.Context, req *comment.CountsRequest) *comment.CountsResponse {
	resp := &comment.CountsResponse{Counts: map[int64]int64{}}
	for _, id := range req.GetVideoIds() {
		resp.Counts[id] = m.comments.get(id)
	}
	return resp
}

func (m *memory) learnFollows(_ context.Context, _ *relation.StatsRequest, resp *relation.StatsResponse) {
	for id, stat := range resp.GetUsers() {
		m.follows.set(id, pair{stat.GetFollowCount(), stat.GetFollowerCount()})
	}
}

func (m *memory) recallFollows(_ context.Context, req *relation.StatsRequest) *relation.StatsResponse {
	resp := &relation.StatsResponse{Users: map[int64]*relation.UserStat{}}
	for _, id := range req.GetUserIds() {
		p := m.follows.get(id)
		resp.Users[id] = &relation.UserStat{FollowCount: p.follows, FollowerCount: p.followers}
	}
	return resp
}

func (m *memory) learnLiked(_ context.Context, req *favorite.FlagsRequest, resp *favorite.FlagsResponse) {
	for i, told := range resp.GetViewers() {
		viewer := req.GetViewers()[i]
		m.liked.learn(viewer.GetId(), viewer.GetVideoIds(), told.GetVideoIds())
	}
}

func (m *memory) recallLiked(_ context.Context, req *favorite.FlagsRequest) *favorite.FlagsResponse {
	resp := &favorite.FlagsResponse{}
	for _, viewer := range req.GetViewers() {
		liked := m.liked.recall(viewer.GetId(), viewer.GetVideoIds())
		resp.Viewers = append(resp.Viewers, &favorite.FlagsResponse_Viewer{VideoIds: liked})
	}
	return resp
}

func (m *memory) learnFollowed(_ context.Context, req *relation.FlagsRequest, resp *relation.FlagsResponse) {
	for i, told := range resp.GetViewers() {
		viewer := req.GetViewers()[i]
		m.followed.learn(viewer.GetId(), viewer.GetUserIds(), told.GetUserIds())
	}
}

func (m *memory) recallFollowed(_ context.Context, req *relation.FlagsRequest) *relation.FlagsResponse {
	resp := &relation.FlagsResponse{}
	for _, viewer := range req.GetViewers() {
		followed := m.followed.recall(viewer.GetId(), viewer.GetUserIds())
		resp.Viewers = append(resp.Viewers, &relation.FlagsResponse_Viewer{UserIds: followed})
	}
	return resp
}

// noLatest shows friends without their last messages.
func noLatest(context.Context, *message.LatestRequest) *message.LatestResponse {
	return &message.LatestResponse{}
}

// Cache is shared by all gateways. Get returns nil for a miss.
type Cache interface {
	Get(ctx context.Context, keys ...string) ([][]byte, error)
	Set(ctx context.Context, ttl time.Duration, entries map[string][]byte) error
}

const (
	// pageKey and pageTTL are those of the last good first page in the cache.
	pageKey = "gateway:feed"
	pageTTL = 24 * time.Hour
	// pageInterval bounds how often a gateway stores its page there.
	pageInterval = 5 * time.Second
)

// heldPage is the fallback feed: the last first page that the video service gave,
// here and in the cache, for a gateway that starts while the service is away.
type heldPage struct {
	cache Cache
	now   func() time.Time
	log   *slog.Logger
	page  atomic.Pointer[video.FeedResponse]
	// stored is when the page went into the cache, in Unix nanoseconds.
	stored atomic.Int64
}

// learn keeps a first page that has videos; an empty one is no help.
func (h *heldPage) learn(ctx context.Context, req *video.FeedRequest, resp *video.FeedResponse) {
	now := h.now()
	first := req.GetBefore() == 0 || req.GetBefore() >= now.UnixMilli()
	if !first || len(resp.GetVideos()) == 0 {
		return
	}
	h.page.Store(resp)
	stored := h.stored.Load()
	if now.UnixNano()-stored < int64(pageInterval) || !h.stored.CompareAndSwap(stored, now.UnixNano()) {
		return
	}
	body, err := proto.Marshal(resp)
	if err == nil {
		err = h.cache.Set(ctx, pageTTL, map[string][]byte{pageKey: body})
	}
	if err != nil {
		h.log.WarnContext(ctx, "the fallback feed could not be stored", "error", err)
	}
}

// recall returns the page for a first request. For an older cursor it has only
// the videos older than that: page one again would be endless.
func (h *heldPage) recall(ctx context.Context, req *video.FeedRequest) *video.FeedResponse {
	page := h.page.Load()
	if page == nil {
		page = h.fetch(ctx)
	}
	if page == nil {
		return nil
	}
	older := page.GetVideos()
	for before := req.GetBefore(); before != 0 && len(older) > 0 && older[0].GetPublishedAt() >= before; {
		older = older[1:]
	}
	return &video.FeedResponse{Videos: older[:min(len(older), int(req.GetLimit()))]}
}

// fetch takes the page over from another gateway, or from an earlier life.
func (h *heldPage) fetch(ctx context.Context) *video.FeedResponse {
	found, err := h.cache.Get(ctx, pageKey)
	page := &video.FeedResponse{}
	if err == nil && found[0] != nil {
		err = proto.Unmarshal(found[0], page)
	}
	if err != nil {
		h.log.WarnContext(ctx, "the fallback feed could not be read", "error", err)
	}
	if err != nil || len(page.GetVideos()) == 0 {
		return nil
	}
	h.page.CompareAndSwap(nil, page)
	return page
}
