package gateway

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"backbeat/app/trace"
	"backbeat/config"
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

// usual are the requests that a gateway mostly gets, and how many allocations one
// may take.
var usual = []struct {
	name, method, path string
	viewer             int64
	pairs              []string
	allocations        float64
}{
	{"feed, anonymous", http.MethodGet, "/douyin/feed/", 0, nil, 40},
	{"feed, signed in", http.MethodGet, "/douyin/feed/", bob, nil, 200},
	{"user info", http.MethodGet, "/douyin/user/", bob, []string{"user_id", "101"}, 150},
	{"comment list (100)", http.MethodGet, "/douyin/comment/list/", bob, []string{"video_id", "501"}, 200},
	{"follower list (20)", http.MethodGet, "/douyin/relation/follower/list/", bob, []string{"user_id", "101"}, 245},
	{"like", http.MethodPost, "/douyin/favorite/action/", bob, []string{"video_id", "501", "action_type", "1"}, 105},
	{"comment publish", http.MethodPost, "/douyin/comment/action/", bob, []string{"video_id", "501", "action_type", "1", "comment_text", "拍得真好"}, 140},
	{"chat poll", http.MethodGet, "/douyin/message/chat/", bob, []string{"to_user_id", "101", "pre_msg_time", "1772600000000"}, 175},
}

// eachUsual hands over each of them as a function that asks for it once.
func eachUsual[T testing.TB](tb T, metrics prometheus.Registerer, run func(tb T, name string, most float64, ask func())) {
	tracer, err := trace.New(config.Jaeger{}, "gateway", discard()) // most requests are not sampled
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = tracer.Close() })
	w := newWorld(tb, func(_ *Config, d *Deps) {
		d.Tracer, d.Log, d.Metrics = tracer, discard(), metrics
	})
	full(w.services)
	handler := w.Handler()
	for _, row := range usual {
		pairs := row.pairs
		r := httptest.NewRequest(row.method, "http://phone.test:8080"+row.path+"?"+w.query(tb, row.viewer, pairs...), nil)
		if got := w.do(tb, r); got.code() != 0 {
			tb.Fatal(got.raw)
		}
		run(tb, row.name, row.allocations, func() { handler.ServeHTTP(nowhere{http.Header{}}, r) })
	}
}

// What a request allocates is most of what the gateway does for it. The bounds leave
// little above what was measured, with the race detector on.
func TestRequestsAllocateLittle(t *testing.T) {
	for _, metrics := range []prometheus.Registerer{nil, prometheus.NewRegistry()} {
		eachUsual(t, metrics, func(t *testing.T, name string, most float64, ask func()) {
			t.Run(fmt.Sprintf("%s, measured %t", name, metrics != nil), func(t *testing.T) {
				if n := testing.AllocsPerRun(200, ask); n > most {
					t.Errorf("%.0f allocations, at most %.0f", n, most)
				}
			})
		})
	}
}

// BenchmarkAnswer is a whole request, from the handler to the encoded answer, over
// services that answer at once: routing, decoding, the token, the calls, the join
// and the rendering. What the services' stand-ins cost is in it.
func BenchmarkAnswer(b *testing.B) {
	for _, metrics := range []prometheus.Registerer{nil, prometheus.NewRegistry()} {
		eachUsual(b, metrics, func(b *testing.B, name string, _ float64, ask func()) {
			b.Run(fmt.Sprintf("%s, measured %t", name, metrics != nil), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					ask()
				}
			})
		})
	}
}

// full makes the services answer full lists: 20 followers, and 100 comments of 30
// people.
func full(s *services) {
	fans := &relation.ListsResponse_List{}
	for i := range int64(20) {
		fans.UserIds = append(fans.UserIds, 2000+i)
	}
	list := &comment.ListResponse{Version: 7}
	for i := range int64(100) {
		list.Comments = append(list.Comments, &entity.Comment{Id: 5000 - i, VideoId: published, UserId: 2000 + i%30, Content: "拍得真好", CreatedAt: publishedAt})
	}
	on(s, "relation.Followers", lists(fans))
	on(s, "comment.List", func(context.Context, *comment.ListRequest) (*comment.ListResponse, error) { return list, nil })
	on(s, "user.BatchGet", func(_ context.Context, req *user.BatchGetRequest) (*user.BatchGetResponse, error) {
		resp := &user.BatchGetResponse{}
		for _, id := range req.Ids {
			resp.Users = append(resp.Users, &entity.User{Id: id, Name: "用户"})
		}
		return resp, nil
	})
}
