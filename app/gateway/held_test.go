package gateway

import (
	"context"
	"net/http"
	"testing"
	"time"

	"backbeat/app/cache"
	"backbeat/app/changes"
)

// Counts are asked for again when their owner has announced that they changed, those of
// that person or video and no others.
func TestCountsAreAskedForAgainWhenTheyChange(t *testing.T) {
	journal := cache.NewMemoryJournal()
	for _, row := range []struct {
		name          string
		videos, users []int64
		asks          bool
	}{
		{"nothing", nil, nil, false},
		{"the user", nil, []int64{bob, alice}, true},
		{"somebody else", nil, []int64{bob}, false},
		{"a video with the user's number", []int64{alice}, nil, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			announcer := changes.NewAnnouncer(journal, w.Gateway.log)
			look, end := startFollowing(t, changes.NewFollower(journal, heldCounts{w.held.counts}, w.now, w.Gateway.log))
			profile := func() int {
				w.services.forget()
				if got := w.ask(t, http.MethodGet, "/douyin/user/", alice); got.code() != 0 {
					t.Fatal(got.raw)
				}
				return w.services.count("relation.Stats")
			}
			if profile() != 1 || profile() != 0 {
				t.Fatal("counts are not held")
			}
			look()
			announcer.Changed(t.Context(), row.videos, row.users)
			look()
			end()
			if asked := profile() > 0; asked != row.asks {
				t.Errorf("asked again: %t, want %t", asked, row.asks)
			}
		})
	}
}

// startFollowing returns what has the follower look, and what ends it.
func startFollowing(t *testing.T, follower *changes.Follower) (look, end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ticks, ended := make(chan time.Time), make(chan struct{})
	go func() {
		defer close(ended)
		follower.Follow(ctx, ticks)
	}()
	look = func() {
		for range 2 { // when the second is taken the first has been looked at
			ticks <- clock
		}
	}
	return look, func() { cancel(); <-ended }
}
