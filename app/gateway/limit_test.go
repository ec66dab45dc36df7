package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"backbeat/app/errs"
	"backbeat/config"
	"backbeat/proto/user"
)

// steps is a clock that goes when it is told to.
type steps struct{ since atomic.Int64 }

func (s *steps) now() time.Time          { return clock.Add(time.Duration(s.since.Load())) }
func (s *steps) advance(d time.Duration) { s.since.Add(int64(d)) }

// newLimited returns a world with the limits alone that are given, for everybody.
func newLimited(t testing.TB, limits config.Limits, change ...func(*Config, *Deps)) (*world, *steps) {
	t.Helper()
	at := &steps{}
	set := func(c *Config, d *Deps) {
		limits.Concurrency = c.Limits.Concurrency
		c.Limits, d.Now = limits, at.now
	}
	return newWorld(t, append([]func(*Config, *Deps){set}, change...)...), at
}

// from is w.ask by a client at another address.
func (w *world) from(t testing.TB, remote, method, path string, viewer int64, pairs ...string) said {
	t.Helper()
	r := httptest.NewRequest(method, "http://phone.test"+path+"?"+w.query(t, viewer, pairs...), nil)
	r.RemoteAddr = remote
	return w.do(t, r)
}

func (s said) refused() bool { return s.code() == float64(errs.Exhausted.StatusCode()) }

func TestSender(t *testing.T) {
	for _, row := range []struct {
		name, remote string
		forwarded    []string
		want         string
		exempt       bool
	}{
		{name: "IPv4", remote: "203.0.113.7:999", want: "203.0.113.7"},
		{name: "IPv4 in IPv6", remote: "[::ffff:203.0.113.7]:999", want: "203.0.113.7"},
		{name: "IPv6 is its network", remote: "[2001:db8:1:2:3:4:5:6]:999", want: "2001:db8:1:2::"},
		{name: "a zone", remote: "[fe80::1%eth0]:999", want: "fe80::"},
		{name: "loopback", remote: "127.0.0.9:999", want: "127.0.0.9", exempt: true},
		{name: "loopback in IPv6", remote: "[::1]:999", want: "::", exempt: true},
		{name: "loopback's neighbour", remote: "[::2]:999", want: "::"},
		{name: "no address", remote: "@", want: "invalid IP"},

		{name: "a stranger's header", remote: "203.0.113.7:999", forwarded: []string{"198.51.100.1"}, want: "203.0.113.7"},
		{name: "a stranger who claims loopback", remote: "203.0.113.7:999", forwarded: []string{"127.0.0.1"}, want: "203.0.113.7"},
		{name: "a proxy", remote: "10.1.2.3:999", forwarded: []string{"203.0.113.7"}, want: "203.0.113.7"},
		{name: "a proxy over IPv6", remote: "[fd00::1]:999", forwarded: []string{"2001:db8::7"}, want: "2001:db8::"},
		{name: "a proxy without a header", remote: "10.1.2.3:999", want: "10.1.2.3"},
		{name: "a spoofed entry before the proxy's", remote: "10.1.2.3:999", forwarded: []string{"198.51.100.1, 203.0.113.7"}, want: "203.0.113.7"},
		{name: "a spoofed loopback before the proxy's", remote: "10.1.2.3:999", forwarded: []string{"127.0.0.1,203.0.113.7"}, want: "203.0.113.7"},
		{name: "a spoofed line before the proxy's", remote: "10.1.2.3:999", forwarded: []string{"198.51.100.1", "203.0.113.7"}, want: "203.0.113.7"},
		{name: "a chain of proxies", remote: "10.1.2.3:999", forwarded: []string{"198.51.100.1, 203.0.113.7, 10.9.9.9", "10.8.8.8"}, want: "203.0.113.7"},
		{name: "proxies alone", remote: "10.1.2.3:999", forwarded: []string{"10.7.7.7, 10.8.8.8"}, want: "10.7.7.7"},
		{name: "a port", remote: "10.1.2.3:999", forwarded: []string{"203.0.113.7:4711"}, want: "203.0.113.7"},
		{name: "a port of IPv6", remote: "10.1.2.3:999", forwarded: []string{"[2001:db8::7]:4711"}, want: "2001:db8::"},
		{name: "nonsense", remote: "10.1.2.3:999", forwarded: []string{"203.0.113.7, unknown"}, want: "10.1.2.3"},
		{name: "nonsense behind two proxies", remote: "10.1.2.3:999", forwarded: []string{"203.0.113.7, , 10.9.9.9"}, want: "10.9.9.9"},
		{name: "an empty header", remote: "10.1.2.3:999", forwarded: []string{""}, want: "10.1.2.3"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, func(c *Config, _ *Deps) {
				c.HTTP.TrustedProxies = []string{"10.0.0.0/8", "fd00::/8"}
				c.Limits.Exempt = config.Default().Limits.Exempt
			})
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = row.remote
			r.Header["X-Forwarded-For"] = row.forwarded
			if got := w.sender(r); got.addr.String() != row.want || got.exempt != row.exempt {
				t.Errorf("got %v, exempt %v", got.addr, got.exempt)
			}
		})
	}
}

// Whatever is asked for counts, and a refusal looks like any failure: the API's
// has the endpoint's keys, others an HTTP status.
func TestAddressIsLimited(t *testing.T) {
	w, at := newLimited(t, config.Limits{AddressRate: 1, AddressBurst: 1})
	type target struct {
		method, path string
		status       int
	}
	targets := []target{
		{http.MethodGet, "/", http.StatusTooManyRequests},
		{http.MethodGet, "/media/avatar/101.png", http.StatusTooManyRequests},
		{http.MethodGet, "/nowhere", http.StatusTooManyRequests},
		{http.MethodOptions, "/douyin/feed/", http.StatusTooManyRequests},
		{http.MethodDelete, "/douyin/feed/", http.StatusTooManyRequests},
	}
	for _, rt := range routes() {
		targets = append(targets, target{rt.method, rt.path, http.StatusOK})
	}
	for _, to := range targets {
		t.Run(to.method+" "+to.path, func(t *testing.T) {
			at.advance(time.Second)
			if got := w.ask(t, http.MethodGet, "/nowhere", 0); got.refused() {
				t.Fatalf("the first was refused: %s", got.raw)
			}
			before := w.services.count("")
			got := w.ask(t, to.method, to.path, bob, good[to.path]...)
			if got.status != to.status || !got.refused() || got.text() != errs.Text(refuse(false)) {
				t.Errorf("answered %d %s", got.status, got.raw)
			}
			if to.status == http.StatusOK {
				checkFailure(t, got, to.path)
			}
			if n := w.services.count("") - before; n != 0 {
				t.Errorf("%d calls for a request that was refused", n)
			}
			if got := w.from(t, "198.51.100.1:1", http.MethodGet, "/douyin/user/", bob); got.code() != 0 {
				t.Errorf("another address: %s", got.raw)
			}
		})
	}
}

func TestUserIsLimited(t *testing.T) {
	w, at := newLimited(t, config.Limits{UserRate: 1, UserBurst: 1})
	for _, rt := range routes() {
		if rt.policy == open {
			continue
		}
		t.Run(rt.path, func(t *testing.T) {
			at.advance(time.Second)
			if got := w.from(t, "198.51.100.1:1", http.MethodGet, "/douyin/user/", bob); got.code() != 0 {
				t.Fatalf("the first was refused: %s", got.raw)
			}
			before := w.services.count("")
			var got said
			if rt.load == uploading {
				got = post(t, w, "", "title", "Bear", "token", w.token(t, bob), "data", string(mp4))
			} else {
				got = w.ask(t, rt.method, rt.path, bob, good[rt.path]...)
			}
			checkFailure(t, got, rt.path)
			if got.status != http.StatusOK || !got.refused() {
				t.Errorf("answered %d %s", got.status, got.raw)
			}
			if n := w.services.count("") - before; n != 0 {
				t.Errorf("%d calls for a request that was refused", n)
			}
		})
	}
	for range 5 {
		if got := w.ask(t, http.MethodGet, "/douyin/feed/", 0); got.code() != 0 {
			t.Errorf("anonymous users share a limit: %s", got.raw)
		}
		if got := w.ask(t, http.MethodGet, "/douyin/feed/", 0, "token", "broken"); got.code() != 0 {
			t.Errorf("holders of bad tokens share a limit: %s", got.raw)
		}
	}
	if got := w.ask(t, http.MethodGet, "/douyin/user/", alice); got.code() != 0 {
		t.Errorf("another user: %s", got.raw)
	}
	at.advance(time.Second)
	if got := w.ask(t, http.MethodGet, "/douyin/user/", bob); got.code() != 0 {
		t.Errorf("a second later: %s", got.raw)
	}
}

func TestRegistrationsAreLimited(t *testing.T) {
	w, at := newLimited(t, config.Limits{Registrations: 3})
	register := func(remote string) said {
		return w.from(t, remote, http.MethodPost, "/douyin/user/register/", 0, "username", "new", "password", "secret")
	}
	for range 3 {
		if got := register("192.0.2.1:1"); got.code() != 0 {
			t.Fatalf("refused: %s", got.raw)
		}
	}
	got := register("192.0.2.1:2")
	checkFailure(t, got, "/douyin/user/register/")
	if !got.refused() || w.services.count("user.Register") != 3 {
		t.Errorf("the fourth was answered %s after %d calls", got.raw, w.services.count("user.Register"))
	}
	if got := register("192.0.2.2:1"); got.code() != 0 {
		t.Errorf("another address: %s", got.raw)
	}
	at.advance(20 * time.Second)
	if got := register("192.0.2.1:1"); got.code() != 0 {
		t.Errorf("after a third of a minute: %s", got.raw)
	}
}

func TestExemptAreNeverLimited(t *testing.T) {
	w, _ := newLimited(t, config.Limits{
		UserRate: 1, UserBurst: 1, AddressRate: 1, AddressBurst: 1, Registrations: 1, LoginFailures: 1,
		Exempt: config.Default().Limits.Exempt,
	})
	for _, remote := range []string{"127.0.0.1:1", "[::1]:1"} {
		for range 5 {
			for _, got := range []said{
				w.from(t, remote, http.MethodGet, "/douyin/user/", bob),
				w.from(t, remote, http.MethodPost, "/douyin/user/register/", 0, good["/douyin/user/register/"]...),
				w.from(t, remote, http.MethodPost, "/douyin/user/login/", 0, "username", "alice", "password", "wrong"),
				w.from(t, remote, http.MethodPost, "/douyin/user/login/", 0, good["/douyin/user/login/"]...),
			} {
				if got.refused() {
					t.Errorf("%s: %s", remote, got.raw)
				}
			}
		}
	}
}

func TestZeroSwitchesALimitOff(t *testing.T) {
	all := config.Limits{UserRate: 1, UserBurst: 1, AddressRate: 1, AddressBurst: 1, Registrations: 1, LoginFailures: 1}
	for name, off := range map[string]struct {
		change func(*config.Limits)
		ask    func(*limits) error
	}{
		"user_rate":      {func(c *config.Limits) { c.UserRate = 0 }, func(l *limits) error { return l.viewer(sender{}, bob) }},
		"user_burst":     {func(c *config.Limits) { c.UserBurst = 0 }, func(l *limits) error { return l.viewer(sender{}, bob) }},
		"address_rate":   {func(c *config.Limits) { c.AddressRate = 0 }, func(l *limits) error { return l.request(sender{}) }},
		"address_burst":  {func(c *config.Limits) { c.AddressBurst = 0 }, func(l *limits) error { return l.request(sender{}) }},
		"registrations":  {func(c *config.Limits) { c.Registrations = 0 }, func(l *limits) error { return l.registration(sender{}) }},
		"login_failures": {func(c *config.Limits) { c.LoginFailures = 0 }, func(l *limits) error { return l.login(sender{}, "alice", wrong) }},
	} {
		t.Run(name, func(t *testing.T) {
			for on, cfg := range map[bool]config.Limits{true: all, false: all} {
				if !on {
					off.change(&cfg)
				}
				l, err := newLimits(cfg, (&steps{}).now)
				if err != nil {
					t.Fatal(err)
				}
				var refused bool
				for range 5 {
					refused = refused || errs.Is(off.ask(l), errs.Exhausted)
				}
				if refused != on {
					t.Errorf("limit on %v, refused %v", on, refused)
				}
			}
		})
	}
}

// The app asks for a chat three times a second, beside what its user does.
func TestChatPollingIsNeverLimited(t *testing.T) {
	limits := config.Default().Limits
	limits.Exempt = nil
	w, at := newLimited(t, limits)
	for range 3 * 60 {
		if got := w.ask(t, http.MethodGet, "/douyin/message/chat/", bob, good["/douyin/message/chat/"]...); got.code() != 0 {
			t.Fatalf("after %v: %s", at.now().Sub(clock), got.raw)
		}
		at.advance(time.Second / 3)
	}
}

// A client that keeps to the rate is never refused, though the network delays its
// requests and delivers them in heaps. One that does not gets no more than that.
func TestMeterAdmitsWhatIsAllowed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate, burst := rapid.IntRange(1, 1000).Draw(t, "rate"), rapid.IntRange(1, 50).Draw(t, "burst")
		gap := time.Second / time.Duration(rate)
		begun := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "begun"))
		delay := rapid.Int64Range(0, int64(gap)*int64(burst-1))

		honest, p := newMeter[int](), newPace(rate, time.Second, burst)
		var arrivals []time.Duration
		for i := range rapid.IntRange(1, 200).Draw(t, "requests") {
			arrivals = append(arrivals, begun+time.Duration(i)*gap+time.Duration(delay.Draw(t, "delay")))
		}
		slices.Sort(arrivals)
		for i, at := range arrivals {
			if !honest.admits(1, p, at) {
				t.Fatalf("request %d of an honest client was refused at %v", i, at)
			}
		}

		flooded := newMeter[int]()
		admitted, now := 0, begun
		for range rapid.IntRange(1, 500).Draw(t, "flood") {
			now += time.Duration(rapid.Int64Range(0, int64(gap)).Draw(t, "pause"))
			if flooded.admits(1, p, now) {
				admitted++
			}
		}
		if most := burst + int((now-begun)/gap); admitted > most {
			t.Fatalf("%d admitted in %v, at most %d are allowed", admitted, now-begun, most)
		}
	})
}

func TestMeterCountsAllThatComeAtOnce(t *testing.T) {
	const burst, each = 100_000, 50_000
	m, p := newMeter[int](), newPace(1, time.Second, burst)
	var admitted atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range each {
				if m.admits(1, p, time.Minute) {
					admitted.Add(1)
				}
			}
		})
	}
	group.Wait()
	if n := admitted.Load(); n != burst {
		t.Errorf("%d admitted, want %d", n, burst)
	}
}

func TestLimitsForgetRatherThanGrow(t *testing.T) {
	l, err := newLimits(config.Default().Limits, (&steps{}).now)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint32(maxTracked + 1) {
		from := l.sender(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}))
		for _, err := range []error{
			l.request(from), l.registration(from), l.viewer(from, int64(i)+1),
		} {
			if err != nil {
				t.Fatalf("address %v: %v", from.addr, err)
			}
		}
		if err := l.login(from, fmt.Sprint("name", i), wrong); errs.Is(err, errs.Exhausted) {
			t.Fatalf("name%d: %v", i, err)
		}
	}
	l.addresses.full.CleanUp()
	l.registrations.full.CleanUp()
	l.users.full.CleanUp()
	l.logins.names.CleanUp()
	for name, size := range map[string]int{
		"addresses":     l.addresses.full.EstimatedSize(),
		"registrations": l.registrations.full.EstimatedSize(),
		"users":         l.users.full.EstimatedSize(),
		"logins":        l.logins.names.EstimatedSize(),
	} {
		if size > maxTracked || size < maxTracked/2 {
			t.Errorf("%d %s are remembered, want at most %d", size, name, maxTracked)
		}
	}
}

func wrong() error { return errs.New(errs.Unauthenticated, "用户名或密码错误") }
func right() error { return nil }

// attempts runs logins against limits of three failures.
type attempts struct {
	*limits
	at *steps
}

func newAttempts(t *testing.T) attempts {
	t.Helper()
	at := &steps{}
	l, err := newLimits(config.Limits{LoginFailures: 3}, at.now)
	if err != nil {
		t.Fatal(err)
	}
	return attempts{l, at}
}

// fail runs n failing logins and returns how many of them were tried.
func (a attempts) fail(name string, n int) (tried int) {
	for range n {
		if err := a.login(sender{}, name, wrong); !errs.Is(err, errs.Exhausted) {
			tried++
		}
	}
	return tried
}

func TestFailedLoginsWaitLongerEachTime(t *testing.T) {
	a := newAttempts(t)
	if n := a.fail("alice", 5); n != 3 {
		t.Fatalf("%d tried at once, want 3", n)
	}
	for _, wait := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300} {
		wait *= time.Second
		a.at.advance(wait - 1)
		if err := a.login(sender{}, "alice", right); !errs.Is(err, errs.Exhausted) {
			t.Fatalf("tried before %v were over: %v", wait, err)
		}
		a.at.advance(1)
		if n := a.fail("alice", 2); n != 1 {
			t.Fatalf("%d tried after %v, want 1", n, wait)
		}
	}
	if n := a.fail("bob", 1); n != 1 {
		t.Error("another name waits too")
	}
}

func TestWhatClearsAName(t *testing.T) {
	for _, row := range []struct {
		name  string
		clear func(*testing.T, attempts)
		free  int // tries that are free afterwards
	}{
		{"nothing", func(*testing.T, attempts) {}, 0},
		{"a success", func(t *testing.T, a attempts) {
			a.at.advance(firstWait)
			if err := a.login(sender{}, "alice", right); err != nil {
				t.Error(err)
			}
		}, 3},
		{"quiet", func(_ *testing.T, a attempts) { a.at.advance(quiet + 1) }, 3},
		{"less than quiet", func(_ *testing.T, a attempts) { a.at.advance(quiet) }, 1},
		{"another name's success", func(t *testing.T, a attempts) {
			if err := a.login(sender{}, "bob", right); err != nil {
				t.Error(err)
			}
		}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := newAttempts(t)
			a.fail("alice", 3)
			row.clear(t, a)
			if n := a.fail("alice", 10); n != row.free {
				t.Errorf("%d tried, want %d", n, row.free)
			}
		})
	}
}

func TestSpellingsOfANameAreOneName(t *testing.T) {
	a := newAttempts(t)
	for _, name := range []string{"Ａlice", " ALICE\u200b ", "alice"} {
		if n := a.fail(name, 1); n != 1 {
			t.Fatalf("%q was not tried", name)
		}
	}
	if n := a.fail("aLiCe", 1); n != 0 {
		t.Error("a fourth spelling was tried")
	}
}

// While the user service is away or busy nobody fails, and nobody has to wait.
func TestUnansweredLoginsAreNoFailures(t *testing.T) {
	a := newAttempts(t)
	for _, unanswered := range []error{
		errs.New(errs.Unavailable, ""), errs.New(errs.Exhausted, ""), context.Canceled, errors.New("broken"),
	} {
		for range 5 {
			tried := false
			_ = a.login(sender{}, "alice", func() error { tried = true; return unanswered })
			if !tried {
				t.Fatalf("not tried after %v", unanswered)
			}
		}
	}
	if n := a.fail("alice", 5); n != 3 {
		t.Errorf("%d tried, want 3", n)
	}
}

// Tries made at once are counted before any has failed, in whatever spelling.
func TestLoginsAtOnceAreNotFree(t *testing.T) {
	w, _ := newLimited(t, config.Limits{LoginFailures: 10})
	release := make(chan struct{})
	on(w.services, "user.Login", func(context.Context, *user.LoginRequest) (*user.LoginResponse, error) {
		<-release
		return nil, wrong()
	})
	const at = 64
	answered := make(chan said, at)
	for range at {
		go func() {
			answered <- w.ask(t, http.MethodPost, "/douyin/user/login/", 0, "username", "alice", "password", "guess")
		}()
	}
	for range at - 10 { // these don't wait for the others
		if got := <-answered; !got.refused() {
			t.Errorf("answered %s", got.raw)
		}
	}
	close(release)
	for range 10 {
		if got := <-answered; got.code() != float64(errs.Unauthenticated.StatusCode()) {
			t.Errorf("answered %s", got.raw)
		}
	}
	if n := w.services.count("user.Login"); n != 10 {
		t.Errorf("%d passwords were tried, want 10", n)
	}
}

// Names that somebody has and those that nobody has are refused alike, the right
// password like a wrong one, and nothing is hashed for it.
func TestRefusedLoginTellsNothing(t *testing.T) {
	w, at := newLimited(t, config.Limits{LoginFailures: 10})
	login := func(name, password string) said {
		return w.ask(t, http.MethodPost, "/douyin/user/login/", 0, "username", name, "password", password)
	}
	for _, name := range []string{"alice", "nobody-has-this"} {
		for range 10 {
			if got := login(name, "wrong"); got.code() != float64(errs.Unauthenticated.StatusCode()) {
				t.Fatalf("%s: %s", name, got.raw)
			}
		}
	}
	before := w.services.count("")
	known, unknown, correct := login("alice", "wrong"), login("nobody-has-this", "wrong"), login("alice", "secret")
	checkFailure(t, known, "/douyin/user/login/")
	if !known.refused() || known.raw != unknown.raw || known.raw != correct.raw {
		t.Errorf("answered\n%s\n%s\n%s", known.raw, unknown.raw, correct.raw)
	}
	if n := w.services.count("") - before; n != 0 {
		t.Errorf("%d calls for logins that were refused", n)
	}
	if got := login("bob", "secret"); got.code() != 0 {
		t.Errorf("another name: %s", got.raw)
	}
	at.advance(firstWait)
	if got := login("alice", "secret"); got.code() != 0 {
		t.Errorf("the owner, after waiting: %s", got.raw)
	}
}

func TestAdmittingAllocatesNothing(t *testing.T) {
	w, r := newAdmission(t)
	if n := testing.AllocsPerRun(1000, func() { w.admit(t, r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// newAdmission returns a world behind a proxy, and a request that came through it.
func newAdmission(t testing.TB) (*world, *http.Request) {
	const endless = 1e9
	limits := config.Limits{UserRate: endless, UserBurst: endless, AddressRate: endless, AddressBurst: endless}
	limits.Exempt = config.Default().Limits.Exempt
	w, _ := newLimited(t, limits, func(c *Config, d *Deps) {
		c.HTTP.TrustedProxies, d.Now = []string{"10.0.0.0/8"}, time.Now
	})
	r := httptest.NewRequest(http.MethodGet, "/douyin/feed/", nil)
	r.RemoteAddr = "10.1.2.3:999"
	r.Header.Set("X-Forwarded-For", "203.0.113.7")
	return w, r
}

// admit is what every request of a user goes through.
func (w *world) admit(t testing.TB, r *http.Request) {
	from := w.sender(r)
	if err := errors.Join(w.limits.request(from), w.limits.viewer(from, bob)); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkAdmit(b *testing.B) {
	w, r := newAdmission(b)
	b.ReportAllocs()
	for b.Loop() {
		w.admit(b, r)
	}
}

// A flood from one address is refused by the first thing that looks at it.
func BenchmarkRefuse(b *testing.B) {
	m, p := newMeter[netip.Addr](), newPace(1, time.Hour, 1)
	addr := netip.MustParseAddr("203.0.113.7")
	m.admits(addr, p, 0)
	b.ReportAllocs()
	for b.Loop() {
		if m.admits(addr, p, 0) {
			b.Fatal("admitted")
		}
	}
}
