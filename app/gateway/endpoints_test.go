package gateway

import (
	"bytes"
	"context"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"backbeat/app/errs"
	"backbeat/app/media"
	"backbeat/model"
	"backbeat/proto/entity"
	"backbeat/proto/favorite"
	"backbeat/proto/message"
	"backbeat/proto/relation"
	"backbeat/proto/video"
)

const aliceCard = `{"id":101,"name":"alice","follow_count":8,"follower_count":9,"is_follow":true,` +
	`"avatar":"http://phone.test:8080/media/avatar/101.png","background_image":"http://phone.test:8080/media/background/101.png",` +
	`"signature":"你好，很高兴在这里遇见你","total_favorited":5,"work_count":1,"favorite_count":6}`

// card is somebody's card in the eyes of bob.
func card(id, name, isFollow string) string {
	card := strings.ReplaceAll(aliceCard, "101", id)
	card = strings.Replace(card, "alice", name, 1)
	card = strings.Replace(card, `"is_follow":true`, `"is_follow":`+isFollow, 1)
	return strings.Replace(card, `"work_count":1`, `"work_count":3`, 1)
}

const bearCard = `{"id":501,"author":` + aliceCard + `,"play_url":"http://phone.test:8080/media/video/aa/bear.mp4",` +
	`"cover_url":"http://phone.test:8080/media/cover/aa/bear.jpg","favorite_count":4,"comment_count":7,"is_favorite":true,"title":"Bear"}`

// Each answer as the app reads it, byte by byte.
func TestShapes(t *testing.T) {
	bobCard := card("102", "bob", "false")
	tests := map[string]struct {
		method, path string
		pairs        []string
		want         string
	}{
		"feed":         {"GET", "/douyin/feed/", nil, `"status_msg":"获取视频流成功","video_list":[` + bearCard + `],"next_time":1772597167000}`},
		"profile":      {"GET", "/douyin/user/", []string{"user_id", "101"}, `"status_msg":"获取用户信息成功","user":` + aliceCard + `}`},
		"own profile":  {"GET", "/douyin/user/", nil, `"status_msg":"获取用户信息成功","user":` + bobCard + `}`},
		"user_id zero": {"GET", "/douyin/user/", []string{"user_id", "0"}, `"status_msg":"获取用户信息成功","user":` + bobCard + `}`},
		"works":        {"GET", "/douyin/publish/list/", []string{"user_id", "101"}, `"status_msg":"获取发布列表成功","video_list":[` + bearCard + `]}`},
		"no works":     {"GET", "/douyin/publish/list/", nil, `"status_msg":"获取发布列表成功","video_list":[]}`},
		"liked":        {"GET", "/douyin/favorite/list/", []string{"user_id", "103"}, `"status_msg":"获取喜欢列表成功","video_list":[` + bearCard + `]}`},
		"like":         {"POST", "/douyin/favorite/action/", []string{"video_id", "5.01e+02", "action_type", "1"}, `"status_msg":"点赞成功"}`},
		"unlike":       {"POST", "/douyin/favorite/action/", []string{"video_id", "501", "action_type", "2"}, `"status_msg":"取消点赞成功"}`},
		"comment": {"POST", "/douyin/comment/action/", []string{"video_id", "501", "action_type", "1", "comment_text", "测试评论"},
			`"status_msg":"评论成功","comment":{"id":701,"user":` + bobCard + `,"content":"测试评论","create_date":"03-04"}}`},
		"uncomment": {"POST", "/douyin/comment/action/", []string{"video_id", "501", "action_type", "2", "comment_id", "701"},
			`"status_msg":"删除评论成功","comment":null}`},
		"comments": {"GET", "/douyin/comment/list/", []string{"video_id", "501"},
			`"status_msg":"获取评论列表成功","comment_list":[{"id":701,"user":` + bobCard + `,"content":"好看","create_date":"03-04"}]}`},
		"follow":    {"POST", "/douyin/relation/action/", []string{"to_user_id", "101", "action_type", "1"}, `"status_msg":"关注成功！"}`},
		"unfollow":  {"POST", "/douyin/relation/action/", []string{"to_user_id", "101", "action_type", "2"}, `"status_msg":"取消关注成功！"}`},
		"followers": {"GET", "/douyin/relation/follower/list/", []string{"user_id", "101"}, `"status_msg":"获取粉丝列表成功！","user_list":[` + bobCard + `]}`},
		"following": {"GET", "/douyin/relation/follow/list/", nil,
			`"status_msg":"获取关注列表成功！","user_list":[` + card("103", "carol", "true") + `,` + bobCard + `]}`},
		"chat": {"GET", "/douyin/message/chat/", []string{"to_user_id", "101"},
			`"status_msg":"获取聊天记录成功！","message_list":[{"id":801,"to_user_id":102,"from_user_id":101,"content":"在吗","create_time":1772600767000}]}`},
		"message":      {"POST", "/douyin/message/action/", []string{"to_user_id", "101", "action_type", "1", "content", "hi"}, `"status_msg":"发送消息成功！"}`},
		"wrong login":  {"POST", "/douyin/user/login/", []string{"username", "alice", "password", "x"}, `"status_msg":"用户名或密码错误","user_id":0,"token":""}`},
		"a taken name": {"POST", "/douyin/user/register/", []string{"username", "alice", "password", "x"}, `"status_msg":"用户名已存在","user_id":0,"token":""}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			got := w.ask(t, tt.method, tt.path, bob, tt.pairs...)
			checkEnvelope(t, got)
			// A flag put into a page held has a space behind it.
			if _, rest, _ := strings.Cut(strings.ReplaceAll(got.raw, "true ,", "true,"), ","); rest != tt.want {
				t.Errorf("got  %s\nwant %s", rest, tt.want)
			}
			if strings.Contains(tt.want, "成功") != (got.code() == 0) {
				t.Errorf("status_code is %v", got.code())
			}
		})
	}
}

func TestRegisterAndLoginHandOutTokens(t *testing.T) {
	w := newWorld(t)
	for path, want := range map[string]int64{"/douyin/user/register/": bob, "/douyin/user/login/": alice} {
		got := w.ask(t, http.MethodPost, path, 0, good[path]...)
		id, issued, err := w.keys.Verify(got.body["token"].(string))
		if err != nil || id != want || !issued.Equal(clock) || got.body["user_id"] != float64(want) {
			t.Errorf("%s: %s, the token is user %d's, %v", path, got.raw, id, err)
		}
	}
}

func TestRepeatedActionsSucceedAndSayThatTheyWere(t *testing.T) {
	w := newWorld(t)
	on(w.services, "favorite.Act", func(context.Context, *favorite.ActRequest) (*favorite.ActResponse, error) {
		return &favorite.ActResponse{Already: []bool{true}}, nil
	})
	on(w.services, "relation.Act", func(context.Context, *relation.ActRequest) (*relation.ActResponse, error) {
		return &relation.ActResponse{Already: true}, nil
	})
	for path, want := range map[string]string{"/douyin/favorite/action/": "重复点赞", "/douyin/relation/action/": "已经关注过该用户了！"} {
		if got := w.ask(t, http.MethodPost, path, bob, good[path]...); got.code() != 0 || got.text() != want {
			t.Errorf("%s: %s", path, got.raw)
		}
	}
}

// API §6, row 17: what else a client says of itself is not believed.
func TestIdentityComesFromTheTokenAlone(t *testing.T) {
	w := newWorld(t)
	var liker, author int64
	on(w.services, "favorite.Act", func(_ context.Context, req *favorite.ActRequest) (*favorite.ActResponse, error) {
		liker, author = req.Acts[0].UserId, req.Acts[0].AuthorId
		return &favorite.ActResponse{Already: []bool{false}}, nil
	})
	got := w.ask(t, http.MethodPost, "/douyin/favorite/action/", bob, append([]string{
		"actor_id", "103", "user_id", "103", "viewer_id", "103", "author_id", "103"}, good["/douyin/favorite/action/"]...)...)
	if got.code() != 0 || liker != bob || author != alice {
		t.Errorf("user %d liked a video of %d: %s", liker, author, got.raw)
	}
}

func TestAuthorActsOnAVideoThatIsStillProcessing(t *testing.T) {
	w := newWorld(t)
	if got := w.ask(t, http.MethodPost, "/douyin/favorite/action/", alice, "video_id", "502", "action_type", "1"); got.code() != 0 {
		t.Error(got.raw)
	}
	got := w.ask(t, http.MethodGet, "/douyin/favorite/list/", alice)
	if list := got.list("video_list"); len(list) != 2 || list[0]["cover_url"] != "http://phone.test:8080/media/cover.png" {
		t.Errorf("her list: %s", got.raw)
	}
}

// What a write has to know is not guessed (DESIGN §1).
func TestWritesAreRefusedWhenTheirSubjectCanNotBeAsked(t *testing.T) {
	tests := map[string]struct{ down, path, write string }{
		"like":    {"video.", "/douyin/favorite/action/", "favorite.Act"},
		"comment": {"video.", "/douyin/comment/action/", "comment.Add"},
		"follow":  {"user.", "/douyin/relation/action/", "relation.Act"},
		"message": {"user.", "/douyin/message/action/", "message.Send"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.services.down(tt.down)
			got := w.ask(t, http.MethodPost, tt.path, bob, good[tt.path]...)
			checkFailure(t, got, tt.path)
			if got.code() != float64(errs.Unavailable.StatusCode()) || w.services.count(tt.write) != 0 {
				t.Errorf("answered %s after %d writes", got.raw, w.services.count(tt.write))
			}
		})
	}
}

func TestListsOfNobodyAreEmpty(t *testing.T) {
	w := newWorld(t)
	for path, key := range map[string]string{"/douyin/publish/list/": "video_list", "/douyin/favorite/list/": "video_list",
		"/douyin/relation/follow/list/": "user_list", "/douyin/relation/follower/list/": "user_list"} {
		if got := w.ask(t, http.MethodGet, path, 0); got.code() != 0 || len(got.list(key)) != 0 {
			t.Errorf("%s: %s", path, got.raw)
		}
	}
	if n := w.services.count(""); n != 0 {
		t.Errorf("%d calls for nobody", n)
	}
}

func TestCommentStandsWhileItsAuthorCanNotBeShown(t *testing.T) {
	w := newWorld(t)
	w.services.down("user.")
	got := w.ask(t, http.MethodPost, "/douyin/comment/action/", bob, good["/douyin/comment/action/"]...)
	shown := got.body["comment"].(map[string]any)
	if got.code() != 0 || shown["id"] != float64(firstComment) || shown["user"].(map[string]any)["id"] != float64(bob) {
		t.Error(got.raw)
	}
	if got.header.Get("Backbeat-Degraded") != "user" {
		t.Errorf("degraded is %q", got.header.Get("Backbeat-Degraded"))
	}
}

func TestCommentsAreShownWhileTheVideoServiceIsAway(t *testing.T) {
	w := newWorld(t)
	w.services.down("video.")
	got := w.ask(t, http.MethodGet, "/douyin/comment/list/", 0, good["/douyin/comment/list/"]...)
	if got.code() != 0 || len(got.list("comment_list")) != 1 || got.header.Get("Backbeat-Degraded") != "video" {
		t.Errorf("degraded %q: %s", got.header.Get("Backbeat-Degraded"), got.raw)
	}
}

func TestFriends(t *testing.T) {
	notice := &entity.Message{Id: 9, FromUserId: model.SystemUserID, ToUserId: alice, Content: "发布失败", CreateTime: 5}
	tests := map[string]struct {
		latest map[int64]*entity.Message
		want   []string // name, message, msgType
	}{
		"no messages":       {nil, []string{"bob||0", "carol||0"}},
		"sent and received": {map[int64]*entity.Message{bob: {FromUserId: alice, Content: "a"}, carol: {FromUserId: carol, Content: "b"}}, []string{"bob|a|1", "carol|b|0"}},
		"a notice":          {map[int64]*entity.Message{model.SystemUserID: notice}, []string{"bob||0", "carol||0", model.SystemUserName + "|发布失败|0"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			on(w.services, "message.Latest", func(context.Context, *message.LatestRequest) (*message.LatestResponse, error) {
				return &message.LatestResponse{Messages: tt.latest}, nil
			})
			got := w.ask(t, http.MethodGet, "/douyin/relation/friend/list/", alice, "user_id", "103")
			var shown []string
			for _, f := range got.list("user_list") {
				if len(f) != 13 {
					t.Errorf("a friend has %d fields: %v", len(f), f)
				}
				shown = append(shown, f["name"].(string)+"|"+f["message"].(string)+"|"+map[float64]string{0: "0", 1: "1"}[f["msgType"].(float64)])
			}
			if strings.Join(shown, " ") != strings.Join(tt.want, " ") {
				t.Errorf("friends are %q, want %q", shown, tt.want)
			}
		})
	}
}

func TestFriendsWithoutTheMessageService(t *testing.T) {
	w := newWorld(t)
	w.services.down("message.")
	got := w.ask(t, http.MethodGet, "/douyin/relation/friend/list/", alice)
	if got.code() != 0 || len(got.list("user_list")) != 2 || got.header.Get("Backbeat-Degraded") != "message" {
		t.Errorf("degraded %q: %s", got.header.Get("Backbeat-Degraded"), got.raw)
	}
}

func TestChatCursor(t *testing.T) {
	for given, want := range map[string]int64{"": 0, "0": 0, "garbage": 0, "1772600767000": 1772600767000, "1772600767": 1772600767000} {
		w := newWorld(t)
		after := int64(-1)
		on(w.services, "message.Newer", func(context.Context, *message.NewerRequest) (*message.NewerResponse, error) {
			return &message.NewerResponse{Newer: []bool{true}}, nil
		})
		on(w.services, "message.Chat", func(_ context.Context, req *message.ChatRequest) (*message.ChatResponse, error) {
			after = req.After
			return &message.ChatResponse{}, nil
		})
		got := w.ask(t, http.MethodGet, "/douyin/message/chat/", bob, "to_user_id", "101", "pre_msg_time", given)
		if got.code() != 0 || after != want || !strings.Contains(got.raw, `"message_list":[]`) {
			t.Errorf("pre_msg_time %q asks for messages after %d, want %d: %s", given, after, want, got.raw)
		}
	}
}

// A poll of a chat that is open costs one call.
func TestPollAsksOnceWhoThePeerIs(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.ask(t, http.MethodGet, "/douyin/message/chat/", bob, "to_user_id", "101")
	}
	if n := w.services.count("user."); n != 1 {
		t.Errorf("%d calls of the user service, want 1", n)
	}
}

func TestChatWithTheSystemAccountCanBeRead(t *testing.T) {
	w := newWorld(t)
	if got := w.ask(t, http.MethodGet, "/douyin/message/chat/", bob, "to_user_id", "1"); got.code() != 0 {
		t.Error(got.raw)
	}
}

// mp4 begins like a video.
var mp4 = append([]byte("\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp42"), bytes.Repeat([]byte{1}, 1000)...)

// post uploads a form to a real server: uploads move the connection's deadlines.
func post(t *testing.T, w *world, query string, parts ...string) said {
	t.Helper()
	server := httptest.NewServer(w.Handler())
	defer server.Close()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for i := 0; i < len(parts); i += 2 {
		if parts[i] != "data" {
			if err := form.WriteField(parts[i], parts[i+1]); err != nil {
				t.Fatal(err)
			}
			continue
		}
		file, err := form.CreateFormFile("data", "../../bear.mp4")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write([]byte(parts[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest(http.MethodPost, server.URL+"/douyin/publish/action"+query, &body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", form.FormDataContentType())
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return receive(t, resp)
}

// watchedStore is a store that tells what was put and deleted.
type watchedStore struct {
	media.Store
	put, deleted []string
	fail         error
}

func (s *watchedStore) Put(ctx context.Context, key string, body io.Reader, size int64, contentType string) error {
	if s.fail != nil {
		return s.fail
	}
	s.put = append(s.put, key)
	return s.Store.Put(ctx, key, body, size, contentType)
}

func (s *watchedStore) Delete(ctx context.Context, keys ...string) error {
	s.deleted = append(s.deleted, keys...)
	return s.Store.Delete(ctx, keys...)
}

func newStoreWorld(t *testing.T) (*world, *watchedStore) {
	t.Helper()
	store := &watchedStore{}
	w := newWorld(t, func(_ *Config, d *Deps) {
		store.Store = d.Media
		d.Media = store
	})
	return w, store
}

func TestPublish(t *testing.T) {
	w, store := newStoreWorld(t)
	var asked *video.PublishRequest
	on(w.services, "video.Publish", func(_ context.Context, req *video.PublishRequest) (*video.PublishResponse, error) {
		asked = req
		return &video.PublishResponse{}, nil
	})
	own := w.token(t, alice)
	// The file comes first; a token in the query gives way to the form's.
	got := post(t, w, "?token=nonsense", "data", string(mp4), "token", own, "title", "../../x")
	checkEnvelope(t, got)
	if got.code() != 0 || got.text() != "发布成功" || got.status != http.StatusOK {
		t.Fatal(got.raw)
	}
	if asked.AuthorId != alice || asked.Title != "../../x" || asked.Size != int64(len(mp4)) || asked.OriginalKey != store.put[0] {
		t.Errorf("asked to publish %v, stored %v", asked, store.put)
	}
	if !media.ValidKey(asked.OriginalKey) || !strings.HasSuffix(asked.OriginalKey, ".mp4") || len(store.deleted) != 0 {
		t.Errorf("key %q, deleted %v", asked.OriginalKey, store.deleted)
	}
	if got := post(t, w, "?token="+own+"&title=t", "data", string(mp4)); got.code() != 0 {
		t.Errorf("parameters in the query: %s", got.raw)
	}
}

func TestPublishRefusals(t *testing.T) {
	own := func(w *world) string { return w.token(t, alice) }
	clip := string(mp4)
	tests := map[string]func(w *world) []string{
		"no token":    func(w *world) []string { return []string{"data", clip, "title", "t"} },
		"bad token":   func(w *world) []string { return []string{"data", clip, "title", "t", "token", "x"} },
		"no title":    func(w *world) []string { return []string{"data", clip, "token", own(w)} },
		"blank title": func(w *world) []string { return []string{"data", clip, "token", own(w), "title", " 　"} },
		"a title of 101": func(w *world) []string {
			return []string{"data", clip, "token", own(w), "title", strings.Repeat("长", 101)}
		},
		"a broken title":  func(w *world) []string { return []string{"data", clip, "token", own(w), "title", "\xff"} },
		"no file":         func(w *world) []string { return []string{"token", own(w), "title", "t"} },
		"an empty file":   func(w *world) []string { return []string{"data", "", "token", own(w), "title", "t"} },
		"no video at all": func(w *world) []string { return []string{"data", "hello", "token", own(w), "title", "t"} },
	}
	for name, parts := range tests {
		t.Run(name, func(t *testing.T) {
			w, store := newStoreWorld(t)
			got := post(t, w, "", parts(w)...)
			checkFailure(t, got, "/douyin/publish/action/")
			if got.status != http.StatusOK || len(store.put) != 0 || w.services.count("") != 0 {
				t.Errorf("answered %d %s, stored %v after %d calls", got.status, got.raw, store.put, w.services.count(""))
			}
		})
	}
}

// A refused upload is removed; one whose fate is unknown may be in a list already.
func TestPublishKeepsWhatMayHaveBeenRecorded(t *testing.T) {
	tests := map[string]struct {
		err     error
		deleted int
	}{
		"refused":    {errs.New(errs.Invalid, ""), 1},
		"overloaded": {errs.New(errs.Exhausted, ""), 1},
		"unknown":    {errs.New(errs.Unavailable, ""), 0},
		"a bug":      {errs.New(errs.Internal, ""), 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w, store := newStoreWorld(t)
			w.services.fail("video.Publish", tt.err)
			got := post(t, w, "", "data", string(mp4), "token", w.token(t, alice), "title", "t")
			checkFailure(t, got, "/douyin/publish/action/")
			if len(store.put) != 1 || len(store.deleted) != tt.deleted {
				t.Errorf("put %v, deleted %v", store.put, store.deleted)
			}
			if w.services.count("video.Publish") != 1 {
				t.Errorf("asked %d times", w.services.count("video.Publish"))
			}
		})
	}
}

func TestPublishWithoutAStore(t *testing.T) {
	w, store := newStoreWorld(t)
	store.fail = errs.New(errs.Unavailable, "")
	got := post(t, w, "", "data", string(mp4), "token", w.token(t, alice), "title", "t")
	checkFailure(t, got, "/douyin/publish/action/")
	if w.services.count("video.Publish") != 0 {
		t.Error("a video without a file was published")
	}
}
