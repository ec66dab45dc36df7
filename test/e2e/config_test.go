package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"backbeat/test/harness"
)

// An operator closes registration in a running cluster, and opens it again: every
// gateway heeds it within a second, everything else goes on.
func TestAnOperatorChangesARunningCluster(t *testing.T) {
	w := worlds[1]
	configure := func(ctx context.Context, args ...string) string {
		return w.operate(ctx, t, append([]string{"config"}, args...)...)
	}
	const key = "features.registration"
	t.Cleanup(func() { // the other tests register people
		if t.Failed() {
			configure(context.Background(), "set", key, "true")
		}
	})
	user := w.Register(t)
	for _, step := range []struct {
		args []string
		want int
	}{{[]string{"set", "-by", "night shift", key, "false"}, 40300}, {[]string{"rollback", key}, 40900}} {
		said := configure(t.Context(), step.args...)
		changed := time.Now()
		for _, gateway := range []*world{w, behindNginx} {
			harness.Eventually(t, 5*time.Second, func() error {
				answer := gateway.Post(t, "/douyin/user/register/", "username", user.Name, "password", user.Password)
				if answer.StatusCode != step.want {
					return fmt.Errorf("registering is answered %s", answer.Raw)
				}
				return nil
			}, said)
		}
		t.Logf("%s: in force at both gateways after %v at the latest", strings.TrimSpace(said), time.Since(changed).Round(time.Millisecond))
		if answer := w.Get(t, "/douyin/user/", "token", user.Token, "user_id", user.ID); answer.StatusCode != 0 {
			t.Errorf("a profile is answered %s", answer.Raw)
		}
	}
	if said := configure(t.Context(), "history", key); !strings.Contains(said, "night shift") {
		t.Errorf("the history is %s", said)
	}
}
