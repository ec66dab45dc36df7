package contract

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// answering has the headers that answers of the API and files have.
func answering(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		header := w.Header()
		header.Set("Trace-Id", strings.Repeat("a", 32))
		header.Set("Content-Type", "application/json; charset=utf-8")
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Content-Security-Policy", "default-src 'none'; sandbox")
		for i := 0; i < len(headers); i += 2 {
			header.Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestTransport(t *testing.T) {
	contract, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	const (
		list   = `{"status_code":0,"status_msg":"获取关注列表成功！","user_list":[]}`
		feed   = `{"status_code":0,"status_msg":"获取视频流成功","video_list":[],"next_time":1772600767000}`
		noPath = `{"status_code":40400,"status_msg":"接口不存在"}`
	)
	tests := map[string]struct {
		method, target string
		answer         http.HandlerFunc
		// breach is a part of what is said to be wrong, empty if nothing is.
		breach string
	}{
		"as told":                   {"GET", "/douyin/relation/follow/list/?token=x&user_id=7", answering(200, list), ""},
		"without the final slash":   {"GET", "/douyin/relation/follow/list?token=x", answering(200, list), ""},
		"with a leading one more":   {"GET", "//douyin/feed/", answering(200, feed), ""},
		"HEAD of a GET":             {"HEAD", "/douyin/feed/", answering(200, ""), ""},
		"a stranger that may be":    {"GET", "/douyin/feed/?actor_id=7", answering(200, feed), ""},
		"an unknown path":           {"GET", "/douyin/nothing/", answering(404, noPath), ""},
		"a known path not found":    {"GET", "/douyin/feed/", answering(404, noPath), "status 404"},
		"an unknown path found":     {"GET", "/douyin/nothing/", answering(200, list), "does not list it"},
		"a wrong method":            {"POST", "/douyin/feed/", answering(405, `{"status_code":40500,"status_msg":"请求方法不正确"}`, "Allow", "GET"), ""},
		"a wrong method, no Allow":  {"POST", "/douyin/feed/", answering(405, `{"status_code":40500,"status_msg":"请求方法不正确"}`), "Allow"},
		"an unknown parameter":      {"GET", "/douyin/feed/?page=2", answering(200, feed), `"page"`},
		"an unknown status":         {"GET", "/douyin/feed/", answering(418, feed), "status 418"},
		"a type of its own":         {"GET", "/douyin/feed/", answering(200, feed, "Content-Type", "application/json"), "Content-Type"},
		"a header too little":       {"GET", "/douyin/feed/", answering(200, feed, "Cache-Control", ""), "Cache-Control"},
		"a header of another value": {"GET", "/douyin/feed/", answering(200, feed, "X-Content-Type-Options", "sniff"), "X-Content-Type-Options"},
		"a key too little":          {"GET", "/douyin/feed/", answering(200, `{"status_code":0,"status_msg":"好","video_list":[]}`), "next_time"},
		"a key too many":            {"GET", "/douyin/feed/", answering(200, strings.Replace(feed, "{", `{"page":1,`, 1)), "page"},
		"null for a list":           {"GET", "/douyin/feed/", answering(200, strings.Replace(feed, "[]", "null", 1)), "video_list"},
		"a failure with a value":    {"GET", "/douyin/feed/", answering(200, strings.Replace(feed, `_code":0`, `_code":50300`, 1)), "next_time"},
		"an unknown status_code":    {"GET", "/douyin/feed/", answering(200, strings.Replace(feed, `_code":0`, `_code":7`, 1)), "status_code"},
		"no JSON":                   {"GET", "/douyin/feed/", answering(200, feed[1:]), "no JSON"},
		"a range of a file": {"GET", "/media/play/3f/3fc9a1d07b5e4c2f8a6d90b1e2f3c4d5.mp4",
			answering(206, "x", "Content-Type", "video/mp4", "Cache-Control", "public, max-age=31536000, immutable"), ""},
		"a file of another type": {"GET", "/media/play/3f/3fc9a1d07b5e4c2f8a6d90b1e2f3c4d5.mp4",
			answering(200, "x", "Content-Type", "text/html", "Cache-Control", "public, max-age=31536000, immutable"), "Content-Type"},
		"a picture kept for a year": {"GET", "/media/avatar/7.png",
			answering(200, "x", "Content-Type", "image/png", "Cache-Control", "public, max-age=31536000, immutable"), "Cache-Control"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(tt.answer)
			defer server.Close()
			transport := contract.Transport(http.DefaultTransport, "actor_id")
			request, err := http.NewRequest(tt.method, server.URL+tt.target, nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := transport.RoundTrip(request)
			if (err == nil) != (tt.breach == "") || err != nil && !strings.Contains(err.Error(), tt.breach) {
				t.Fatalf("got %v, want %q", err, tt.breach)
			}
			if len(transport.Breaches()) > 0 != (err != nil) || transport.Checked() != 1 {
				t.Errorf("%d breaches of %d", len(transport.Breaches()), transport.Checked())
			}
			if err != nil {
				return
			}
			defer response.Body.Close()
			if body, err := io.ReadAll(response.Body); err != nil || len(body) == 0 && tt.method != "HEAD" {
				t.Errorf("the body is gone: %q, %v", body, err)
			}
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	contract, err := Load()
	if err != nil {
		b.Fatal(err)
	}
	const user = `{"id":7,"name":"alice","follow_count":8,"follower_count":9,"is_follow":true,"avatar":"http://h/a.png",` +
		`"background_image":"http://h/b.png","signature":"你好","total_favorited":5,"work_count":1,"favorite_count":6}`
	const video = `{"id":7,"author":` + user + `,"play_url":"http://h/p.mp4","cover_url":"http://h/c.jpg","favorite_count":4,` +
		`"comment_count":7,"is_favorite":true,"title":"Bear"}`
	body := `{"status_code":0,"status_msg":"好","next_time":1772600767000,"video_list":[` + strings.TrimSuffix(strings.Repeat(video+",", 30), ",") + `]}`
	recorder := httptest.NewRecorder()
	answering(200, body)(recorder, nil)
	request := httptest.NewRequest(http.MethodGet, "/douyin/feed/?token=x", nil)
	for b.Loop() {
		if err := contract.Check(request, 200, recorder.Header(), []byte(body)); err != nil {
			b.Fatal(err)
		}
	}
}
