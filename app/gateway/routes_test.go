package gateway

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"backbeat/app/errs"
	"backbeat/app/token"
)

// good are parameters with which each endpoint succeeds for bob.
var good = map[string][]string{
	"/douyin/user/register/":   {"username", "bob", "password", "secret"},
	"/douyin/user/login/":      {"username", "alice", "password", "secret"},
	"/douyin/favorite/action/": {"video_id", "501", "action_type", "1"},
	"/douyin/comment/action/":  {"video_id", "501", "action_type", "1", "comment_text", "测试评论"},
	"/douyin/comment/list/":    {"video_id", "501"},
	"/douyin/relation/action/": {"to_user_id", "101", "action_type", "1"},
	"/douyin/message/chat/":    {"to_user_id", "101"},
	"/douyin/message/action/":  {"to_user_id", "101", "action_type", "1", "content", "hi"},
}

// keys are those of each endpoint besides the envelope's, with the values that a
// failure gives them.
var keys = map[string]map[string]string{
	"/douyin/feed/":                   {"video_list": "[]", "next_time": "0"},
	"/douyin/user/register/":          {"user_id": "0", "token": `""`},
	"/douyin/user/login/":             {"user_id": "0", "token": `""`},
	"/douyin/user/":                   {"user": "null"},
	"/douyin/publish/action/":         {},
	"/douyin/publish/list/":           {"video_list": "[]"},
	"/douyin/favorite/action/":        {},
	"/douyin/favorite/list/":          {"video_list": "[]"},
	"/douyin/comment/action/":         {"comment": "null"},
	"/douyin/comment/list/":           {"comment_list": "[]"},
	"/douyin/relation/action/":        {},
	"/douyin/relation/follow/list/":   {"user_list": "[]"},
	"/douyin/relation/follower/list/": {"user_list": "[]"},
	"/douyin/relation/friend/list/":   {"user_list": "[]"},
	"/douyin/message/chat/":           {"message_list": "[]"},
	"/douyin/message/action/":         {},
}

// checkEnvelope checks what holds of every answer of the API.
func checkEnvelope(t *testing.T, got said) {
	t.Helper()
	if kind := got.header.Get("Content-Type"); kind != "application/json; charset=utf-8" {
		t.Errorf("Content-Type is %q", kind)
	}
	if got.header.Get("Trace-Id") == "" && got.header.Values("Trace-Id") == nil {
		t.Error("no Trace-Id")
	}
	if got.header.Get("Cache-Control") != "no-store" || got.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers are %v", got.header)
	}
	if _, isNumber := got.body["status_code"].(float64); !isNumber {
		t.Errorf("no status_code in %s", got.raw)
	}
	if got.text() == "" {
		t.Errorf("no status_msg in %s", got.raw)
	}
}

// checkFailure checks a failure of an endpoint: all its keys, with empty values.
func checkFailure(t *testing.T, got said, path string) {
	t.Helper()
	checkEnvelope(t, got)
	if got.code() == 0 {
		t.Errorf("status_code is 0 in %s", got.raw)
	}
	want := keys[path]
	if len(got.body) != len(want)+2 {
		t.Errorf("got the keys of %s, want those of %v", got.raw, want)
	}
	for key, value := range want {
		if !strings.Contains(got.raw, `"`+key+`":`+value) {
			t.Errorf("%s is not %s in %s", key, value, got.raw)
		}
	}
}

func TestEveryPathWithAndWithoutSlashes(t *testing.T) {
	w := newWorld(t)
	if len(routes()) != 16 {
		t.Errorf("%d routes, want 16", len(routes()))
	}
	for _, rt := range routes() {
		if rt.load == uploading {
			continue // TestPublish has its paths
		}
		bare := strings.TrimSuffix(rt.path, "/")
		for _, path := range []string{rt.path, bare, "/" + rt.path, "/" + bare, "///" + rt.path} {
			t.Run(rt.method+" "+path, func(t *testing.T) {
				got := w.ask(t, rt.method, path, bob, good[rt.path]...)
				checkEnvelope(t, got)
				if got.status != http.StatusOK || got.code() != 0 {
					t.Errorf("answered %d %s", got.status, got.raw)
				}
				for key := range keys[rt.path] {
					if _, found := got.body[key]; !found {
						t.Errorf("no %s in %s", key, got.raw)
					}
				}
			})
		}
	}
}

func TestWrongPathsAndMethods(t *testing.T) {
	w := newWorld(t)
	tests := map[string]struct {
		method, path string
		status       int
		allow        string
	}{
		"unknown path":         {http.MethodGet, "/douyin/nothing/", http.StatusNotFound, ""},
		"longer path":          {http.MethodGet, "/douyin/feed/x", http.StatusNotFound, ""},
		"two final slashes":    {http.MethodGet, "/douyin/feed//", http.StatusNotFound, ""},
		"climbing path":        {http.MethodGet, "/douyin/../douyin/feed/", http.StatusNotFound, ""},
		"POST to a read":       {http.MethodPost, "/douyin/feed/", http.StatusMethodNotAllowed, "GET, HEAD, OPTIONS"},
		"GET of a write":       {http.MethodGet, "/douyin/favorite/action/", http.StatusMethodNotAllowed, "POST, OPTIONS"},
		"GET of an upload":     {http.MethodGet, "/douyin/publish/action", http.StatusMethodNotAllowed, "POST, OPTIONS"},
		"DELETE":               {http.MethodDelete, "/douyin/feed", http.StatusMethodNotAllowed, "GET, HEAD, OPTIONS"},
		"a method of nobody's": {"FROBNICATE", "/douyin/feed/", http.StatusMethodNotAllowed, "GET, HEAD, OPTIONS"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := w.ask(t, tt.method, tt.path, 0)
			checkEnvelope(t, got)
			if got.status != tt.status || got.code() != float64(tt.status*100) || got.header.Get("Allow") != tt.allow {
				t.Errorf("answered %d %s, Allow %q", got.status, got.raw, got.header.Get("Allow"))
			}
		})
	}
}

func TestHeadAndOptions(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.Handler())
	defer server.Close()
	resp, err := http.Head(server.URL + "/douyin/feed/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ContentLength <= 0 {
		t.Errorf("HEAD answered %d with Content-Length %d", resp.StatusCode, resp.ContentLength)
	}
	got := w.ask(t, http.MethodOptions, "/douyin/user/login", 0)
	if got.status != http.StatusNoContent || got.header.Get("Allow") != "POST, OPTIONS" || got.raw != "" {
		t.Errorf("OPTIONS answered %d, Allow %q, %q", got.status, got.header.Get("Allow"), got.raw)
	}
}

func TestCORS(t *testing.T) {
	tests := map[string]struct {
		origins      []string
		origin, want string
	}{
		"any":          {[]string{"*"}, "https://a.test", "*"},
		"a named one":  {[]string{"https://a.test"}, "https://a.test", "https://a.test"},
		"another":      {[]string{"https://a.test"}, "https://b.test", ""},
		"none allowed": {nil, "https://a.test", ""},
		"no browser":   {[]string{"*"}, "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *Config, _ *Deps) { c.HTTP.CORSOrigins = tt.origins })
			r := httptest.NewRequest(http.MethodGet, "/douyin/feed/", nil)
			r.Header.Set("Origin", tt.origin)
			if got := w.do(t, r).header.Get("Access-Control-Allow-Origin"); got != tt.want {
				t.Errorf("Access-Control-Allow-Origin is %q, want %q", got, tt.want)
			}
		})
	}
}

// Every endpoint that calls a service fails with its own keys when all are dead
// and nothing is remembered.
func TestEveryFailureHasTheEndpointsKeys(t *testing.T) {
	for _, rt := range routes() {
		if rt.load == uploading || rt.path == "/douyin/user/" { // the profile of an unknown is made up
			continue
		}
		t.Run(rt.path, func(t *testing.T) {
			w := newWorld(t)
			w.services.down("")
			got := w.ask(t, rt.method, rt.path, bob, good[rt.path]...)
			checkFailure(t, got, rt.path)
			if got.status != http.StatusOK || got.code() != float64(errs.Unavailable.StatusCode()) {
				t.Errorf("answered %d %s", got.status, got.raw)
			}
		})
	}
}

func TestBadParametersAreFailuresWithoutEffect(t *testing.T) {
	bad := map[string][][]string{
		"/douyin/user/":                   {{"user_id", "x"}, {"user_id", "-1"}, {"user_id", "99999999999999999999"}, {"user_id", "999"}},
		"/douyin/publish/list/":           {{"user_id", "x"}, {"user_id", "-1"}, {"user_id", "999"}},
		"/douyin/favorite/list/":          {{"user_id", "x"}, {"user_id", "-1"}, {"user_id", "999"}},
		"/douyin/relation/follow/list/":   {{"user_id", "x"}, {"user_id", "-1"}, {"user_id", "999"}},
		"/douyin/relation/follower/list/": {{"user_id", "x"}, {"user_id", "-1"}, {"user_id", "999"}},
		"/douyin/comment/list/":           {{}, {"video_id", "0"}, {"video_id", "x"}, {"video_id", "999"}, {"video_id", "502"}},
		"/douyin/favorite/action/": {{}, {"video_id", "501"}, {"action_type", "1"}, {"video_id", "501", "action_type", "3"},
			{"video_id", "x", "action_type", "1"}, {"video_id", "-501", "action_type", "1"}, {"video_id", "999", "action_type", "1"},
			{"video_id", "502", "action_type", "1"}, {"video_id", "502", "action_type", "2"}},
		"/douyin/comment/action/": {{}, {"video_id", "501"}, {"video_id", "501", "action_type", "3"}, {"video_id", "501", "action_type", "2"},
			{"video_id", "501", "action_type", "2", "comment_id", "0"}, {"video_id", "501", "action_type", "2", "comment_id", "x"},
			{"video_id", "999", "action_type", "1", "comment_text", "hi"}, {"video_id", "502", "action_type", "1", "comment_text", "hi"},
			{"video_id", "501", "action_type", "1", "comment_text", "\xff"}},
		"/douyin/relation/action/": {{}, {"to_user_id", "101"}, {"to_user_id", "101", "action_type", "0"}, {"to_user_id", "102", "action_type", "1"},
			{"to_user_id", "999", "action_type", "1"}, {"to_user_id", "1", "action_type", "1"}, {"to_user_id", "x", "action_type", "1"}},
		"/douyin/message/chat/": {{}, {"to_user_id", "0"}, {"to_user_id", "x"}, {"to_user_id", "102"}, {"to_user_id", "999"}},
		"/douyin/message/action/": {{}, {"to_user_id", "101", "content", "hi"}, {"to_user_id", "101", "action_type", "2", "content", "hi"},
			{"to_user_id", "102", "action_type", "1", "content", "hi"}, {"to_user_id", "999", "action_type", "1", "content", "hi"},
			{"to_user_id", "1", "action_type", "1", "content", "hi"}, {"to_user_id", "101", "action_type", "1", "content", "\xff"}},
		"/douyin/user/register/": {{"username", "\xff", "password", "secret"}, {"username", "new", "password", "\xff"}, {"username", "alice", "password", "x"}},
		"/douyin/user/login/":    {{"username", "\xff", "password", "secret"}, {"username", "alice", "password", "\xff"}, {"username", "alice", "password", "wrong"}},
	}
	for _, rt := range routes() {
		for _, pairs := range bad[rt.path] {
			t.Run(rt.path+" "+strings.Join(pairs, " "), func(t *testing.T) {
				w := newWorld(t)
				got := w.ask(t, rt.method, rt.path, bob, pairs...)
				checkFailure(t, got, rt.path)
				if got.status != http.StatusOK {
					t.Errorf("answered %d", got.status)
				}
				for _, write := range []string{"favorite.Act", "comment.Add", "comment.Delete", "relation.Act", "message.Send"} {
					if w.services.count(write) != 0 {
						t.Errorf("%s was called", write)
					}
				}
			})
		}
	}
}

// badTokens are signed by nobody, by others, or no longer.
func badTokens(t *testing.T) map[string]string {
	t.Helper()
	sign := func(keys string, at time.Time) string {
		k, err := token.ParseKeys(keys, time.Hour, func() time.Time { return at })
		if err != nil {
			t.Fatal(err)
		}
		signed, err := k.Sign(bob, at)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	whole := sign(testKeys, clock)
	foreign := "a:" + base64.StdEncoding.EncodeToString([]byte("another key of thirty-two bytes!"))
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"a"}`)) + "." +
		base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"102","exp":9999999999}`)) + "."
	return map[string]string{
		"nonsense":        "nonsense",
		"expired":         sign(testKeys, clock.Add(-2*time.Hour)),
		"a foreign key's": sign(foreign, clock),
		"tampered":        whole[:len(whole)-2] + "xx",
		"alg none":        none,
		"overlong":        strings.Repeat("x", 5000),
		"invalid UTF-8":   "\xff",
	}
}

func TestAuthMatrix(t *testing.T) {
	bad := badTokens(t)
	unauthenticated := float64(errs.Unauthenticated.StatusCode())
	for _, rt := range routes() {
		if rt.load == uploading {
			continue // TestPublishRefusals has its tokens
		}
		t.Run(rt.path, func(t *testing.T) {
			w := newWorld(t)
			missing := w.ask(t, rt.method, rt.path, 0, good[rt.path]...)
			if wantRefusal := rt.policy == required; wantRefusal != (missing.code() == unauthenticated) {
				t.Errorf("without a token: %s", missing.raw)
			}
			if rt.policy != required && missing.code() != 0 {
				t.Errorf("without a token: %s", missing.raw)
			}
			for name, tok := range bad {
				got := w.ask(t, rt.method, rt.path, 0, append(slices.Clone(good[rt.path]), "token", tok)...)
				if got.status != http.StatusOK {
					t.Errorf("%s token: HTTP %d", name, got.status)
				}
				if rt.policy == open || rt.policy == lenient {
					if got.code() != 0 {
						t.Errorf("%s token: %s", name, got.raw)
					}
					continue
				}
				checkFailure(t, got, rt.path)
				if got.code() != unauthenticated || got.text() != "token验证失败，请重新登录" {
					t.Errorf("%s token: %s", name, got.raw)
				}
			}
		})
	}
}

// The matrix itself, as API §1.7 and D5 have it: a route's policy is not changed
// by the way.
func TestPolicies(t *testing.T) {
	want := map[string]policy{
		"/douyin/feed/": lenient, "/douyin/user/register/": open, "/douyin/user/login/": open, "/douyin/user/": required,
		"/douyin/publish/action/": required, "/douyin/publish/list/": optional, "/douyin/favorite/action/": required,
		"/douyin/favorite/list/": optional, "/douyin/comment/action/": required, "/douyin/comment/list/": optional,
		"/douyin/relation/action/": required, "/douyin/relation/follow/list/": optional, "/douyin/relation/follower/list/": optional,
		"/douyin/relation/friend/list/": required, "/douyin/message/chat/": required, "/douyin/message/action/": required,
	}
	for _, rt := range routes() {
		if policy, found := want[rt.path]; !found || policy != rt.policy {
			t.Errorf("%s has policy %d, want %d", rt.path, rt.policy, policy)
		}
	}
}
