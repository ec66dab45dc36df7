package gateway

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"backbeat/proto/comment"
	"backbeat/proto/entity"
	"backbeat/proto/favorite"
	"backbeat/proto/video"
)

// movingWorld is a world whose clock the test moves.
func movingWorld(t testing.TB) (*world, *atomic.Int64) {
	t.Helper()
	var passed atomic.Int64
	w := newWorld(t, func(_ *Config, deps *Deps) {
		deps.Now = func() time.Time { return clock.Add(time.Duration(passed.Load())) }
	})
	return w, &passed
}

func TestFirstPageIsMadeOnceForAll(t *testing.T) {
	w, passed := movingWorld(t)
	first := w.ask(t, "GET", "/douyin/feed/", 0)
	if first.code() != 0 || len(first.list("video_list")) != 1 {
		t.Fatalf("got %s", first.raw)
	}
	made := w.services.count("")
	for _, latest := range []string{"", "0", "nonsense", strconv.FormatInt(clock.UnixMilli(), 10), strconv.FormatInt(clock.Unix(), 10)} {
		if again := w.ask(t, "GET", "/douyin/feed", 0, "latest_time", latest); again.raw != first.raw {
			t.Errorf("latest_time=%q: got %s", latest, again.raw)
		}
	}
	if calls := w.services.count(""); calls != made {
		t.Errorf("%d calls for what was held", calls-made)
	}
	passed.Store(int64(w.cfg.Cache.Counts))
	w.ask(t, "GET", "/douyin/feed/", 0)
	if calls := w.services.count("video.Feed"); calls != 2 {
		t.Errorf("after its life the page was made %d times", calls)
	}
}

// Counts that a profile shows still are too old for a page, which will be held.
func TestAPageIsMadeOfYoungCounts(t *testing.T) {
	w, passed := movingWorld(t)
	w.ask(t, "GET", "/douyin/feed/", 0)
	made := w.services.count("favorite.Stats")
	passed.Store(int64(w.cfg.Cache.Counts - w.cfg.Cache.Pages))
	w.ask(t, "GET", "/douyin/user/", bob, "user_id", strconv.Itoa(alice))
	if calls := w.services.count("favorite.Stats") - made; calls != 0 {
		t.Errorf("a profile asked %d times for what is held", calls)
	}
	w.ask(t, "GET", "/douyin/feed/", 0, "latest_time", strconv.FormatInt(clock.UnixMilli()-1, 10))
	if calls := w.services.count("favorite.Stats") - made; calls != 1 {
		t.Errorf("another page asked %d times for counts, want once", calls)
	}
}

func TestOtherPagesAreNotTheFirst(t *testing.T) {
	w, _ := movingWorld(t)
	w.ask(t, "GET", "/douyin/feed/", 0)
	for _, row := range []struct {
		name   string
		viewer int64
		latest string
	}{
		{"a cursor long ago", 0, strconv.FormatInt(publishedAt-1, 10)},
		{"the newest's own time", 0, strconv.FormatInt(publishedAt, 10)},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := w.services.count("video.Feed")
			w.ask(t, "GET", "/douyin/feed/", row.viewer, "latest_time", row.latest)
			if w.services.count("video.Feed") != before+1 {
				t.Error("the held page was taken for it")
			}
		})
	}
}

// A cursor just before the newest video must not get it.
func TestFirstPageKeepsToTheCursor(t *testing.T) {
	w, _ := movingWorld(t)
	newest := clock.Add(-time.Minute).UnixMilli()
	on(w.services, "video.Feed", func(_ context.Context, req *video.FeedRequest) (*video.FeedResponse, error) {
		resp := &video.FeedResponse{}
		if req.Before == 0 || req.Before > newest {
			resp.Videos = append(resp.Videos, &entity.Video{Id: published, AuthorId: alice, State: entity.Video_PUBLISHED, PublishedAt: newest})
		}
		return resp, nil
	})
	for _, row := range []struct {
		latest int64
		want   int
	}{{0, 1}, {newest + 1, 1}, {newest, 0}, {newest - 1, 0}} {
		answer := w.ask(t, "GET", "/douyin/feed/", 0, "latest_time", strconv.FormatInt(row.latest, 10))
		if got := len(answer.list("video_list")); got != row.want {
			t.Errorf("before %d: %d videos, want %d", row.latest, got, row.want)
		}
	}
}

// A degraded page is for all who want it in the moment, as a whole one is, or those who
// are well would be asked for each of them. Afterwards it is made anew.
func TestDegradedPageIsHeldBriefly(t *testing.T) {
	w, passed := movingWorld(t)
	w.held.feeds.SetLife(time.Minute)
	w.services.down("comment.")
	sees := func(missing string, made int) {
		t.Helper()
		answer := w.ask(t, "GET", "/douyin/feed/", 0)
		if got := answer.header.Get("Backbeat-Degraded"); got != missing || len(answer.list("video_list")) != 1 {
			t.Errorf("degraded %q, want %q: %s", got, missing, answer.raw)
		}
		if calls := w.services.count("video.Feed"); calls != made {
			t.Errorf("the page was made %d times, want %d", calls, made)
		}
	}
	sees("comment", 1)
	sees("comment", 1)
	passed.Add(int64(time.Second))
	sees("comment", 2)
	on(w.services, "comment.Counts", func(context.Context, *comment.CountsRequest) (*comment.CountsResponse, error) {
		return &comment.CountsResponse{}, nil
	})
	passed.Add(int64(time.Second))
	sees("", 3)
	passed.Add(int64(time.Second))
	sees("", 3)
}

// Who does not wait for a page that takes long has one made of the same videos.
func TestASlowPageAsksForItsVideosOnce(t *testing.T) {
	w, _ := movingWorld(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	on(w.services, "comment.Counts", func(context.Context, *comment.CountsRequest) (*comment.CountsResponse, error) {
		entered <- struct{}{}
		<-leave
		return &comment.CountsResponse{}, nil
	})
	var askers sync.WaitGroup
	for range 3 {
		askers.Go(func() {
			if got := w.ask(t, "GET", "/douyin/feed/", 0); len(got.list("video_list")) != 1 {
				t.Error(got.raw)
			}
		})
		<-entered
	}
	close(leave)
	askers.Wait()
	if calls := w.services.count("video.Feed"); calls != 1 {
		t.Errorf("three pages asked %d times for their videos", calls)
	}
}

// While one who counts is away, the others are asked no more often for that.
func TestCountsOfThoseWhoAreWellAreHeld(t *testing.T) {
	w, passed := movingWorld(t)
	w.services.down("favorite.")
	for range 2 {
		got := w.ask(t, http.MethodGet, "/douyin/user/", bob, "user_id", strconv.Itoa(alice))
		if got.code() != 0 || got.header.Get("Backbeat-Degraded") != "favorite" {
			t.Errorf("degraded %q: %s", got.header.Get("Backbeat-Degraded"), got.raw)
		}
	}
	if calls := w.services.count("relation.Stats"); calls != 1 {
		t.Errorf("relation was asked %d times for its counts", calls)
	}
	passed.Add(int64(time.Second))
	w.services.forget()
	w.ask(t, http.MethodGet, "/douyin/user/", bob, "user_id", strconv.Itoa(alice))
	if w.services.count("favorite.Stats") == 0 {
		t.Error("who is away was not asked again")
	}
}

// Each base has its own page.
func TestPagesOfEachBase(t *testing.T) {
	w, _ := movingWorld(t)
	for range 2 {
		for i := range 3 {
			host := fmt.Sprintf("host%d.test", i)
			request := httptest.NewRequest(http.MethodGet, "http://"+host+"/douyin/feed/", nil)
			answer := w.do(t, request)
			want := "http://" + host + "/media/video/aa/bear.mp4"
			if got := answer.list("video_list")[0]["play_url"]; got != want {
				t.Fatalf("got %v, want %s", got, want)
			}
		}
	}
}

// A page is one for all but for its flags, which are the viewer's at once.
func TestHeldPageHasTheViewersFlags(t *testing.T) {
	w, _ := movingWorld(t)
	feedOf(w, times(30)...)
	liked := map[int64]bool{times(30)[7]: true}
	on(w.services, "favorite.Flags", func(_ context.Context, req *favorite.FlagsRequest) (*favorite.FlagsResponse, error) {
		resp := &favorite.FlagsResponse{}
		for _, viewer := range req.Viewers {
			told := &favorite.FlagsResponse_Viewer{}
			for _, id := range viewer.VideoIds {
				if liked[id] && viewer.Id == bob {
					told.VideoIds = append(told.VideoIds, id)
				}
			}
			resp.Viewers = append(resp.Viewers, told)
		}
		return resp, nil
	})
	sees := func(viewer int64, follows bool) {
		t.Helper()
		got := w.ask(t, "GET", "/douyin/feed/", viewer)
		for i, v := range got.list("video_list") {
			if id := times(30)[i]; v["is_favorite"] != (viewer == bob && liked[id]) || v["author"].(map[string]any)["is_follow"] != follows {
				t.Errorf("viewer %d, video %d: %v", viewer, i, v)
			}
		}
	}
	sees(bob, true)
	sees(carol, true)
	sees(0, false)
	sees(alice, false) // herself
	liked[times(30)[8]] = true
	sees(bob, true)
	if made := w.services.count("video.Feed"); made != 1 {
		t.Errorf("the page was made %d times", made)
	}
}

func TestFirstPageUnderManyReaders(t *testing.T) {
	w, passed := movingWorld(t)
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for range 50 {
				if answer := w.ask(t, "GET", "/douyin/feed/", 0); answer.code() != 0 {
					t.Error(answer.raw)
				}
				passed.Add(int64(time.Millisecond))
			}
		})
	}
	group.Wait()
	// 800 ms of the clock pass, four lives; a slow machine makes some pages twice.
	if calls := w.services.count("video.Feed"); calls > 12 {
		t.Errorf("the page was made %d times", calls)
	}
}

func BenchmarkAnonymousFeed(b *testing.B) {
	w, _ := movingWorld(b)
	handler := w.Handler()
	request := httptest.NewRequest(http.MethodGet, "http://phone.test:8080/douyin/feed/", nil)
	b.ReportAllocs()
	for b.Loop() {
		handler.ServeHTTP(httptest.NewRecorder(), request)
	}
}

// A page that has waited for a sick service is not made to wait for it again.
func TestAMissingPartIsAskedOnce(t *testing.T) {
	w := newWorld(t)
	w.services.down("favorite.")
	for range 3 {
		w.services.forget()
		got := w.ask(t, http.MethodGet, "/douyin/feed/", bob)
		if got.code() != 0 || got.header.Get("Backbeat-Degraded") != "favorite" {
			t.Fatalf("degraded %q: %s", got.header.Get("Backbeat-Degraded"), got.raw)
		}
		if n := w.services.count("favorite.Flags"); n != 0 {
			t.Errorf("%d more calls after a part was missing", n)
		}
	}
}
