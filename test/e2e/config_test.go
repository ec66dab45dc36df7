package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"backbeat/test/harness"
)

// operate runs the program as the cluster's operator and returns what it prints.
func (w *world) operate(ctx context.Context, t *testing.T, args ...string) string {
	t.Helper()
	program, err := harness.Program()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(ctx, program, args...)
	command.Env = w.cluster.Env
	said, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	return string(said)
}

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

// An operator takes an account back from a thief: the sessions that began before end at
// every gateway within seconds, and nobody else's.
func TestAnOperatorTakesAnAccountBack(t *testing.T) {
	w := worlds[1]
	stolen, other := w.Register(t), w.Register(t)
	profile := func(gateway *world, of harness.Account, token string) harness.Answer {
		return gateway.Get(t, "/douyin/user/", "token", token, "user_id", of.ID)
	}
	for _, gateway := range []*world{w, behindNginx} {
		harness.OK(t, profile(gateway, stolen, stolen.Token))
	}
	said := w.operate(t.Context(), t, "user", "reset-password", stolen.Name)
	password := regexp.MustCompile(` is now (\w+)`).FindStringSubmatch(said)
	if password == nil {
		t.Fatalf("it prints %s", said)
	}
	back := harness.OK(t, w.Post(t, "/douyin/user/login/", "username", stolen.Name, "password", password[1]))
	for _, gateway := range []*world{w, behindNginx} {
		harness.Eventually(t, 10*time.Second, func() error {
			if answer := profile(gateway, stolen, stolen.Token); answer.StatusMsg != "token验证失败，请重新登录" {
				return fmt.Errorf("the old token is answered %s", answer.Raw)
			}
			return nil
		}, said)
		harness.OK(t, profile(gateway, stolen, back.Token))
		harness.OK(t, profile(gateway, other, other.Token))
	}
}
