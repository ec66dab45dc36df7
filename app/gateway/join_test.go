package gateway

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opentracing/opentracing-go"

	"backbeat/app/batch"
	"backbeat/app/errs"
	"backbeat/proto/comment"
	"backbeat/proto/entity"
	"backbeat/proto/favorite"
	"backbeat/proto/user"
	"backbeat/proto/video"
)

func TestWarmRequestsCostFewCalls(t *testing.T) {
	for _, row := range []struct {
		name, method, path string
		viewer             int64
		pairs              []string
		cold, warm         []string
	}{
		{"feed, anonymous", "GET", "/douyin/feed/", 0, nil,
			[]string{"comment.Counts", "favorite.Stats", "relation.Stats", "user.BatchGet", "video.Feed", "video.WorkCounts"}, nil},
		{"feed, signed in", "GET", "/douyin/feed/", bob, nil,
			[]string{"comment.Counts", "favorite.Flags", "favorite.Stats", "relation.Flags", "relation.Stats", "user.BatchGet", "video.Feed", "video.WorkCounts"},
			[]string{"favorite.Flags", "relation.Flags"}},
		{"profile", "GET", "/douyin/user/", bob, []string{"user_id", "101"},
			[]string{"favorite.Stats", "relation.Flags", "relation.Stats", "user.BatchGet", "video.WorkCounts"}, []string{"relation.Flags"}},
		{"own profile", "GET", "/douyin/user/", bob, nil,
			[]string{"favorite.Stats", "relation.Stats", "user.BatchGet", "video.WorkCounts", "video.WorkCounts"}, []string{"video.WorkCounts"}},
		{"followers", "GET", "/douyin/relation/follower/list/", bob, nil,
			[]string{"favorite.Stats", "relation.Followers", "relation.Stats", "user.BatchGet", "video.WorkCounts"}, []string{"relation.Followers"}},
		{"comments", "GET", "/douyin/comment/list/", carol, []string{"video_id", "501"},
			[]string{"comment.List", "favorite.Stats", "relation.Flags", "relation.Stats", "user.BatchGet", "video.BatchGet", "video.WorkCounts"},
			[]string{"comment.Versions", "relation.Flags"}},
		{"comment", "POST", "/douyin/comment/action/", bob, []string{"video_id", "501", "action_type", "1", "comment_text", "x"},
			[]string{"comment.Add", "favorite.Stats", "relation.Stats", "user.BatchGet", "video.BatchGet", "video.WorkCounts"}, []string{"comment.Add"}},
		{"like", "POST", "/douyin/favorite/action/", bob, []string{"video_id", "501", "action_type", "1"},
			[]string{"favorite.Act", "video.BatchGet"}, []string{"favorite.Act"}},
		{"chat poll", "GET", "/douyin/message/chat/", bob, []string{"to_user_id", "101", "pre_msg_time", "1772600767000"},
			[]string{"message.Newer", "user.BatchGet"}, []string{"message.Newer"}},
		{"chat poll with news", "GET", "/douyin/message/chat/", bob, []string{"to_user_id", "101", "pre_msg_time", "1"},
			[]string{"message.Chat", "message.Newer", "user.BatchGet"}, []string{"message.Chat", "message.Newer"}},
		{"message", "POST", "/douyin/message/action/", bob, []string{"to_user_id", "101", "action_type", "1", "content", "x"},
			[]string{"message.Send", "user.BatchGet"}, []string{"message.Send"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			for _, want := range [][]string{row.cold, row.warm} {
				w.services.forget()
				if got := w.ask(t, row.method, row.path, row.viewer, row.pairs...); got.code() != 0 {
					t.Fatal(got.raw)
				}
				if called := w.services.called(); !slices.Equal(called, want) {
					t.Errorf("called %v, want %v", called, want)
				}
			}
		})
	}
}

// With one service dead a page has its last known values, or none, and the rest
// of it is as ever.
func TestEachPartDegradesByItself(t *testing.T) {
	healthy := map[string]any{"name": "alice", "favorite_count": 4.0, "is_favorite": true, "comment_count": 7.0, "follower_count": 9.0, "total_favorited": 5.0}
	tests := map[string]struct {
		down    string
		unknown map[string]any // values that differ when nothing was known before
	}{
		"user":     {"user.", map[string]any{"name": "用户101"}},
		"favorite": {"favorite.", map[string]any{"favorite_count": 0.0, "is_favorite": false, "total_favorited": 0.0}},
		"comment":  {"comment.", map[string]any{"comment_count": 0.0}},
		"relation": {"relation.", map[string]any{"follower_count": 0.0}},
	}
	for part, tt := range tests {
		for _, warm := range []bool{true, false} {
			t.Run(part+" known before "+strconv.FormatBool(warm), func(t *testing.T) {
				w, passed := movingWorld(t)
				want := map[string]any{}
				for key, value := range healthy {
					want[key] = value
				}
				if warm {
					w.ask(t, http.MethodGet, "/douyin/feed/", bob)
				} else {
					for key, value := range tt.unknown {
						want[key] = value
					}
				}
				passed.Store(int64(w.cfg.Cache.Cards))
				w.services.down(tt.down)
				got := w.ask(t, http.MethodGet, "/douyin/feed/", bob)
				if got.code() != 0 || got.header.Get("Backbeat-Degraded") != part {
					t.Fatalf("degraded %q: %s", got.header.Get("Backbeat-Degraded"), got.raw)
				}
				videos := got.list("video_list")
				if len(videos) != 1 {
					t.Fatalf("%d videos: %s", len(videos), got.raw)
				}
				author := videos[0]["author"].(map[string]any)
				for key, value := range want {
					shown, ofVideo := videos[0][key]
					if !ofVideo {
						shown = author[key]
					}
					if shown != value {
						t.Errorf("%s is %v, want %v", key, shown, value)
					}
				}
			})
		}
	}
}

// What one viewer was told is nobody else's last known value.
func TestLastKnownFlagsAreTheViewersOwn(t *testing.T) {
	w, passed := movingWorld(t)
	w.ask(t, http.MethodGet, "/douyin/feed/", bob)
	passed.Store(int64(time.Second))
	w.services.down("favorite.")
	w.services.down("relation.")
	for viewer, want := range map[int64]bool{bob: true, carol: false, 0: false} {
		got := w.ask(t, http.MethodGet, "/douyin/feed/", viewer)
		shown := got.list("video_list")[0]
		if shown["is_favorite"] != want || shown["author"].(map[string]any)["is_follow"] != want {
			t.Errorf("viewer %d: %s", viewer, got.raw)
		}
		if got.header.Get("Backbeat-Degraded") != "favorite, relation" {
			t.Errorf("degraded is %q", got.header.Get("Backbeat-Degraded"))
		}
	}
}

// A count that went back to zero is known to be zero.
func TestLastKnownValuesFollowTheService(t *testing.T) {
	k := newLastKnown[int64, int64]()
	for _, value := range []int64{3, 3, 0, 5} {
		k.set(1, value)
		if got := k.get(1); got != value {
			t.Errorf("after %d it knows %d", value, got)
		}
	}
}

func TestUsersWhoDoNotExistAreLeftOut(t *testing.T) {
	w := newWorld(t)
	following := w.ask(t, http.MethodGet, "/douyin/relation/follow/list/", bob)
	if users := following.list("user_list"); len(users) != 2 || users[0]["id"] != float64(carol) || users[1]["id"] != float64(bob) {
		t.Errorf("follow list: %s", following.raw)
	}
	comments := w.ask(t, http.MethodGet, "/douyin/comment/list/", 0, "video_id", "501")
	if list := comments.list("comment_list"); len(list) != 1 || list[0]["content"] != "好看" {
		t.Errorf("comments: %s", comments.raw)
	}
	on(w.services, "user.BatchGet", func(context.Context, *user.BatchGetRequest) (*user.BatchGetResponse, error) {
		return &user.BatchGetResponse{}, nil
	})
	feed := w.ask(t, http.MethodGet, "/douyin/feed/", bob)
	if len(feed.list("video_list")) != 0 || feed.body["next_time"] != float64(publishedAt) {
		t.Errorf("feed of a vanished author: %s", feed.raw)
	}
}

// Batches carry at most 500 ids, the list keeps its order and loses nobody.
func TestLongListsAreSplit(t *testing.T) {
	w := newWorld(t)
	const n = 2*batch.Max + 1
	var liked []int64
	for id := range int64(n) {
		liked = append(liked, 10_000-id)
	}
	var mu sync.Mutex
	largest := 0
	seen := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		largest = max(largest, n)
	}
	on(w.services, "favorite.ListLiked", func(context.Context, *favorite.ListLikedRequest) (*favorite.ListLikedResponse, error) {
		return &favorite.ListLikedResponse{VideoIds: liked}, nil
	})
	on(w.services, "video.BatchGet", func(_ context.Context, req *video.BatchGetRequest) (*video.BatchGetResponse, error) {
		seen(len(req.Ids))
		resp := &video.BatchGetResponse{}
		for _, id := range req.Ids {
			resp.Videos = append(resp.Videos, &entity.Video{Id: id, AuthorId: id + 50_000, State: entity.Video_PUBLISHED, PlayKey: "v/a.mp4"})
		}
		return resp, nil
	})
	on(w.services, "user.BatchGet", func(_ context.Context, req *user.BatchGetRequest) (*user.BatchGetResponse, error) {
		seen(len(req.Ids))
		resp := &user.BatchGetResponse{}
		for _, id := range req.Ids {
			resp.Users = append(resp.Users, &entity.User{Id: id, Name: "n"})
		}
		return resp, nil
	})
	on(w.services, "comment.Counts", func(_ context.Context, req *comment.CountsRequest) (*comment.CountsResponse, error) {
		seen(len(req.VideoIds))
		resp := &comment.CountsResponse{Counts: map[int64]int64{}}
		for _, id := range req.VideoIds {
			resp.Counts[id] = id
		}
		return resp, nil
	})
	on(w.services, "video.WorkCounts", func(_ context.Context, req *video.WorkCountsRequest) (*video.WorkCountsResponse, error) {
		seen(len(req.UserIds))
		resp := &video.WorkCountsResponse{WorkCounts: map[int64]int64{}}
		for _, id := range req.UserIds {
			resp.WorkCounts[id] = 2
		}
		return resp, nil
	})
	got := w.ask(t, http.MethodGet, "/douyin/favorite/list/", bob)
	list := got.list("video_list")
	if len(list) != n || largest != batch.Max {
		t.Fatalf("%d videos, batches of %d", len(list), largest)
	}
	for i, v := range list {
		author := v["author"].(map[string]any)
		id := float64(liked[i])
		if v["id"] != id || v["comment_count"] != id || v["favorite_count"] != 4.0 ||
			author["id"] != id+50_000 || author["work_count"] != 2.0 || author["total_favorited"] != 5.0 {
			t.Fatalf("video %d is %v", i, v)
		}
	}
	if calls := w.services.count("favorite.Stats"); calls != 3 {
		t.Errorf("%d calls of favorite.Stats, want 3 for videos and authors together", calls)
	}
}

func TestFlagsAndCountsOfAnAnonymousFeed(t *testing.T) {
	w := newWorld(t)
	got := w.ask(t, http.MethodGet, "/douyin/feed/", 0).list("video_list")[0]
	author := got["author"].(map[string]any)
	if got["is_favorite"] != false || author["is_follow"] != false || got["favorite_count"] != 4.0 || author["work_count"] != 1.0 {
		t.Errorf("shown: %v", got)
	}
}

func TestTogetherRaisesAPanicOnce(t *testing.T) {
	defer func() {
		if p := recover(); p == nil || !strings.Contains(p.(string), "oops") {
			t.Errorf("recovered %v", p)
		}
	}()
	_ = together(func() error { panic("oops") }, func() error { return nil })
	t.Error("no panic")
}

// feedOf answers video.Feed as the video service does.
func feedOf(w *world, times ...int64) {
	on(w.services, "video.Feed", func(_ context.Context, req *video.FeedRequest) (*video.FeedResponse, error) {
		resp := &video.FeedResponse{}
		for _, at := range times {
			if (req.Before == 0 || at < req.Before) && len(resp.Videos) < int(req.Limit) {
				resp.Videos = append(resp.Videos, &entity.Video{
					Id: at, AuthorId: alice, Title: "t", PlayKey: "v/a.mp4", CoverKey: "c/a.jpg", State: entity.Video_PUBLISHED, PublishedAt: at,
				})
			}
		}
		return resp, nil
	})
}

// times are n published_at values, newest first.
func times(n int) []int64 {
	all := make([]int64, n)
	for i := range all {
		all[i] = publishedAt - int64(i)
	}
	return all
}

func ids(got said) []int64 {
	var ids []int64
	for _, v := range got.list("video_list") {
		ids = append(ids, int64(v["id"].(float64)))
	}
	return ids
}

func next(got said) string { return strconv.FormatInt(int64(got.body["next_time"].(float64)), 10) }

func TestFeedPaging(t *testing.T) {
	w := newWorld(t)
	all := times(70)
	feedOf(w, all...)
	var walked []int64
	cursor := "0"
	for _, size := range []int{30, 30, 10, 0} {
		got := w.ask(t, http.MethodGet, "/douyin/feed/", 0, "latest_time", cursor)
		page := ids(got)
		if len(page) != size {
			t.Fatalf("a page of %d videos, want %d", len(page), size)
		}
		walked = append(walked, page...)
		cursor = next(got)
	}
	if len(walked) != len(all) {
		t.Errorf("walked over %d of %d", len(walked), len(all))
	}
	for i := range walked {
		if walked[i] != all[i] {
			t.Fatalf("video %d is %d, want %d", i, walked[i], all[i])
		}
	}
	if cursor != strconv.FormatInt(clock.UnixMilli(), 10) {
		t.Errorf("after the last page next_time is %s, want now", cursor)
	}
}

func TestFallbackFeed(t *testing.T) {
	w, passed := movingWorld(t)
	all := times(30)
	feedOf(w, all...)
	if got := w.ask(t, http.MethodGet, "/douyin/feed/", bob); got.header.Get("Backbeat-Degraded") != "" {
		t.Fatalf("a healthy feed is degraded: %v", got.header)
	}
	w.services.down("video.Feed")
	passed.Store(int64(time.Second))
	now := strconv.FormatInt(clock.Add(time.Second).UnixMilli(), 10)
	ms := func(t int64) string { return strconv.FormatInt(t, 10) }
	tests := map[string]struct {
		latest string
		want   []int64
		next   string
	}{
		"first page":                  {"", all, ms(all[29])},
		"now":                         {now, all, ms(all[29])},
		"in the middle":               {ms(all[9]), all[10:], ms(all[29])},
		"older than all":              {ms(all[29]), nil, now},
		"much older":                  {"1000", nil, now},
		"a moment after the newest":   {ms(all[0] + 1), all, ms(all[29])},
		"at the newest, not the page": {ms(all[0]), all[1:], ms(all[29])},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := w.ask(t, http.MethodGet, "/douyin/feed/", bob, "latest_time", tt.latest)
			if got.code() != 0 || got.header.Get("Backbeat-Degraded") != "feed" {
				t.Fatalf("degraded %q: %s", got.header.Get("Backbeat-Degraded"), got.raw)
			}
			page := ids(got)
			if len(page) != len(tt.want) || len(page) > 0 && page[0] != tt.want[0] || next(got) != tt.next {
				t.Errorf("%d videos, next_time %s; want %d, %s", len(page), next(got), len(tt.want), tt.next)
			}
		})
	}
}

func TestFallbackFeedOfAGatewayThatJustStarted(t *testing.T) {
	w := newWorld(t)
	w.ask(t, http.MethodGet, "/douyin/feed/", 0)
	other := newWorld(t, func(_ *Config, d *Deps) { d.Cache = w.cache })
	other.services.down("")
	got := other.ask(t, http.MethodGet, "/douyin/feed/", 0)
	if got.code() != 0 || len(ids(got)) != 1 || got.header.Get("Backbeat-Degraded") != "comment, favorite, feed, relation, user, video" {
		t.Errorf("degraded %q: %s", got.header.Get("Backbeat-Degraded"), got.raw)
	}
	if shown := got.list("video_list")[0]; shown["play_url"] == "" || shown["author"].(map[string]any)["avatar"] == "" {
		t.Errorf("shown: %v", shown)
	}
}

// What a gateway remembers of the feed, for when the service is away, is the service's
// own: what stood in for others, or for itself, is not among it.
func TestFallbackFeedHasNoStandIns(t *testing.T) {
	w, passed := movingWorld(t)
	feedOf(w, times(2)...)
	w.services.down("favorite.")
	w.ask(t, http.MethodGet, "/douyin/feed/", 0)
	healthy := newServices()
	w.services.mu.Lock()
	w.services.handlers["favorite.Stats"] = healthy.handlers["favorite.Stats"]
	w.services.mu.Unlock()
	w.services.down("video.Feed")
	passed.Add(int64(time.Second))
	sets := w.cache.sets
	got := w.ask(t, http.MethodGet, "/douyin/feed/", 0)
	if shown := got.list("video_list"); len(shown) != 2 || shown[0]["favorite_count"] != 4.0 {
		t.Errorf("shown: %s", got.raw)
	}
	if w.cache.sets != sets {
		t.Error("a page that stood in was stored")
	}
}

func TestOlderAndEmptyPagesAreNotHeld(t *testing.T) {
	w := newWorld(t)
	all := times(3)
	feedOf(w, all...)
	w.ask(t, http.MethodGet, "/douyin/feed/", 0)
	w.ask(t, http.MethodGet, "/douyin/feed/", 0, "latest_time", strconv.FormatInt(all[1], 10))
	feedOf(w)
	w.ask(t, http.MethodGet, "/douyin/feed/", 0)
	w.services.down("video.Feed")
	if got := w.ask(t, http.MethodGet, "/douyin/feed/", 0); len(ids(got)) != 3 {
		t.Errorf("shown: %s", got.raw)
	}
	if w.cache.sets != 1 {
		t.Errorf("the page was stored %d times within the same second", w.cache.sets)
	}
}

func TestFeedWithoutAnyPageIsARefusal(t *testing.T) {
	w := newWorld(t)
	w.services.down("video.Feed")
	got := w.ask(t, http.MethodGet, "/douyin/feed/", 0)
	checkFailure(t, got, "/douyin/feed/")
	if got.code() != float64(errs.Unavailable.StatusCode()) {
		t.Errorf("answered %s", got.raw)
	}
}

func BenchmarkFeed(b *testing.B) {
	w := newWorld(b, func(_ *Config, d *Deps) { d.Log, d.Tracer = discard(), opentracing.NoopTracer{} })
	feedOf(w, times(30)...)
	r := httptest.NewRequest(http.MethodGet, "/douyin/feed/?"+w.query(b, bob), nil)
	b.ReportAllocs()
	for b.Loop() {
		rec := httptest.NewRecorder()
		w.Handler().ServeHTTP(rec, r)
		if rec.Header().Get("Backbeat-Degraded") != "" {
			b.Fatal("degraded")
		}
	}
}

func BenchmarkJoin(b *testing.B) {
	w := newWorld(b, func(_ *Config, d *Deps) { d.Log, d.Tracer = discard(), opentracing.NoopTracer{} })
	var videos []*entity.Video
	for _, at := range times(30) {
		videos = append(videos, &entity.Video{Id: at, AuthorId: alice, PlayKey: "v/a.mp4", PublishedAt: at})
	}
	q := &request{viewer: bob, missing: &parts{}, links: links{"http://h", "http://h/media"}}
	b.ReportAllocs()
	for b.Loop() {
		if views := w.videos(b.Context(), q, videos, map[int64]int64{alice: 1}); len(views) != 30 {
			b.Fatal("videos are missing")
		}
	}
}

func BenchmarkRender(b *testing.B) {
	page := &feedAnswer{envelope: success("获取视频流成功"), NextTime: publishedAt}
	for _, at := range times(30) {
		page.VideoList = append(page.VideoList, videoView{ID: at, Author: userView{ID: alice, Name: "alice", Avatar: "http://h/a.png"}, Title: "t"})
	}
	b.ReportAllocs()
	for b.Loop() {
		writeAnswer(httptest.NewRecorder(), http.StatusOK, page)
	}
}
