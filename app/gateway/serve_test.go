package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"backbeat/app/cache"
	"backbeat/app/errs"
	"backbeat/app/trace"
	"backbeat/config"
	"backbeat/proto/user"
	"backbeat/proto/video"
)

func TestLinks(t *testing.T) {
	tests := map[string]struct {
		public, cdn, host, remote string
		tls                       bool
		headers                   map[string]string
		base, media               string
	}{
		"the request's host":         {host: "192.168.1.7:8080", base: "http://192.168.1.7:8080"},
		"without a port":             {host: "video.example.org", base: "http://video.example.org"},
		"IPv6":                       {host: "[fe80::1]:8080", base: "http://[fe80::1]:8080"},
		"TLS":                        {host: "a.test", tls: true, base: "https://a.test"},
		"public_url":                 {public: "https://v.test/app/", host: "a.test", base: "https://v.test/app"},
		"a CDN":                      {cdn: "https://cdn.test/m/", host: "a.test", base: "http://a.test", media: "https://cdn.test/m"},
		"a trusted proxy":            {host: "inner", remote: "10.1.2.3:999", headers: map[string]string{"X-Forwarded-Proto": "https", "X-Forwarded-Host": "v.test"}, base: "https://v.test"},
		"a chain of proxies":         {host: "inner", remote: "10.1.2.3:999", headers: map[string]string{"X-Forwarded-Proto": "https, http", "X-Forwarded-Host": "v.test, inner"}, base: "https://v.test"},
		"a proxy over mapped IPv4":   {host: "inner", remote: "[::ffff:10.1.2.3]:999", headers: map[string]string{"X-Forwarded-Proto": "https"}, base: "https://inner"},
		"a stranger's headers":       {host: "a.test", remote: "11.1.2.3:999", headers: map[string]string{"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.test"}, base: "http://a.test"},
		"a proxy's nonsense":         {host: "a.test", remote: "10.1.2.3:999", headers: map[string]string{"X-Forwarded-Proto": "javascript", "X-Forwarded-Host": `"><script>`}, base: "http://a.test"},
		"a host that is none":        {host: `a"b`, base: "http://127.0.0.1"},
		"a host with a path":         {host: "a.test/x", base: "http://127.0.0.1"},
		"a host with a user":         {host: "u@a.test", base: "http://127.0.0.1"},
		"a host with a bad port":     {host: "a.test:80x", base: "http://127.0.0.1"},
		"a host without end":         {host: strings.Repeat("a", 300), base: "http://127.0.0.1"},
		"a host that is a port only": {host: ":8080", base: "http://127.0.0.1"},
		"a zone in IPv6":             {host: "[fe80::1%25eth0]", base: "http://127.0.0.1"},
		"an open bracket":            {host: "[fe80::1", base: "http://127.0.0.1"},
		"no host":                    {host: "", base: "http://127.0.0.1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *Config, _ *Deps) {
				c.HTTP.PublicURL, c.Media.PublicURL, c.HTTP.TrustedProxies = tt.public, tt.cdn, []string{"10.0.0.0/8"}
			})
			r := httptest.NewRequest(http.MethodGet, "/douyin/feed/", nil)
			r.Host, r.RemoteAddr = tt.host, tt.remote
			if tt.tls {
				r.TLS = &tls.ConnectionState{}
			}
			for name, value := range tt.headers {
				r.Header.Set(name, value)
			}
			if tt.media == "" {
				tt.media = tt.base + "/media"
			}
			shown := w.do(t, r).list("video_list")[0]
			if shown["play_url"] != tt.media+"/video/aa/bear.mp4" {
				t.Errorf("play_url is %v, want one below %s", shown["play_url"], tt.media)
			}
			if avatar := shown["author"].(map[string]any)["avatar"]; avatar != tt.base+"/media/avatar/101.png" {
				t.Errorf("avatar is %v, want one below %s", avatar, tt.base)
			}
		})
	}
}

// A request without a host gets the address that it was sent to.
func TestLinksOfARequestWithoutHost(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.Handler())
	t.Cleanup(server.Close)
	conn := dial(t, server.Listener.Addr())
	if _, err := io.WriteString(conn, "GET /douyin/feed/ HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answered, err := io.ReadAll(conn)
	if err != nil || !bytes.Contains(answered, []byte(`"play_url":"`+server.URL+`/media/`)) {
		t.Errorf("answered %s, %v", answered, err)
	}
}

func TestPanicIsAnswered(t *testing.T) {
	w := newWorld(t)
	w.paths["/douyin/feed/"].routes[http.MethodGet].handle = func(*Gateway, context.Context, *request) (answer, error) {
		panic("secret cause")
	}
	got := w.ask(t, http.MethodGet, "/douyin/feed/", bob)
	checkFailure(t, got, "/douyin/feed/")
	if got.status != http.StatusInternalServerError || strings.Contains(got.raw, "secret") {
		t.Errorf("answered %d %s", got.status, got.raw)
	}
	if !strings.Contains(w.log.String(), "secret cause") || !strings.Contains(w.log.String(), "serve_test.go") {
		t.Errorf("logged %s", w.log)
	}
	if spans := w.tracer.FinishedSpans(); len(spans) != 1 || spans[0].Tag("error") != true {
		t.Errorf("spans: %v", spans)
	}
}

// A panic in the middle of an answer must not look like its end.
func TestPanicWithinAnAnswerCutsItOff(t *testing.T) {
	w := newWorld(t)
	w.files = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusOK)
		panic("half way")
	})
	server := httptest.NewUnstartedServer(w.Handler())
	server.Config.ErrorLog = nil
	server.Start()
	defer server.Close()
	if resp, err := http.Get(server.URL + "/media/x.mp4"); err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil {
			t.Error("the answer looks whole")
		}
	}
}

func TestOverloadIsRefused(t *testing.T) {
	w := newWorld(t, func(c *Config, _ *Deps) { c.Limits.Concurrency = 2 })
	jam(w.concurrency)
	jam(w.hashing)
	for _, rt := range routes() {
		if rt.load == uploading {
			continue
		}
		got := w.ask(t, rt.method, rt.path, bob, good[rt.path]...)
		checkFailure(t, got, rt.path)
		if got.status != http.StatusOK || got.code() != float64(errs.Exhausted.StatusCode()) {
			t.Errorf("%s answered %d %s", rt.path, got.status, got.raw)
		}
	}
	if n := w.services.count(""); n != 0 {
		t.Errorf("%d calls under overload", n)
	}
	w.concurrency.leave(0)
	w.concurrency.leave(0)
	for range 3 {
		if got := w.ask(t, http.MethodGet, "/douyin/user/", bob); got.code() != 0 {
			t.Errorf("with room again: %s", got.raw)
		}
	}
}

// Many clients read no answer before they have sent everything.
func TestTenMegabyteFormIsRefusedOverARealConnection(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.Handler())
	t.Cleanup(server.Close)
	conn := dial(t, server.Listener.Addr())
	const size = 10 << 20
	_, err := fmt.Fprintf(conn, "POST /douyin/user/register/ HTTP/1.1\r\nHost: a.test\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("y", size))
	if err != nil {
		t.Fatalf("sending the form: %v", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := receive(t, resp)
	checkFailure(t, got, "/douyin/user/register/")
	if got.status != http.StatusRequestEntityTooLarge || w.services.count("") != 0 {
		t.Errorf("answered %d %s", got.status, got.raw)
	}
}

// Tokens and passwords travel in the query.
func TestNothingSecretIsLoggedOrTraced(t *testing.T) {
	w := newWorld(t)
	own := w.token(t, bob)
	w.services.down("favorite.")
	for _, rt := range routes() {
		if rt.load != uploading {
			w.ask(t, rt.method, rt.path, bob, append([]string{"password", "hunter2"}, good[rt.path]...)...)
		}
	}
	w.ask(t, http.MethodGet, "/douyin/feed/", 0, "token", "broken-token")
	var seen strings.Builder
	seen.WriteString(w.log.String())
	for _, span := range w.tracer.FinishedSpans() {
		seen.WriteString(span.String())
		for key, value := range span.Tags() {
			seen.WriteString(key)
			if text, isText := value.(string); isText {
				seen.WriteString(text)
			}
		}
	}
	if !strings.Contains(seen.String(), "/douyin/user/login/") {
		t.Fatal("nothing was recorded")
	}
	for _, secret := range []string{own, "hunter2", "secret", "broken-token"} {
		if strings.Contains(seen.String(), secret) {
			t.Errorf("%q is in a log or span", secret)
		}
	}
}

func TestTraces(t *testing.T) {
	const sent = "0af7651916cd43dd8448eb211c80319c"
	tracer, err := trace.New(config.Default().Jaeger, "gateway", discard())
	if err != nil {
		t.Fatal(err)
	}
	defer tracer.Close()
	w := newWorld(t, func(_ *Config, d *Deps) { d.Tracer = tracer })
	for header, want := range map[string]string{"00-" + sent + "-b7ad6b7169203331-01": sent, "nonsense": "", "": ""} {
		r := httptest.NewRequest(http.MethodGet, "/douyin/feed/", nil)
		r.Header.Set("Traceparent", header)
		got := w.do(t, r).header.Get("Trace-Id")
		if len(got) != 32 || want != "" && got != want {
			t.Errorf("traceparent %q: Trace-Id is %q", header, got)
		}
	}
}

func TestSpansOfARequest(t *testing.T) {
	w := newWorld(t)
	w.ask(t, http.MethodGet, "/douyin/feed", 0)
	names := map[string]int{}
	for _, span := range w.tracer.FinishedSpans() {
		names[span.OperationName]++
		if span.SpanContext.TraceID != w.tracer.FinishedSpans()[0].SpanContext.TraceID {
			t.Errorf("%s is in another trace", span.OperationName)
		}
	}
	for _, name := range []string{"GET /douyin/feed/", "video.Feed", "user.BatchGet", "favorite.Stats", "comment.Counts", "relation.Stats"} {
		if names[name] != 1 {
			t.Errorf("%d spans %q, want 1", names[name], name)
		}
	}
}

func TestFailureIsLoggedOnceAtTheEdge(t *testing.T) {
	w := newWorld(t)
	delete(w.services.handlers, "relation.Friends") // fails in the gateway's own process
	w.ask(t, http.MethodGet, "/douyin/relation/friend/list/", bob)
	if n := strings.Count(w.log.String(), "level=WARN"); n != 1 || !strings.Contains(w.log.String(), "relation.Friends") {
		t.Errorf("%d warnings: %s", n, w.log)
	}
}

// serveGateway runs Serve and returns its address, what ends it and its result.
func serveGateway(t *testing.T, w *world) (url string, stop func(), ended chan error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended = make(chan error, 1)
	go func() { ended <- w.Serve(ctx, listener) }()
	return "http://" + listener.Addr().String(), stop, ended
}

func TestServeDrains(t *testing.T) {
	w := newWorld(t)
	entered, release := make(chan struct{}), make(chan struct{})
	on(w.services, "user.Login", func(context.Context, *user.LoginRequest) (*user.LoginResponse, error) {
		close(entered)
		<-release
		return &user.LoginResponse{UserId: alice}, nil
	})
	url, stop, ended := serveGateway(t, w)
	answered := make(chan said, 1)
	go func() {
		resp, err := http.Post(url+"/douyin/user/login/?username=a&password=b", "", nil)
		if err != nil {
			t.Error(err)
			answered <- said{}
			return
		}
		answered <- receive(t, resp)
	}()
	<-entered
	stop()
	waitUntilRefused(t, url)
	close(release)
	if got := <-answered; got.body["user_id"] != float64(alice) {
		t.Errorf("the request in progress was answered %s", got.raw)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve returned %v", err)
	}
}

// waitUntilRefused waits until nobody listens at url any more.
func waitUntilRefused(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for ctx.Err() == nil {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			return
		}
		conn.Close()
	}
	t.Fatal("it still listens")
}

func TestServeCutsOffWhatDoesNotEnd(t *testing.T) {
	w := newWorld(t, func(c *Config, _ *Deps) {
		c.HTTP.Drain = time.Millisecond
		c.RPC.WriteBudget = time.Minute // far more than the farewell takes
	})
	entered := make(chan struct{})
	on(w.services, "user.Login", func(ctx context.Context, _ *user.LoginRequest) (*user.LoginResponse, error) {
		close(entered)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	url, stop, ended := serveGateway(t, w)
	go func() {
		if resp, err := http.Post(url+"/douyin/user/login/?username=a&password=b", "", nil); err == nil {
			resp.Body.Close()
		}
	}()
	<-entered
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Serve returned %v", err)
	}
	if !strings.Contains(w.log.String(), "cut off") {
		t.Errorf("logged %s", w.log)
	}
}

func TestNewRefusesWhatItCanNotWorkWith(t *testing.T) {
	w := newWorld(t)
	deps := Deps{Client: w.services, Keys: w.keys, Journal: cache.NewMemoryJournal(), Cache: w.cache, Tracer: w.tracer, Log: discard(), Now: time.Now}
	for name, change := range map[string]func(*Config){
		"zone":    func(c *Config) { c.Time.Zone = "Nowhere/Land" },
		"proxies": func(c *Config) { c.HTTP.TrustedProxies = []string{"x"} },
		"exempt":  func(c *Config) { c.Limits.Exempt = []string{"x"} },
		"staging": func(c *Config) { c.StagingDir = "/dev/null/x" },
	} {
		cfg := w.cfg
		change(&cfg)
		if _, err := New(cfg, deps); err == nil {
			t.Errorf("%s: New returned no error", name)
		}
	}
}

// While one service hangs, the pages go on without it, and its circuit spares
// later requests the waiting.
func TestHungServiceDimsItsPartAlone(t *testing.T) {
	w, passed := movingWorld(t)
	feedOf(w, times(3)...)
	w.ask(t, http.MethodGet, "/douyin/feed/", bob)
	on(w.services, "video.Feed", func(ctx context.Context, _ *video.FeedRequest) (*video.FeedResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	until(t, func() {
		passed.Add(int64(time.Second))
		got := w.ask(t, http.MethodGet, "/douyin/feed/", bob)
		if got.code() != 0 || len(ids(got)) != 3 || !strings.Contains(got.header.Get("Backbeat-Degraded"), "feed") {
			t.Errorf("degraded %q: %s", got.header.Get("Backbeat-Degraded"), got.raw)
		}
	}, func() bool { return w.rpc.feed.opened.Load() })
}
