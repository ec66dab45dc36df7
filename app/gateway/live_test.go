package gateway

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afex/hystrix-go/hystrix"

	"backbeat/app/errs"
	"backbeat/config"
	"backbeat/proto/comment"
	"backbeat/proto/user"
)

// of returns the gateway's part of a configuration.
func of(cfg *config.Config, dir string) Config {
	return Config{
		HTTP: cfg.HTTP, Media: cfg.Media, Limits: cfg.Limits, Time: cfg.Time, RPC: cfg.RPC,
		Circuit: cfg.Circuit, Cache: cfg.Cache, Features: cfg.Features, StagingDir: dir,
	}
}

// comments makes n comments on a service that fails as often as fails says, and
// reports whether all of them reached it.
func (w *world) comments(t *testing.T, n int, fails func(call int) bool) bool {
	t.Helper()
	calls := 0
	var mu sync.Mutex
	on(w.services, "comment.Delete", func(context.Context, *comment.DeleteRequest) (*comment.DeleteResponse, error) {
		mu.Lock()
		defer mu.Unlock()
		calls++
		if fails(calls) {
			return nil, errs.New(errs.Internal, "")
		}
		return &comment.DeleteResponse{}, nil
	})
	for range n {
		w.ask(t, http.MethodPost, "/douyin/comment/action/", bob, "video_id", "501", "action_type", "2", "comment_id", "701")
	}
	mu.Lock()
	defer mu.Unlock()
	return calls == n
}

// asked reports whether two requests alike ask an RPC twice.
func (w *world) asked(t *testing.T, rpc, path string) bool {
	t.Helper()
	w.ask(t, http.MethodGet, path, bob, "user_id", "101")
	before := w.services.count(rpc)
	w.ask(t, http.MethodGet, path, bob, "user_id", "101")
	return w.services.count(rpc) > before
}

// refuses reports whether one of some requests is refused for there being too many.
func (w *world) refuses(t *testing.T, method, path string, viewer int64, pairs ...string) bool {
	t.Helper()
	var refused bool
	for range 4 {
		refused = w.ask(t, method, path, viewer, pairs...).refused() || refused
	}
	return refused
}

// waits reports whether a call of the RPC is given more time than a default budget.
func (w *world) waits(t *testing.T, method, path string, pairs ...string) bool {
	t.Helper()
	var given time.Duration
	watch := func(ctx context.Context) {
		deadline, _ := ctx.Deadline()
		given = time.Until(deadline)
	}
	on(w.services, "user.BatchGet", func(ctx context.Context, _ *user.BatchGetRequest) (*user.BatchGetResponse, error) {
		watch(ctx)
		return &user.BatchGetResponse{Users: nil}, nil
	})
	on(w.services, "comment.Delete", func(ctx context.Context, _ *comment.DeleteRequest) (*comment.DeleteResponse, error) {
		watch(ctx)
		return &comment.DeleteResponse{}, nil
	})
	w.ask(t, method, path, bob, pairs...)
	return given > 2*time.Second
}

// Each live key of the gateway changes what it does, and back, without a restart and
// without anything that was counted or learned being forgotten.
func TestLiveKeysChangeWhatTheGatewayDoes(t *testing.T) {
	never, always := func(int) bool { return false }, func(int) bool { return true }
	const remote = "/douyin/user/" // whose sender is 192.0.2.1
	deleting := []string{"video_id", "501", "action_type", "2", "comment_id", "701"}
	type row struct {
		given map[string]string
		value string
		// does is false before and true with the value.
		does func(t *testing.T, w *world) bool
		// lasting is set where going back shows later only.
		lasting bool
	}
	rows := map[string]row{
		"rpc.read_budget": {nil, "20s", func(t *testing.T, w *world) bool {
			return w.waits(t, http.MethodGet, "/douyin/user/", "user_id", "101")
		}, false},
		"rpc.write_budget": {nil, "20s", func(t *testing.T, w *world) bool {
			return w.waits(t, http.MethodPost, "/douyin/comment/action/", deleting...)
		}, false},
		"circuit.error_percent": {map[string]string{"circuit.error_percent": "100"}, "10", func(t *testing.T, w *world) bool {
			return !w.comments(t, 200, func(call int) bool { return call%2 == 0 })
		}, true},
		"circuit.requests": {map[string]string{"circuit.requests": "1000000"}, "5", func(t *testing.T, w *world) bool {
			return !w.comments(t, 100, always)
		}, true},
		"circuit.sleep": {map[string]string{"circuit.sleep": "1m"}, "1ms", func(t *testing.T, w *world) bool {
			until(t, func() { w.comments(t, 100, always) }, func() bool { // Hystrix counts a little later
				circuit, _, err := hystrix.GetCircuit("comment.Delete")
				return err == nil && circuit.IsOpen()
			})
			for range 100 { // which takes longer than a millisecond
				if w.comments(t, 1, never) {
					return true
				}
			}
			return false
		}, true},
		"cache.counts": {nil, "0s", func(t *testing.T, w *world) bool { return w.asked(t, "relation.Stats", "/douyin/user/") }, false},
		"cache.pages":  {nil, "0s", func(t *testing.T, w *world) bool { return w.asked(t, "video.Feed", "/douyin/feed/") }, false},
		"cache.cards":  {nil, "0s", func(t *testing.T, w *world) bool { return w.asked(t, "user.BatchGet", "/douyin/user/") }, false},
		"limits.user_rate": {map[string]string{"limits.user_rate": "0", "limits.user_burst": "1"}, "1", func(t *testing.T, w *world) bool {
			return w.refuses(t, http.MethodGet, remote, bob)
		}, false},
		"limits.user_burst": {map[string]string{"limits.user_rate": "1", "limits.user_burst": "0"}, "1", func(t *testing.T, w *world) bool {
			return w.refuses(t, http.MethodGet, remote, bob)
		}, false},
		"limits.address_rate": {map[string]string{"limits.address_rate": "0", "limits.address_burst": "1"}, "1", func(t *testing.T, w *world) bool {
			return w.refuses(t, http.MethodGet, remote, 0)
		}, false},
		"limits.address_burst": {map[string]string{"limits.address_rate": "1", "limits.address_burst": "0"}, "1", func(t *testing.T, w *world) bool {
			return w.refuses(t, http.MethodGet, remote, 0)
		}, false},
		"limits.registrations": {nil, "1", func(t *testing.T, w *world) bool {
			return w.refuses(t, http.MethodPost, "/douyin/user/register/", 0, "username", "new", "password", "secret")
		}, false},
		"limits.login_failures": {nil, "1", func(t *testing.T, w *world) bool {
			return w.refuses(t, http.MethodPost, "/douyin/user/login/", 0, "username", "alice", "password", "wrong")
		}, true},
		"limits.exempt": {map[string]string{"limits.user_rate": "1", "limits.user_burst": "1"}, "192.0.2.0/24", func(t *testing.T, w *world) bool {
			return !w.refuses(t, http.MethodGet, remote, bob)
		}, false},
		"features.registration": {nil, "false", func(t *testing.T, w *world) bool {
			got := w.ask(t, http.MethodPost, "/douyin/user/register/", 0, "username", "new", "password", "secret")
			if got.code() != 0 {
				checkFailure(t, got, "/douyin/user/register/")
			}
			return got.code() == float64(errs.Forbidden.StatusCode()) && strings.Contains(got.text(), "暂停注册")
		}, false},
		"features.upload": {nil, "false", func(t *testing.T, w *world) bool {
			got := post(t, w, "", "title", "Bear", "token", w.token(t, bob), "data", string(mp4))
			if got.code() != 0 {
				checkFailure(t, got, "/douyin/publish/action/")
			}
			return got.code() == float64(errs.Forbidden.StatusCode()) && strings.Contains(got.text(), "暂停发布")
		}, false},
	}
	for _, s := range config.Default().Settings() {
		others := strings.HasPrefix(s.Name, "jaeger.") || s.Name == "log.level" || s.Name == "likes.shards" // see app/boot
		if _, found := rows[s.Name]; s.Live != found && !others {
			t.Errorf("%s is live %v and has a row %v", s.Name, s.Live, found)
		}
	}
	for key, row := range rows {
		t.Run(key, func(t *testing.T) {
			base, err := config.Default().With(map[string]string{"limits.exempt": strings.Join(everybody, ",")})
			if err == nil && strings.HasPrefix(key, "limits.") {
				base, err = base.With(map[string]string{"limits.exempt": ""})
			}
			if err == nil {
				base, err = base.With(row.given)
			}
			if err != nil {
				t.Fatal(err)
			}
			changed, err := base.With(map[string]string{key: row.value})
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			w := newWorld(t, func(c *Config, _ *Deps) { *c = of(base, dir) })
			if row.does(t, w) {
				t.Fatal("it does before what it should do after")
			}
			if err := w.Set(of(changed, dir)); err != nil {
				t.Fatal(err)
			}
			if !row.does(t, w) {
				t.Error("nothing changed")
			}
			if err := w.Set(of(base, dir)); err != nil {
				t.Fatal(err)
			}
			if !row.lasting && row.does(t, w) {
				t.Error("it did not change back")
			}
		})
	}
}

// Settings change under load; the race detector looks on.
func TestSettingsChangeUnderLoad(t *testing.T) {
	w := newWorld(t)
	other := w.cfg
	other.RPC.ReadBudget, other.Circuit.Requests, other.Cache.Counts, other.Limits.Exempt = time.Second, 50, 0, nil
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				w.ask(t, http.MethodGet, "/douyin/feed/", bob)
				w.ask(t, http.MethodPost, "/douyin/user/register/", 0, "username", "new", "password", "secret")
			}
		})
	}
	for range 50 {
		for _, cfg := range []Config{other, w.cfg} {
			if err := w.Set(cfg); err != nil {
				t.Error(err)
			}
		}
	}
	cancel()
	clients.Wait()
}

// Who was counted at a slow pace does not pay for it when the pace is quicker. A
// change of one limit leaves what the others counted.
func TestALimitThatIsRaisedAdmitsAtOnce(t *testing.T) {
	slow := config.Limits{UserRate: 1, UserBurst: 10, AddressRate: 1, AddressBurst: 1}
	l, err := newLimits(slow, (&steps{}).now)
	if err != nil {
		t.Fatal(err)
	}
	for l.viewer(sender{}, bob) == nil {
	}
	for l.request(sender{}) == nil {
	}
	quick := slow
	quick.UserRate = 1000
	if err := l.set(quick); err != nil {
		t.Fatal(err)
	}
	if err := l.viewer(sender{}, bob); err != nil {
		t.Errorf("at the quicker pace: %v", err)
	}
	if l.request(sender{}) == nil {
		t.Error("the other limit has forgotten")
	}
}
