package security

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"backbeat/app/gateway"
	"backbeat/test/harness"
)

// fetch returns an answer of any kind.
func fetch(t *testing.T, method, url string, headers http.Header) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequest(method, url, nil)
	check(t, err)
	for name, values := range headers {
		request.Header[name] = values
	}
	response, err := shared.HTTP.Do(request)
	check(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	check(t, err)
	return response, string(body)
}

// No answer of the API is stored or taken for another type, be it a success, a
// failure or none of its business.
func TestHeadersOfAnswers(t *testing.T) {
	t.Parallel()
	user := shared.Register(t)
	look := func(t *testing.T, method, path string) {
		t.Helper()
		response, _ := fetch(t, method, shared.Base+path, http.Header{"Origin": {"https://a.test"}})
		equal(t, "X-Content-Type-Options", response.Header.Get("X-Content-Type-Options"), "nosniff")
		equal(t, "Cache-Control", response.Header.Get("Cache-Control"), "no-store")
		equal(t, "Content-Type", response.Header.Get("Content-Type"), "application/json; charset=utf-8")
		for _, never := range []string{"Set-Cookie", "Server", "X-Powered-By", "Access-Control-Allow-Credentials", "Location"} {
			equal(t, never, response.Header.Get(never), "")
		}
	}
	for _, route := range gateway.Routes() {
		t.Run(route.Path, func(t *testing.T) {
			for _, token := range []string{user.Token, "", "bad"} {
				look(t, route.Method, route.Path+"?token="+token)
			}
			look(t, http.MethodDelete, route.Path+"?token="+user.Token)
		})
	}
	for _, path := range []string{"/nowhere", "/douyin/", "/media/nothing.mp4", "/media/../token.keys", "/debug/pprof/", "/metrics"} {
		t.Run(path, func(t *testing.T) { look(t, http.MethodGet, path) })
	}
}

// A browser runs nothing of what people upload.
func TestHeadersOfMedia(t *testing.T) {
	t.Parallel()
	author, video := published(t)
	avatar := shared.Profile(t, author, author.ID).Avatar
	for _, row := range []struct {
		name, url, kind string
		headers         http.Header
	}{
		{"a video", video.PlayURL, "video/mp4", nil},
		{"a part of a video", video.PlayURL, "video/mp4", http.Header{"Range": {"bytes=0-9"}}},
		{"a cover", video.CoverURL, "image/jpeg", nil},
		{"a drawn avatar", avatar, "image/png", nil},
		{"a video that is not asked for as such", video.PlayURL, "video/mp4", http.Header{"Accept": {"text/html"}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			response, _ := fetch(t, http.MethodGet, row.url, row.headers)
			if response.StatusCode >= 300 {
				t.Fatalf("HTTP %d", response.StatusCode)
			}
			equal(t, "Content-Type", response.Header.Get("Content-Type"), row.kind)
			equal(t, "X-Content-Type-Options", response.Header.Get("X-Content-Type-Options"), "nosniff")
			equal(t, "Content-Security-Policy", response.Header.Get("Content-Security-Policy"), "default-src 'none'; sandbox")
		})
	}
	response, body := fetch(t, http.MethodGet, shared.Base+"/", nil)
	policy := response.Header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; script-src 'sha256-") || strings.Contains(policy, "unsafe") || len(body) == 0 {
		t.Errorf("the page's policy is %q", policy)
	}
	equal(t, "Referrer-Policy", response.Header.Get("Referrer-Policy"), "no-referrer")
}

// asHost asks for the anonymous feed, which is a cached page, with a Host and
// headers as they are written.
func asHost(t *testing.T, host, headers string) (status int, body string) {
	t.Helper()
	conn := shared.dial(t, "127.0.0.1")
	defer conn.Close()
	_, err := fmt.Fprintf(conn, "GET /douyin/feed/ HTTP/1.1\r\nHost: %s\r\n%sConnection: close\r\n\r\n", host, headers)
	check(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	check(t, err)
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	check(t, err)
	return response.StatusCode, string(page)
}

// A stranger's Host gets into the stranger's own page at most, whatever is cached,
// and nothing that is no host gets into any.
func TestHostsDoNotPoisonPages(t *testing.T) {
	t.Parallel()
	published(t)
	honest := strings.TrimPrefix(shared.Base, "http://")
	stop := make(chan struct{})
	var attackers sync.WaitGroup
	for n := range 4 {
		attackers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				host := fmt.Sprintf("evil-%d-%d.test", n, i%40) // more than the cache holds
				if i%3 == 0 {
					host = strings.ToUpper(honest) + ".evil.test"
				}
				asHost(t, host, "X-Forwarded-Host: evil.test\r\nX-Forwarded-Proto: https\r\nForwarded: host=evil.test\r\nX-Original-Host: evil.test\r\n")
			}
		})
	}
	for range 60 {
		answer := harness.OK(t, shared.Get(t, "/douyin/feed/"))
		if strings.Contains(answer.Raw, "evil") || len(answer.VideoList) == 0 || !strings.Contains(answer.Raw, `"play_url":"http://`+honest+"/media/") {
			t.Errorf("the page is poisoned: %.500s", answer.Raw)
			break
		}
	}
	close(stop)
	attackers.Wait()
	for _, host := range []string{"evil.test/x", `evil.test"><script>`, "evil.test@" + honest, "evil.test#", "evil.test\\x", "evil.test:99999999", "evil test", "[evil.test]", strings.Repeat("evil.", 99)} {
		t.Run(host, func(t *testing.T) {
			if status, page := asHost(t, host, ""); strings.Contains(page, "evil") || status >= http.StatusInternalServerError {
				t.Errorf("HTTP %d %.300s", status, page)
			}
		})
	}
	t.Run("a forwarded host of a stranger", func(t *testing.T) {
		for _, header := range []string{"X-Forwarded-Host", "X-Host", "X-Forwarded-Server", "Forwarded", "X-Original-Url", "X-Rewrite-Url"} {
			if _, page := asHost(t, honest, header+": evil.test\r\n"); strings.Contains(page, "evil") {
				t.Errorf("%s is believed: %.300s", header, page)
			}
		}
	})
}
