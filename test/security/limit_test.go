package security

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"backbeat/config"
	"backbeat/test/harness"
)

// The limits that are promised are those one gets.
func TestDefaultLimits(t *testing.T) {
	got := config.Default().Limits
	equal(t, "user rate", got.UserRate, 50)
	equal(t, "user burst", got.UserBurst, 100)
	equal(t, "address rate", got.AddressRate, 1000)
	equal(t, "registrations a minute", got.Registrations, 300)
	equal(t, "failed logins", got.LoginFailures, 10)
	if !slices.Equal(got.Exempt, []string{"127.0.0.0/8", "::1/128"}) {
		t.Errorf("exempt are %v", got.Exempt)
	}
}

// Loopback is exempt unless it is configured otherwise.
func TestLoopbackIsExempt(t *testing.T) {
	t.Parallel()
	user := shared.Register(t)
	admitted, refusals := flood(t, 3*config.Default().Limits.UserBurst, func() harness.Answer {
		return shared.Get(t, "/douyin/user/", "token", user.Token, "user_id", "x")
	})
	equal(t, "refused", refusals, 0)
	equal(t, "admitted", admitted, 3*config.Default().Limits.UserBurst)
}

// flood asks n times, eight at once, and counts what was admitted and refused.
func flood(t *testing.T, n int, ask func() harness.Answer) (admitted, refusals int) {
	t.Helper()
	var taken, let, turned atomic.Int64
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			for taken.Add(1) <= int64(n) {
				if limited(ask()) {
					turned.Add(1)
				} else {
					let.Add(1)
				}
			}
		})
	}
	running.Wait()
	return int(let.Load()), int(turned.Load())
}

func limited(answer harness.Answer) bool {
	return answer.StatusCode == exhausted
}

// Rates as a stranger meets them, on a Backbeat where nobody is exempt. Each test
// comes from an address of its own. Admitted is never more than the burst and what
// the rate gave meanwhile; nothing is said about how fast this machine is.
func TestRateLimits(t *testing.T) {
	t.Parallel()
	const addressRate, addressBurst, registrations = 5, 150, 20
	const userRate, userBurst = 5, 40 // slow, so that a slow machine can exceed them
	w := start(t, "BACKBEAT_LIMITS_EXEMPT=", "BACKBEAT_HTTP_TRUSTED_PROXIES=127.0.0.2/32",
		fmt.Sprintf("BACKBEAT_LIMITS_ADDRESS_RATE=%d", addressRate), fmt.Sprintf("BACKBEAT_LIMITS_ADDRESS_BURST=%d", addressBurst),
		fmt.Sprintf("BACKBEAT_LIMITS_USER_RATE=%d", userRate), fmt.Sprintf("BACKBEAT_LIMITS_USER_BURST=%d", userBurst),
		fmt.Sprintf("BACKBEAT_LIMITS_REGISTRATIONS=%d", registrations))
	within := func(t *testing.T, admitted, burst, rate int, since time.Time) {
		t.Helper()
		most := burst + 1 + int(time.Since(since).Seconds()*float64(rate))
		if admitted < burst || admitted > most {
			t.Errorf("%d were admitted, want %d to %d", admitted, burst, most)
		}
	}
	// missing is a request that costs next to nothing.
	missing := func(t *testing.T, app *harness.App, forwarded string) harness.Answer {
		t.Helper()
		headers := http.Header{}
		if forwarded != "" {
			headers.Set("X-Forwarded-For", forwarded)
		}
		return send(t, app, http.MethodGet, "/nowhere", "", headers, "", "")
	}

	t.Run("a user", func(t *testing.T) {
		t.Parallel()
		app := w.from("127.0.1.1")
		user, other := app.Register(t), app.Register(t)
		ask := func(token string) harness.Answer {
			return app.Get(t, "/douyin/user/", "token", token, "user_id", "x")
		}
		begun := time.Now()
		admitted, refusals := flood(t, 2*userBurst, func() harness.Answer { return ask(user.Token) })
		within(t, admitted, userBurst, userRate, begun)
		t.Logf("admitted %d, refused %d", admitted, refusals)
		if limited(ask(other.Token)) {
			t.Error("another user of the same address is limited too")
		}
		harness.Eventually(t, 30*time.Second, func() error {
			if answer := ask(user.Token); limited(answer) {
				return fmt.Errorf("%s", answer.Raw)
			}
			return nil
		}, "the user to be admitted again")
	})
	t.Run("an address", func(t *testing.T) {
		t.Parallel()
		app := w.from("127.0.1.2")
		begun := time.Now()
		admitted, refusals := flood(t, 2*addressBurst, func() harness.Answer { return missing(t, app, "") })
		within(t, admitted, addressBurst, addressRate, begun)
		t.Logf("admitted %d, refused %d", admitted, refusals)
		if limited(missing(t, w.from("127.0.1.3"), "")) {
			t.Error("another address is limited too")
		}
	})
	t.Run("a stranger who claims other addresses", func(t *testing.T) {
		t.Parallel()
		app := w.from("127.0.1.4")
		begun := time.Now()
		var n atomic.Int64
		admitted, _ := flood(t, 2*addressBurst, func() harness.Answer {
			return missing(t, app, fmt.Sprintf("203.0.113.%d, 127.0.0.2", n.Add(1)%250))
		})
		within(t, admitted, addressBurst, addressRate, begun)
	})
	t.Run("clients behind a proxy", func(t *testing.T) {
		t.Parallel()
		proxy := w.from("127.0.0.2")
		var n atomic.Int64
		_, refusals := flood(t, 2*addressBurst, func() harness.Answer {
			return missing(t, proxy, fmt.Sprintf("10.1.%d.%d", n.Add(1)/200, n.Load()%200))
		})
		equal(t, "refusals of many clients", refusals, 0)
		begun := time.Now()
		admitted, _ := flood(t, 2*addressBurst, func() harness.Answer {
			return missing(t, proxy, fmt.Sprintf("198.51.100.%d, 203.0.113.7", n.Add(1)%250)) // the first is the client's invention
		})
		within(t, admitted, addressBurst, addressRate, begun)
	})
	t.Run("registrations", func(t *testing.T) {
		t.Parallel()
		app := w.from("127.0.1.5")
		register := func(app *harness.App) harness.Answer {
			return app.Post(t, "/douyin/user/register/", "username", "n"+unique(), "password", "") // refused, but it counts
		}
		begun := time.Now()
		admitted, refusals := flood(t, 2*registrations, func() harness.Answer { return register(app) })
		within(t, admitted, registrations, 1, begun)
		t.Logf("admitted %d, refused %d", admitted, refusals)
		if limited(register(w.from("127.0.1.6"))) {
			t.Error("another address is limited too")
		}
	})
	t.Run("failed logins", func(t *testing.T) {
		t.Parallel()
		app := w.from("127.0.1.7")
		known, bystander := app.Register(t), app.Register(t)
		login := func(name, password string) harness.Answer {
			return app.Post(t, "/douyin/user/login/", "username", name, "password", password)
		}
		var told [][]string
		for _, name := range []string{known.Name, "u" + unique()} {
			var codes []string
			for range 10 {
				answer := harness.Refused(t, login(name, "wrong"))
				codes = append(codes, answer.StatusMsg)
				if limited(answer) {
					t.Errorf("%s was slowed after %d failures", name, len(codes)-1)
				}
			}
			// At once, so within the wait, whatever the machine does: each further try
			// has to wait twice as long.
			for range 12 {
				login(name, "wrong")
			}
			answer := harness.Refused(t, login(name, known.Password))
			if !limited(answer) {
				t.Errorf("%s is not slowed after ten failures: %s", name, answer.Raw)
			}
			told = append(told, append(codes, answer.StatusMsg))
		}
		if !slices.Equal(told[0], told[1]) {
			t.Errorf("a name that exists is told %q, one that does not %q", told[0], told[1])
		}
		harness.OK(t, login(bystander.Name, bystander.Password))
	})
}

// What the app does at its worst is never refused: the requests of a start at
// once, then chats polled three times a second while swiping.
func TestAnHonestClientMeetsNoLimit(t *testing.T) {
	t.Parallel()
	w := start(t, "BACKBEAT_LIMITS_EXEMPT=")
	app := w.from("127.0.1.1")
	user, peer := app.Register(t), app.Register(t)
	var asked, refusals atomic.Int64
	ask := func(path string, pairs ...any) {
		asked.Add(1)
		if answer := app.Get(t, path, append(pairs, "token", user.Token)...); answer.StatusCode != 0 {
			refusals.Add(1)
			t.Errorf("%s: %s", path, answer.Raw)
		}
	}
	var running sync.WaitGroup
	for _, path := range []string{"/douyin/feed/", "/douyin/user/", "/douyin/publish/list/", "/douyin/favorite/list/", "/douyin/relation/follow/list/",
		"/douyin/relation/follower/list/", "/douyin/relation/friend/list/"} {
		running.Go(func() { ask(path) })
		running.Go(func() { ask(path) })
	}
	tick := time.NewTicker(time.Second / 3)
	defer tick.Stop()
	for i := range 18 {
		<-tick.C
		running.Go(func() { ask("/douyin/message/chat/", "to_user_id", peer.ID, "pre_msg_time", time.Now().UnixMilli()) })
		if i%2 == 0 {
			running.Go(func() { ask("/douyin/feed/", "latest_time", time.Now().UnixMilli()) })
		}
	}
	running.Wait()
	t.Logf("%d requests, %d refused", asked.Load(), refusals.Load())
}
