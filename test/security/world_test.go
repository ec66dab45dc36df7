// Package security attacks Backbeat over HTTP, as a stranger would who has read
// its source. Every attack runs against the real program; what a stranger can ask
// for is taken from the gateway's own table of routes.
package security

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"backbeat/app/token"
	"backbeat/deploy/local"
	"backbeat/test/harness"
)

// patience is for a machine that does much else under -race: what is tested here
// is what is answered, not how soon.
var patience = []string{"BACKBEAT_RPC_READ_BUDGET=5s", "BACKBEAT_RPC_WRITE_BUDGET=8s", "BACKBEAT_LOG_LEVEL=debug", "BACKBEAT_TOKEN_KEYS=" + keys}

// keys sign the tokens of every Backbeat here; fillers are what the keys are made of.
var (
	first  = signingKey("k1", 'a')
	second = signingKey("k2", 'b')
	keys   = first + "," + second
)

func signingKey(id string, fill byte) string {
	return id + ":" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{fill}, 32))
}

// world is one running Backbeat.
type world struct {
	*harness.App
	server *local.Server
}

// shared is a Backbeat as it is by default, whose spans go to collected.
var (
	shared    *world
	collected = &spans{}
)

// spans is a Jaeger that keeps what it is sent as it came.
type spans struct{ harness.Buffer }

func (s *spans) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil { // the sender was stopped
		return
	}
	_, _ = s.Write(body) // never fails
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "security:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "backbeat-security-")
	if err != nil {
		return 1, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	jaeger := httptest.NewServer(collected)
	defer jaeger.Close()
	if shared, err = launch(context.Background(), dir, "BACKBEAT_JAEGER_ENDPOINT="+jaeger.URL+"/api/traces"); err != nil {
		return 1, err
	}
	code = m.Run()
	err = shared.end()
	return code, errors.Join(err, harness.Inspect("a span", collected.String(), hushed...))
}

// launch starts a Backbeat in dir with the settings.
func launch(ctx context.Context, dir string, settings ...string) (*world, error) {
	program, err := harness.Program()
	if err != nil {
		return nil, err
	}
	server, err := local.StartEmbedded(ctx, dir, program, append(append([]string{}, patience...), settings...), local.Options{})
	if err != nil {
		return nil, err
	}
	return &world{App: harness.NewApp(server.URL), server: server}, nil
}

// start launches a Backbeat of the test's own, which ends with it.
func start(t *testing.T, settings ...string) *world {
	t.Helper()
	w, err := launch(t.Context(), t.TempDir(), settings...)
	check(t, err)
	t.Cleanup(func() { check(t, w.end()) })
	return w
}

// hush is in every secret of these tests.
const hush = "hUsHhUsH"

// hushed is what no log or span of these tests may hold.
var hushed = []string{hush, strings.Split(first, ":")[1], strings.Split(second, ":")[1]}

// end stops the Backbeat and looks for what must never be in its log.
func (w *world) end() error { return harness.End(w.server, hushed...) }

// log is everything the Backbeat has logged so far.
func (w *world) log(t *testing.T) string {
	t.Helper()
	text, err := w.server.Log()
	check(t, err)
	return text
}

// from returns an app whose connections come from the address, one of loopback's.
func (w *world) from(address string) *harness.App {
	app := harness.NewApp(w.Base)
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	app.HTTP.Transport = &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 16}
	return app
}

// dial opens a bare connection from the address.
func (w *world) dial(t *testing.T, address string) net.Conn {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(w.Base, "http://"))
	check(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// send asks as app does, with a query, headers and a form of any shape. An empty
// kind sends no body.
func send(t *testing.T, app *harness.App, method, path, query string, headers http.Header, kind, body string) harness.Answer {
	t.Helper()
	request, err := http.NewRequest(method, app.Base+path, strings.NewReader(body))
	check(t, err)
	request.URL.RawQuery = query
	for name, values := range headers {
		request.Header[name] = values
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	answer, err := app.Do(request)
	check(t, err)
	return answer
}

const urlencoded = "application/x-www-form-urlencoded"

// sign makes a token that is good for life.
func sign(t *testing.T, list string, user int64, life time.Duration) string {
	t.Helper()
	parsed, err := token.ParseKeys(list, life, time.Now)
	check(t, err)
	signed, err := parsed.Sign(user, time.Now())
	check(t, err)
	return signed
}

// Codes of the envelope (app/errs).
const (
	unauthenticated = 1
	exhausted       = 42900
)

// tiny is a small real video.
func tiny(t *testing.T) []byte {
	t.Helper()
	content, err := os.ReadFile(harness.Clip(t, harness.ClipOptions{Seconds: 1, Silent: true, Width: 64, Height: 64}))
	check(t, err)
	return content
}

// publish uploads as the token's user.
func publish(t *testing.T, app *harness.App, token, title string) harness.Answer {
	t.Helper()
	answer, err := app.Upload(harness.NewForm().File("data", "a.mp4", tiny(t)).Field("token", token).Field("title", title))
	check(t, err)
	return answer
}

// works is the one published video of an author, for all tests of the shared
// Backbeat.
var (
	works  sync.Once
	author harness.Account
	video  harness.Video
)

// published returns a video that everybody sees, and its author.
func published(t *testing.T) (harness.Account, harness.Video) {
	t.Helper()
	works.Do(func() {
		author = shared.Register(t)
		video = shared.PublishAndAwait(t, author, harness.Clip(t, harness.ClipOptions{Seconds: 1, Silent: true, Width: 64, Height: 64}), "作品")
	})
	return author, video
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

// unique is a name that nobody has, of 26 letters and digits.
func unique() string { return strings.ToLower(rand.Text()) }
