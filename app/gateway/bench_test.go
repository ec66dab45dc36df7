package gateway

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/opentracing/opentracing-go"

	"backbeat/proto/comment"
	"backbeat/proto/entity"
	"backbeat/proto/relation"
	"backbeat/proto/user"
)

// nowhere is a client that minds nothing.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header       { return n.header }
func (nowhere) WriteHeader(int)             {}
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkAnswer is a whole request, from the handler to the encoded answer, over
// services that answer at once: routing, decoding, the token, the calls, the join
// and the rendering. What the services' stand-ins cost is in it.
func BenchmarkAnswer(b *testing.B) {
	w := newWorld(b, func(_ *Config, d *Deps) { d.Tracer, d.Log = opentracing.NoopTracer{}, discard() })
	full(w.services)
	for _, row := range []struct {
		name, method, path string
		pairs              []string
	}{
		{"user info", http.MethodGet, "/douyin/user/", []string{"user_id", "101"}},
		{"comment list (100)", http.MethodGet, "/douyin/comment/list/", []string{"video_id", "501"}},
		{"follower list (20)", http.MethodGet, "/douyin/relation/follower/list/", []string{"user_id", "101"}},
		{"like", http.MethodPost, "/douyin/favorite/action/", []string{"video_id", "501", "action_type", "1"}},
		{"chat poll", http.MethodGet, "/douyin/message/chat/", []string{"to_user_id", "101", "pre_msg_time", "1772600000000"}},
	} {
		b.Run(row.name, func(b *testing.B) {
			handler := w.Handler()
			r := httptest.NewRequest(row.method, "http://phone.test:8080"+row.path+"?"+w.query(b, bob, row.pairs...), nil)
			if got := w.do(b, r); got.code() != 0 {
				b.Fatal(got.raw)
			}
			b.ReportAllocs()
			for b.Loop() {
				handler.ServeHTTP(nowhere{http.Header{}}, r)
			}
		})
	}
}

// full makes the services answer full lists: 20 followers, and 100 comments of 30
// people.
func full(s *services) {
	fans := &relation.FollowersResponse{}
	for i := range int64(20) {
		fans.UserIds = append(fans.UserIds, 2000+i)
	}
	list := &comment.ListResponse{}
	for i := range int64(100) {
		list.Comments = append(list.Comments, &entity.Comment{Id: 5000 - i, VideoId: published, UserId: 2000 + i%30, Content: "拍得真好", CreatedAt: publishedAt})
	}
	on(s, "relation.Followers", func(context.Context, *relation.FollowersRequest) (*relation.FollowersResponse, error) {
		return fans, nil
	})
	on(s, "comment.List", func(context.Context, *comment.ListRequest) (*comment.ListResponse, error) { return list, nil })
	on(s, "user.BatchGet", func(_ context.Context, req *user.BatchGetRequest) (*user.BatchGetResponse, error) {
		resp := &user.BatchGetResponse{}
		for _, id := range req.Ids {
			resp.Users = append(resp.Users, &entity.User{Id: id, Name: "用户"})
		}
		return resp, nil
	})
}
