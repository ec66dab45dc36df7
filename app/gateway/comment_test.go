package gateway

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"backbeat/app/batch"
	"backbeat/app/errs"
	"backbeat/proto/comment"
	"backbeat/proto/entity"
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
