package gateway

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"backbeat/app/batch"
	"backbeat/app/errs"
	"backbeat/proto/comment"
	"backbeat/proto/entity"
	"backbeat/proto/relation"
)

// A page of comments is shown again only while they have its version. Without a
// word about that the comments are asked for, as for the first look.
func TestAHeldPageOfCommentsIsShownWhileItsVersionStands(t *testing.T) {
	for name, tt := range map[string]struct {
		versions []uint64
		err      error
		want     string
		called   []string
	}{
		"unchanged":      {[]uint64{1}, nil, "first", []string{"comment.Versions"}},
		"changed":        {[]uint64{2}, nil, "second", []string{"comment.List", "comment.Versions"}},
		"no version":     {[]uint64{0}, nil, "second", []string{"comment.List", "comment.Versions"}},
		"no answer":      {nil, nil, "second", []string{"comment.List", "comment.Versions"}},
		"overloaded":     {nil, errs.New(errs.Exhausted, ""), "second", []string{"comment.List", "comment.Versions"}},
		"internal error": {nil, errs.New(errs.Internal, ""), "second", []string{"comment.List", "comment.Versions"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			texts, known := []string{"first", "second"}, []uint64{}
			on(w.services, "comment.List", func(_ context.Context, req *comment.ListRequest) (*comment.ListResponse, error) {
				known = append(known, req.Known)
				return &comment.ListResponse{Version: uint64(len(known)), Comments: []*entity.Comment{
					{Id: firstComment, VideoId: req.VideoId, UserId: bob, Content: texts[len(known)-1]},
				}}, nil
			})
			on(w.services, "comment.Versions", func(_ context.Context, req *comment.VersionsRequest) (*comment.VersionsResponse, error) {
				if !slices.Equal(req.VideoIds, []int64{published}) {
					t.Errorf("asked for the versions of %v", req.VideoIds)
				}
				return &comment.VersionsResponse{Versions: tt.versions}, tt.err
			})
			for i, want := range []string{"first", tt.want} {
				w.services.forget()
				got := w.ask(t, http.MethodGet, "/douyin/comment/list/", 0, "video_id", "501")
				if got.code() != 0 || !strings.Contains(got.raw, want) || got.header.Get("Backbeat-Degraded") != "" {
					t.Fatalf("look %d: %s", i, got.raw)
				}
			}
			called := slices.DeleteFunc(w.services.called(), func(name string) bool { return !strings.HasPrefix(name, "comment.") })
			if !slices.Equal(called, tt.called) {
				t.Errorf("called %v, want %v", called, tt.called)
			}
			if len(known) > 1 && known[1] != 1 {
				t.Errorf("asked for what is new since version %d", known[1])
			}
		})
	}
}

// A held page is shown again while it says of its authors what others do now, which
// is looked at when it is as old as pages may be.
func TestAHeldPageOfCommentsIsShownWhileItsAuthorsStand(t *testing.T) {
	for _, row := range []struct {
		name string
		// later is when the page is looked at again; before that something happens.
		later time.Duration
		event func(w *world)
		// lists says whether the comments are asked for again, followers is what is shown.
		lists     bool
		followers float64
		degraded  string
	}{
		{"soon", 249 * time.Millisecond, func(w *world) { w.followers(10) }, false, 9, ""},
		{"later, unchanged", time.Minute, func(*world) {}, false, 9, ""},
		{"later, more followers", time.Minute, func(w *world) { w.followers(10) }, true, 10, ""},
		{"later, a part away", time.Minute, func(w *world) { w.services.down("relation.Stats") }, true, 9, "relation"},
		{"too late for names", 6 * time.Minute, func(*world) {}, true, 9, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			now := clock
			w := newWorld(t, func(_ *Config, deps *Deps) { deps.Now = func() time.Time { return now } })
			on(w.services, "comment.Versions", func(context.Context, *comment.VersionsRequest) (*comment.VersionsResponse, error) {
				return &comment.VersionsResponse{Versions: []uint64{1}}, nil
			})
			on(w.services, "comment.List", func(_ context.Context, req *comment.ListRequest) (*comment.ListResponse, error) {
				if req.Known != 0 {
					return &comment.ListResponse{Version: 1}, nil
				}
				return &comment.ListResponse{Version: 1, Comments: []*entity.Comment{
					{Id: firstComment, VideoId: req.VideoId, UserId: bob, Content: "好"},
				}}, nil
			})
			look := func() said { return w.ask(t, http.MethodGet, "/douyin/comment/list/", 0, "video_id", "501") }
			if got := look(); got.code() != 0 || len(got.list("comment_list")) != 1 {
				t.Fatal(got.raw)
			}
			row.event(w)
			for range 2 { // the second shows what the first made, or looked at
				now = now.Add(row.later)
				w.services.forget()
				got := look()
				user, _ := got.list("comment_list")[0]["user"].(map[string]any)
				if user["follower_count"] != row.followers || got.header.Get("Backbeat-Degraded") != row.degraded {
					t.Fatalf("%s, degraded %q", got.raw, got.header.Get("Backbeat-Degraded"))
				}
				if listed := w.services.count("comment.List") > 0; listed != row.lists {
					t.Errorf("comments asked for: %t", listed)
				}
				if row.later < time.Minute || row.degraded != "" || row.later > w.cfg.Cache.Cards {
					break
				}
				row.lists = false
			}
		})
	}
}

// followers has everybody followed by so many.
func (w *world) followers(n int64) {
	on(w.services, "relation.Stats", func(_ context.Context, req *relation.StatsRequest) (*relation.StatsResponse, error) {
		resp := &relation.StatsResponse{Users: map[int64]*relation.UserStat{}}
		for _, id := range req.UserIds {
			resp.Users[id] = &relation.UserStat{FollowCount: 8, FollowerCount: n}
		}
		return resp, nil
	})
}

// All who look while a round is in progress are answered by the next one.
func TestLooksTravelTogether(t *testing.T) {
	w := newWorld(t)
	asked := make([]int64, batch.Max)
	for i := range asked {
		asked[i] = int64(1 + i%3)
	}
	on(w.services, "comment.Versions", func(_ context.Context, req *comment.VersionsRequest) (*comment.VersionsResponse, error) {
		resp := &comment.VersionsResponse{}
		for _, id := range req.VideoIds {
			resp.Versions = append(resp.Versions, uint64(10*id))
		}
		return resp, nil
	})
	versions, err := w.rpc.look(t.Context(), asked)
	if err != nil || len(versions) != len(asked) || w.services.count("comment.") != 1 {
		t.Fatalf("%d versions by %d calls, %v", len(versions), w.services.count("comment."), err)
	}
	for i, version := range versions {
		if version != uint64(10*asked[i]) {
			t.Errorf("video %d has version %d", asked[i], version)
		}
	}
}
