// Package changes lets gateways hold counts for seconds: owners announce whose counts
// they changed, gateways follow them and forget those.
//
// An announcement comes after the commit and before the answer. What can't be
// announced, since Redis is away, is announced as soon as it can be; meanwhile gateways
// mostly can't follow either and hold counts no longer than cache.counts says. A
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
	// owedMost bounds the ids of either kind that wait to be announced after a failure;
	// the oldest beyond it are forgotten.
	owedMost = 10_000
	// restFor is how long nothing is tried after a failure: a stalled Redis must not
	// make every write wait.
	restFor = 500 * time.Millisecond
	// patience is how long a write waits for its announcement: beyond it, it is tried
	// again when nobody waits.
	patience = 25 * time.Millisecond
)

// Announcer tells whose counts have changed. It is safe for concurrent use; a nil one
// tells nobody.
type Announcer struct {
	journal cache.Journal
	log     *slog.Logger

	mu sync.Mutex
	// videos and users could not be announced; resting runs until it is tried again, nil
	// while none are owed.
	videos, users []int64
	resting       *time.Timer
	closed        bool
	trying        sync.WaitGroup
}

// NewAnnouncer returns one that appends to the journal.
func NewAnnouncer(journal cache.Journal, log *slog.Logger) *Announcer {
	return &Announcer{journal: journal, log: log}
}

// Close has nothing announced any more.
func (a *Announcer) Close() error {
	a.mu.Lock()
	a.closed = true
	if a.resting != nil && a.resting.Stop() {
		a.trying.Done()
	}
	a.mu.Unlock()
	a.trying.Wait()
	return nil
}

// Changed announces that counts of videos and users have changed, or may have. It ends
// with nobody: the change is made. It takes a moment at most.
func (a *Announcer) Changed(ctx context.Context, videos, users []int64) {
	if a == nil || len(videos)+len(users) == 0 {
		return
	}
	a.mu.Lock()
	if a.resting != nil || a.closed {
		a.owe(videos, users)
		a.mu.Unlock()
		return
	}
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	a.announce(ctx, joined(videos, nil), joined(users, nil))
}

// announce appends an entry. When it fails the announcer rests and tries again.
func (a *Announcer) announce(ctx context.Context, videos, users []int64) {
	entry, err := proto.Marshal(&event.CountsChanged{VideoIds: videos, UserIds: users})
	if err == nil {
		err = a.journal.Append(ctx, entry)
	}
	if err == nil {
		return
	}
	a.log.DebugContext(ctx, "changed counts are announced later", "videos", len(videos), "users", len(users), "error", err)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.videos, a.users = joined(a.videos, videos), joined(a.users, users)
	if a.resting == nil && !a.closed {
		a.trying.Add(1)
		a.resting = time.AfterFunc(restFor, a.again)
	}
}

// again announces what is owed.
func (a *Announcer) again() {
	defer a.trying.Done()
	a.mu.Lock()
	videos, users := a.videos, a.users
	a.videos, a.users, a.resting = nil, nil, nil
	closed := a.closed
	a.mu.Unlock()
	if !closed {
		a.announce(context.Background(), videos, users)
	}
}

// owe keeps what is to be announced later. The caller has the lock.
func (a *Announcer) owe(videos, users []int64) {
	a.videos, a.users = joined(videos, a.videos), joined(users, a.users)
}

// joined returns each id once, and of the older ones no more than there is room for.
func joined(newer, older []int64) []int64 {
	ids := slices.Concat(newer, older[:min(len(older), max(0, owedMost-len(newer)))])
	slices.Sort(ids)
	return slices.Compact(ids)
}
