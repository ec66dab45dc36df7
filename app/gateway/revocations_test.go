package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"backbeat/app/errs"
	"backbeat/proto/user"
)

// revoke has the user service tell of the revocations from now on, as it does: those
// since from, oldest first, some at a time.
func (w *world) revoke(all ...*user.Revocation) {
	on(w.services, "user.Revocations", func(_ context.Context, req *user.RevocationsRequest) (*user.RevocationsResponse, error) {
		resp := &user.RevocationsResponse{}
		for _, r := range all {
			if r.IssuedBefore >= req.From && len(resp.Revocations) < fullRevocations {
				resp.Revocations = append(resp.Revocations, r)
			}
		}
		return resp, nil
	})
}

func revocation(id int64, at time.Time) *user.Revocation {
	return &user.Revocation{UserId: id, IssuedBefore: at.UnixMilli()}
}

// A token that was taken for good stops to be when it is revoked; those of others,
// and those issued afterwards, go on.
func TestRevokedTokensCountNoMore(t *testing.T) {
	w := newWorld(t)
	refused := func(id int64) bool {
		t.Helper()
		got := w.ask(t, http.MethodGet, "/douyin/user/", id, "user_id", fmt.Sprint(alice))
		if got.code() != 0 && got.text() != errs.Text(errs.New(errs.Unauthenticated, "")) {
			t.Errorf("user %d is answered %s", id, got.raw)
		}
		return got.code() != 0
	}
	learn := func() {
		t.Helper()
		if err := w.learnRevocations(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if refused(alice) || refused(bob) {
		t.Fatal("tokens that nobody has revoked are refused")
	}
	w.revoke(revocation(alice, clock.Add(time.Millisecond)), revocation(bob, clock))
	learn()
	if !refused(alice) {
		t.Error("a revoked token is taken")
	}
	if refused(bob) {
		t.Error("a token as old as the revocation is refused")
	}
	if got := w.ask(t, http.MethodGet, "/douyin/feed/", alice); got.code() != 0 { // D5
		t.Errorf("the feed answers a revoked token %s", got.raw)
	}
	w.services.down("user.Revocations")
	if err := w.learnRevocations(t.Context()); !errs.Is(err, errs.Unavailable) {
		t.Errorf("a dead service is %v", err)
	}
	if !refused(alice) {
		t.Error("while the service is away a revoked token is taken")
	}
}

func TestRevocationsAreAllLearned(t *testing.T) {
	w := newWorld(t)
	const many = 2*fullRevocations + 7
	var all []*user.Revocation
	for i := range int64(many) {
		all = append(all, revocation(1000+i, clock.Add(time.Duration(i-many)*time.Second)))
	}
	old := revocation(5, clock.Add(-2*w.keys.Life())) // of tokens that have expired
	w.revoke(append([]*user.Revocation{old}, all...)...)
	for range 2 { // the second time there is nothing new
		if err := w.learnRevocations(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if known := *w.revoked.since.Load(); len(known) != many {
		t.Errorf("%d of %d are known", len(known), many)
	}
	for _, r := range []*user.Revocation{all[0], all[fullRevocations], all[many-1]} {
		if !w.revoked.has(session{r.UserId, time.UnixMilli(r.IssuedBefore - 1)}) {
			t.Errorf("the revocation of user %d is not known", r.UserId)
		}
	}
	if asked := w.services.count("user.Revocations"); asked != 4 {
		t.Errorf("the service was asked %d times, want 3 and 1", asked)
	}
	w.now = func() time.Time { return clock.Add(w.keys.Life() + time.Second) }
	w.revoke()
	if err := w.learnRevocations(t.Context()); err != nil {
		t.Fatal(err)
	}
	if known := *w.revoked.since.Load(); len(known) != 0 {
		t.Errorf("%d are known that no token can be older than", len(known))
	}
}

// It goes on asking while the service fails, and says so once.
func TestRevocationsAreFollowed(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	ticks, ended := make(chan time.Time), make(chan struct{})
	w.services.fail("user.Revocations", errors.New("broken"))
	go func() { w.followRevocations(ctx, ticks); close(ended) }()
	tick := func() { ticks <- clock } // it has asked once more than before when the next is taken
	for range 3 {
		tick()
	}
	w.revoke(revocation(alice, clock.Add(time.Second)))
	tick()
	tick()
	if !w.revoked.has(session{alice, clock}) {
		t.Error("what is revoked is not known")
	}
	cancel()
	<-ended
	for _, line := range []string{"tokens that are revoked from now on", "revoked tokens are known again"} {
		if said := strings.Count(w.log.String(), line); said != 1 {
			t.Errorf("it says %q %d times: %s", line, said, w.log)
		}
	}
}
