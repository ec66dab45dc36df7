package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afex/hystrix-go/hystrix"
	"github.com/opentracing/opentracing-go/mocktracer"
	"go-micro.dev/v4/client"
	"google.golang.org/protobuf/proto"

	"backbeat/app/cache"
	"backbeat/app/errs"
	"backbeat/app/media"
	"backbeat/app/token"
	"backbeat/config"
	"backbeat/model"
	"backbeat/proto/comment"
	"backbeat/proto/entity"
	"backbeat/proto/favorite"
	"backbeat/proto/message"
	"backbeat/proto/relation"
	"backbeat/proto/user"
	"backbeat/proto/video"
	"backbeat/test/harness"
)

// clock is what the tests' gateways read.
var clock = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// services is a client.Client whose calls end in functions of the test. Errors
// cross the wire as with real services.
type services struct {
	client.Client
	mu       sync.Mutex
	handlers map[string]func(context.Context, any) (proto.Message, error)
	calls    map[string]int
}

// on answers an RPC, "service.Method", with f from now on.
func on[Req any, Resp proto.Message](s *services, name string, f func(context.Context, *Req) (Resp, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers[name] = func(ctx context.Context, body any) (proto.Message, error) {
		return f(ctx, body.(*Req))
	}
}

// lists answers every list asked for with the same one.
func lists(list *relation.ListsResponse_List) func(context.Context, *relation.ListsRequest) (*relation.ListsResponse, error) {
	return func(_ context.Context, req *relation.ListsRequest) (*relation.ListsResponse, error) {
		return &relation.ListsResponse{Lists: slices.Repeat([]*relation.ListsResponse_List{list}, len(req.Lists))}, nil
	}
}

// down makes every RPC of a service, or one RPC, fail like a dead server.
func (s *services) down(prefix string) { s.fail(prefix, errs.New(errs.Unavailable, "")) }

func (s *services) fail(prefix string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.handlers {
		if strings.HasPrefix(name, prefix) {
			s.handlers[name] = func(context.Context, any) (proto.Message, error) { return nil, err }
		}
	}
}

// count returns how often an RPC, a service's RPCs or ("") all were called.
func (s *services) count(prefix string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for name, calls := range s.calls {
		if strings.HasPrefix(name, prefix) {
			n += calls
		}
	}
	return n
}

// forget begins to count anew.
func (s *services) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.calls)
}

// called returns the RPCs called, in order of their names, each as often as it was.
func (s *services) called() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, name := range slices.Sorted(maps.Keys(s.calls)) {
		names = append(names, slices.Repeat([]string{name}, s.calls[name])...)
	}
	return names
}

type fakeRequest struct {
	client.Request
	service, endpoint string
	body              any
}

func (r fakeRequest) Service() string  { return r.service }
func (r fakeRequest) Endpoint() string { return r.endpoint }
func (r fakeRequest) Body() any        { return r.body }

func (s *services) NewRequest(service, endpoint string, body any, _ ...client.RequestOption) client.Request {
	return fakeRequest{service: service, endpoint: endpoint, body: body}
}

func (s *services) Call(ctx context.Context, req client.Request, resp any, _ ...client.CallOption) error {
	_, method, _ := strings.Cut(req.Endpoint(), ".")
	name := req.Service() + "." + method
	s.mu.Lock()
	s.calls[name]++
	handle := s.handlers[name]
	s.mu.Unlock()
	if handle == nil {
		return fmt.Errorf("no such RPC: %s", name)
	}
	answered, err := handle(ctx, req.Body())
	if err != nil {
		return errs.FromStatus(errs.ToStatus(err).Err())
	}
	proto.Merge(resp.(proto.Message), answered)
	return nil
}

// The people and videos of the tests' world: alice made both videos, the second
// is still processing.
const (
	alice, bob, carol = 101, 102, 103
	nobody            = 999
	published         = 501
	processing        = 502
	firstComment      = 701
)

var publishedAt = clock.Add(-time.Hour).UnixMilli()

// newServices returns services that know the world and accept every write.
func newServices() *services {
	s := &services{handlers: map[string]func(context.Context, any) (proto.Message, error){}, calls: map[string]int{}}
	names := map[int64]string{model.SystemUserID: model.SystemUserName, alice: "alice", bob: "bob", carol: "carol"}
	videos := map[int64]*entity.Video{
		published: {Id: published, AuthorId: alice, Title: "Bear", PlayKey: "video/aa/bear.mp4", CoverKey: "cover/aa/bear.jpg",
			State: entity.Video_PUBLISHED, PublishedAt: publishedAt},
		processing: {Id: processing, AuthorId: alice, Title: "Soon", PlayKey: "video/bb/soon.mp4", State: entity.Video_PROCESSING},
	}
	on(s, "user.Register", func(_ context.Context, req *user.RegisterRequest) (*user.RegisterResponse, error) {
		if req.Name == "alice" {
			return nil, errs.New(errs.Conflict, "用户名已存在")
		}
		return &user.RegisterResponse{UserId: bob}, nil
	})
	on(s, "user.Login", func(_ context.Context, req *user.LoginRequest) (*user.LoginResponse, error) {
		if req.Password != "secret" {
			return nil, errs.New(errs.Unauthenticated, "用户名或密码错误")
		}
		return &user.LoginResponse{UserId: alice}, nil
	})
	on(s, "user.BatchGet", func(_ context.Context, req *user.BatchGetRequest) (*user.BatchGetResponse, error) {
		resp := &user.BatchGetResponse{}
		for _, id := range req.Ids {
			if names[id] != "" {
				resp.Users = append(resp.Users, &entity.User{Id: id, Name: names[id]})
			}
		}
		return resp, nil
	})
	on(s, "video.Publish", func(_ context.Context, req *video.PublishRequest) (*video.PublishResponse, error) {
		return &video.PublishResponse{Video: &entity.Video{Id: processing}}, nil
	})
	on(s, "video.Feed", func(context.Context, *video.FeedRequest) (*video.FeedResponse, error) {
		return &video.FeedResponse{Videos: []*entity.Video{videos[published]}}, nil
	})
	on(s, "video.ListByAuthor", func(_ context.Context, req *video.ListByAuthorRequest) (*video.ListByAuthorResponse, error) {
		if req.AuthorId != alice {
			return &video.ListByAuthorResponse{}, nil
		}
		return &video.ListByAuthorResponse{Videos: []*entity.Video{videos[published]}, WorkCount: 1}, nil
	})
	on(s, "video.BatchGet", func(_ context.Context, req *video.BatchGetRequest) (*video.BatchGetResponse, error) {
		resp := &video.BatchGetResponse{}
		for _, id := range req.Ids {
			if v := videos[id]; v != nil && (v.State == entity.Video_PUBLISHED || v.AuthorId == req.ViewerId) {
				resp.Videos = append(resp.Videos, v)
			}
		}
		return resp, nil
	})
	on(s, "video.WorkCounts", func(_ context.Context, req *video.WorkCountsRequest) (*video.WorkCountsResponse, error) {
		resp := &video.WorkCountsResponse{WorkCounts: map[int64]int64{}}
		for _, id := range req.UserIds {
			resp.WorkCounts[id] = 3
			if id == alice {
				resp.WorkCounts[id] = 1
			}
		}
		return resp, nil
	})
	on(s, "favorite.Act", func(_ context.Context, req *favorite.ActRequest) (*favorite.ActResponse, error) {
		return &favorite.ActResponse{Already: make([]bool, len(req.Acts))}, nil
	})
	on(s, "favorite.ListLiked", func(context.Context, *favorite.ListLikedRequest) (*favorite.ListLikedResponse, error) {
		return &favorite.ListLikedResponse{VideoIds: []int64{processing, published}}, nil
	})
	on(s, "favorite.Stats", func(_ context.Context, req *favorite.StatsRequest) (*favorite.StatsResponse, error) {
		resp := &favorite.StatsResponse{Videos: map[int64]*favorite.VideoStat{}, Users: map[int64]*favorite.UserStat{}}
		for _, id := range req.VideoIds {
			resp.Videos[id] = &favorite.VideoStat{FavoriteCount: 4}
		}
		for _, id := range req.UserIds {
			resp.Users[id] = &favorite.UserStat{TotalFavorited: 5, FavoriteCount: 6}
		}
		return resp, nil
	})
	on(s, "favorite.Flags", func(_ context.Context, req *favorite.FlagsRequest) (*favorite.FlagsResponse, error) {
		resp := &favorite.FlagsResponse{}
		for _, viewer := range req.Viewers {
			resp.Viewers = append(resp.Viewers, &favorite.FlagsResponse_Viewer{VideoIds: viewer.VideoIds})
		}
		return resp, nil
	})
	on(s, "comment.Add", func(_ context.Context, req *comment.AddRequest) (*comment.AddResponse, error) {
		resp := &comment.AddResponse{}
		for _, draft := range req.Drafts {
			resp.Comments = append(resp.Comments, &entity.Comment{
				Id: firstComment, VideoId: draft.VideoId, UserId: draft.UserId, Content: draft.Content, CreatedAt: clock.UnixMilli(),
			})
		}
		return resp, nil
	})
	on(s, "comment.Delete", func(_ context.Context, req *comment.DeleteRequest) (*comment.DeleteResponse, error) {
		if req.CommentId != firstComment {
			return nil, errs.New(errs.NotFound, "")
		}
		return &comment.DeleteResponse{}, nil
	})
	on(s, "comment.List", func(_ context.Context, req *comment.ListRequest) (*comment.ListResponse, error) {
		if req.Known == 7 {
			return &comment.ListResponse{Version: 7}, nil
		}
		return &comment.ListResponse{Version: 7, Comments: []*entity.Comment{
			{Id: firstComment, VideoId: req.VideoId, UserId: bob, Content: "好看", CreatedAt: clock.UnixMilli()},
			{Id: firstComment - 1, VideoId: req.VideoId, UserId: nobody, Content: "of one who is gone", CreatedAt: 1},
		}}, nil
	})
	on(s, "comment.Versions", func(_ context.Context, req *comment.VersionsRequest) (*comment.VersionsResponse, error) {
		return &comment.VersionsResponse{Versions: slices.Repeat([]uint64{7}, len(req.VideoIds))}, nil
	})
	on(s, "comment.Counts", func(_ context.Context, req *comment.CountsRequest) (*comment.CountsResponse, error) {
		resp := &comment.CountsResponse{Counts: map[int64]int64{}}
		for _, id := range req.VideoIds {
			resp.Counts[id] = 7
		}
		return resp, nil
	})
	on(s, "relation.Act", func(context.Context, *relation.ActRequest) (*relation.ActResponse, error) {
		return &relation.ActResponse{}, nil
	})
	on(s, "relation.Following", lists(&relation.ListsResponse_List{UserIds: []int64{carol, nobody, bob}, FollowedIds: []int64{carol, nobody}}))
	on(s, "relation.Followers", lists(&relation.ListsResponse_List{UserIds: []int64{bob}}))
	on(s, "relation.Friends", func(context.Context, *relation.FriendsRequest) (*relation.FriendsResponse, error) {
		return &relation.FriendsResponse{UserIds: []int64{bob, carol}}, nil
	})
	on(s, "relation.Stats", func(_ context.Context, req *relation.StatsRequest) (*relation.StatsResponse, error) {
		resp := &relation.StatsResponse{Users: map[int64]*relation.UserStat{}}
		for _, id := range req.UserIds {
			resp.Users[id] = &relation.UserStat{FollowCount: 8, FollowerCount: 9}
		}
		return resp, nil
	})
	on(s, "relation.Flags", func(_ context.Context, req *relation.FlagsRequest) (*relation.FlagsResponse, error) {
		resp := &relation.FlagsResponse{}
		for _, viewer := range req.Viewers {
			resp.Viewers = append(resp.Viewers, &relation.FlagsResponse_Viewer{UserIds: viewer.UserIds})
		}
		return resp, nil
	})
	on(s, "user.Revocations", func(context.Context, *user.RevocationsRequest) (*user.RevocationsResponse, error) {
		return &user.RevocationsResponse{}, nil
	})
	on(s, "message.Send", func(context.Context, *message.SendRequest) (*message.SendResponse, error) {
		return &message.SendResponse{Message: &entity.Message{Id: 1}}, nil
	})
	on(s, "message.Chat", func(_ context.Context, req *message.ChatRequest) (*message.ChatResponse, error) {
		return &message.ChatResponse{Messages: []*entity.Message{
			{Id: 801, FromUserId: req.PeerId, ToUserId: req.ViewerId, Content: "在吗", CreateTime: clock.UnixMilli()},
		}}, nil
	})
	on(s, "message.Newer", func(_ context.Context, req *message.NewerRequest) (*message.NewerResponse, error) {
		resp := &message.NewerResponse{}
		for _, chat := range req.Chats {
			resp.Newer = append(resp.Newer, chat.After < clock.UnixMilli())
		}
		return resp, nil
	})
	on(s, "message.Latest", func(_ context.Context, req *message.LatestRequest) (*message.LatestResponse, error) {
		return &message.LatestResponse{Messages: map[int64]*entity.Message{
			bob: {Id: 801, FromUserId: req.ViewerId, ToUserId: bob, Content: "hi", CreateTime: 1},
		}}, nil
	})
	return s
}

// sharedCache is a Cache in a map.
type sharedCache struct {
	mu      sync.Mutex
	entries map[string][]byte
	sets    int
}

func (c *sharedCache) Get(_ context.Context, keys ...string) ([][]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	values := make([][]byte, len(keys))
	for i, key := range keys {
		values[i] = c.entries[key]
	}
	return values, nil
}

func (c *sharedCache) Set(_ context.Context, _ time.Duration, entries map[string][]byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sets++
	for key, value := range entries {
		c.entries[key] = value
	}
	return nil
}

// world is a gateway with everything around it.
type world struct {
	*Gateway
	services *services
	cache    *sharedCache
	tracer   *mocktracer.MockTracer
	log      *harness.Buffer
	keys     *token.Keys
	cfg      Config
}

const testKeys = "a:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

// everybody is all networks.
var everybody = []string{"0.0.0.0/0", "::/0"}

// newWorld returns a gateway over services, with circuits as new. Circuits belong
// to the process, so no two tests run at once. No client's rate is limited.
func newWorld(t testing.TB, change ...func(*Config, *Deps)) *world {
	t.Helper()
	hystrix.Flush()
	t.Cleanup(hystrix.Flush)
	defaults := config.Default()
	w := &world{services: newServices(), cache: &sharedCache{entries: map[string][]byte{}}, tracer: mocktracer.New(), log: &harness.Buffer{}}
	w.cfg = Config{
		HTTP: defaults.HTTP, Media: defaults.Media, Limits: defaults.Limits, Time: defaults.Time, RPC: defaults.RPC,
		Circuit: defaults.Circuit, Cache: defaults.Cache, Features: defaults.Features, StagingDir: t.TempDir(),
	}
	w.cfg.Limits.Exempt = everybody
	var err error
	if w.keys, err = token.ParseKeys(testKeys, time.Hour, func() time.Time { return clock }); err != nil {
		t.Fatal(err)
	}
	store, err := media.NewDisk(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	deps := Deps{
		Client: w.services, Keys: w.keys, Media: store, Journal: cache.NewMemoryJournal(), Cache: w.cache, Tracer: w.tracer,
		Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now: func() time.Time { return clock },
	}
	for _, f := range change {
		f(&w.cfg, &deps)
	}
	if w.Gateway, err = New(w.cfg, deps); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) token(t testing.TB, id int64) string {
	t.Helper()
	signed, err := w.keys.Sign(id, clock)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// said is an answer as a client sees it.
type said struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

func (s said) code() float64 { n, _ := s.body["status_code"].(float64); return n }
func (s said) text() string  { text, _ := s.body["status_msg"].(string); return text }

func (s said) list(key string) []map[string]any {
	var list []map[string]any
	for _, item := range s.body[key].([]any) {
		list = append(list, item.(map[string]any))
	}
	return list
}

func (w *world) do(t testing.TB, r *http.Request) said {
	t.Helper()
	rec := httptest.NewRecorder()
	w.Handler().ServeHTTP(rec, r)
	return receive(t, rec.Result())
}

// receive reads an answer, which is JSON or nothing.
func receive(t testing.TB, resp *http.Response) said {
	t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	got := said{status: resp.StatusCode, header: resp.Header, raw: string(body)}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &got.body); err != nil {
			t.Fatalf("no JSON: %q", body)
		}
	}
	return got
}

// ask makes a request as the app does, everything in the query. A viewer of 0 has
// no token.
func (w *world) ask(t testing.TB, method, path string, viewer int64, pairs ...string) said {
	t.Helper()
	return w.do(t, httptest.NewRequest(method, "http://phone.test:8080"+path+"?"+w.query(t, viewer, pairs...), nil))
}

func (w *world) query(t testing.TB, viewer int64, pairs ...string) string {
	t.Helper()
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	if viewer != 0 {
		values.Set("token", w.token(t, viewer))
	}
	return values.Encode()
}

// discard is a log that costs nothing.
func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
