package gateway

import (
	"context"
	"maps"
	"sync/atomic"
	"time"

	"backbeat/proto/user"
)

const (
	// revocationsEvery is how often a gateway asks what was revoked, so how long a
	// revoked token may still count.
	revocationsEvery = 2 * time.Second
	// revocationsAgain is from how long before the latest known it asks: a later one
	// may be stored sooner, and clocks differ.
	revocationsAgain = time.Minute
	// fullRevocations is as many as are told at a time (idl/user.proto).
	fullRevocations = 1000
)

// revocations are since when the tokens of some users count: those issued before
// don't, although they would not have expired. There are as many as accounts were
// logged out within a token's life. While the user service is away, what is known
// stays known.
type revocations struct {
	// since is replaced, never changed.
	since atomic.Pointer[map[int64]time.Time]
}

// has reports whether the session was ended.
func (r *revocations) has(s session) bool {
	since := r.since.Load()
	return since != nil && s.begun.Before((*since)[s.user])
}

// followRevocations asks what was revoked, and again at every tick until ctx ends.
// One failure is none yet: a gateway may start before the user service.
func (g *Gateway) followRevocations(ctx context.Context, ticks <-chan time.Time) {
	failures := 0
	for {
		err := g.learnRevocations(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if failures++; failures == 2 {
				g.log.Warn("tokens that are revoked from now on count here until the user service answers again", "error", err)
			}
		default:
			if failures >= 2 {
				g.log.Info("revoked tokens are known again")
			}
			failures = 0
		}
		select {
		case <-ctx.Done():
			return
		case <-ticks:
		}
	}
}

// learnRevocations asks what was revoked since it asked last, and forgets what is
// older than any token.
func (g *Gateway) learnRevocations(ctx context.Context) error {
	oldest := g.now().Add(-g.keys.Life())
	since, from := map[int64]time.Time{}, oldest
	if known := g.revoked.since.Load(); known != nil {
		since = maps.Clone(*known)
		maps.DeleteFunc(since, func(_ int64, at time.Time) bool { return at.Before(oldest) })
		for _, at := range since {
			if again := at.Add(-revocationsAgain); again.After(from) {
				from = again
			}
		}
	}
	for {
		found, err := g.rpc.revocations.do(ctx, &user.RevocationsRequest{From: from.UnixMilli()})
		if err != nil {
			return err
		}
		for _, r := range found.GetRevocations() {
			from = time.UnixMilli(r.GetIssuedBefore())
			since[r.GetUserId()] = from
		}
		if len(found.GetRevocations()) < fullRevocations {
			break
		}
	}
	g.revoked.since.Store(&since)
	return nil
}
