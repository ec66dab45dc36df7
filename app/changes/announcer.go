// Package changes lets gateways hold counts for seconds: owners announce whose counts
// they changed, gateways follow them and forget those.
//
// An announcement comes after the commit and before the answer. What can't be
// announced, since Redis is away, is announced with what changes next; meanwhile
// gateways can't follow either and hold counts no longer than cache.counts says. A
// change nobody hears of, since whoever made it was killed just then, shows when held
// counts are believed no more (cache.Held): after ten seconds.
package changes

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"backbeat/app/cache"
	"backbeat/proto/event"
)

// Journal is the name of the one that announcements travel in.
const Journal = "counts:changes"

const (
	// owedMost bounds the ids that wait to be announced after a failure, and those of
	// one announcement; beyond it they are forgotten.
	owedMost = 10_000
	// restFor is how long nothing is tried after a failure: a stalled Redis must not
	// make every write wait.
	restFor = 500 * time.Millisecond
)

// Announcer tells whose counts have changed. It is safe for concurrent use; that of a
// nil journal tells nobody.
type Announcer struct {
	journal cache.Journal
	now     func() time.Time
	log     *slog.Logger

	mu sync.Mutex
	// videos and users could not be announced; rests is until when it isn't tried.
	videos, users []int64
	rests         time.Time
}

// NewAnnouncer returns one that appends to the journal.
func NewAnnouncer(journal cache.Journal, now func() time.Time, log *slog.Logger) *Announcer {
	return &Announcer{journal: journal, now: now, log: log}
}

// Changed announces that counts of videos and users have changed, or may have. It ends
// with nobody: the change is made. It takes no longer than cache.Timeout.
func (a *Announcer) Changed(ctx context.Context, videos, users []int64) {
	if a.journal == nil || len(videos)+len(users) == 0 {
		return
	}
	videos, users, resting := a.take(videos, users)
	if resting {
		return
	}
	entry, err := proto.Marshal(&event.CountsChanged{VideoIds: videos, UserIds: users})
	if err == nil {
		err = a.journal.Append(context.WithoutCancel(ctx), entry)
	}
	if err != nil {
		a.log.DebugContext(ctx, "changed counts are announced later", "videos", len(videos), "users", len(users), "error", err)
		a.owe(videos, users)
	}
}

// take returns what is to be announced now, with what is owed; while the announcer
// rests that grows instead.
func (a *Announcer) take(videos, users []int64) (allVideos, allUsers []int64, resting bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	allVideos, allUsers = distinct(slices.Concat(a.videos, videos)), distinct(slices.Concat(a.users, users))
	if a.now().Before(a.rests) {
		a.videos, a.users = allVideos, allUsers
		return nil, nil, true
	}
	a.videos, a.users = nil, nil
	return allVideos, allUsers, false
}

func (a *Announcer) owe(videos, users []int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.videos, a.users = distinct(slices.Concat(a.videos, videos)), distinct(slices.Concat(a.users, users))
	a.rests = a.now().Add(restFor)
}

// distinct returns each id once, and not too many of them.
func distinct(ids []int64) []int64 {
	slices.Sort(ids)
	ids = slices.Compact(ids)
	return ids[:min(len(ids), owedMost)]
}
