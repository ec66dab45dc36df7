// Package changes lets gateways hold counts for minutes: owners announce whose counts
// they changed, gateways follow them and forget those.
//
// An announcement comes after the commit and before the answer. What can't be
// announced, since Redis is away, is announced as soon as it can be; meanwhile gateways
// mostly can't follow either and hold counts no longer than cache.counts says.
//
// A change that nobody is told of, since whoever made it was killed just then, shows
// within fifteen seconds: an announcer is heard every second, and when one falls silent
// for as long without taking its leave, gateways believe what they held before for ten
// seconds after they asked for it, as they do until they have heard of all there are
// (cache.Held). Nobody misses one that could not reach Redis even once since gateways
// began to listen, nor any more one that could not for a minute: what it changes then
// shows after five minutes, or once it can.
package changes

import (
	"context"
	"crypto/rand"
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
	// beatEvery is how often a started announcer is heard.
	beatEvery = time.Second
	// owedMost bounds the ids of either kind that wait to be announced after a failure:
	// beyond it, everything is said to have changed.
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
	// name is what followers know it by, "" until it is started; stop ends its beats, and
	// beating waits for that.
	name    string
	stop    context.CancelFunc
	beating sync.WaitGroup

	mu sync.Mutex
	// owed could not be announced; resting runs until it is tried again, nil while
	// nothing is owed.
	owed    news
	resting *time.Timer
	closed  bool
	trying  sync.WaitGroup
}

// NewAnnouncer returns one that appends to the journal. Nobody misses it when it is
// gone: it is for a command, or to be started.
func NewAnnouncer(journal cache.Journal, log *slog.Logger) *Announcer {
	return &Announcer{journal: journal, log: log, stop: func() {}}
}

// Start has followers hear of it before it changes anything, and from then on every
// second until it is closed. It takes a moment at most.
func (a *Announcer) Start() {
	a.name = rand.Text()
	ctx, stop := context.WithCancel(context.Background())
	a.stop = stop
	a.beat(ctx)
	a.beating.Go(func() {
		ticker := time.NewTicker(beatEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				a.beat(ctx)
			}
		}
	})
}

// beat tells that it is there. When that fails it is missed, as it should be.
func (a *Announcer) beat(ctx context.Context) {
	if err := a.append(ctx, news{}, false); err != nil && ctx.Err() == nil {
		a.log.DebugContext(ctx, "nobody hears who announces changed counts", "error", err)
	}
}

// Close announces what is still owed, once, and has nothing announced any more. A
// started announcer takes its leave with that.
func (a *Announcer) Close() error {
	a.mu.Lock()
	a.closed = true
	if a.resting != nil && a.resting.Stop() {
		a.trying.Done()
	}
	a.mu.Unlock()
	a.trying.Wait()
	a.stop()
	a.beating.Wait()
	a.mu.Lock()
	owed := a.owed
	a.mu.Unlock()
	if a.name == "" && owed.empty() {
		return nil
	}
	if err := a.append(context.Background(), owed, true); err != nil {
		a.log.Debug("the last changed counts are not announced", "error", err)
	}
	return nil
}

// Changed announces that counts of videos and users have changed, or may have. It ends
// with nobody: the change is made. It takes a moment at most.
func (a *Announcer) Changed(ctx context.Context, videos, users []int64) {
	if len(videos)+len(users) > 0 {
		a.tell(ctx, news{videos: videos, users: users})
	}
}

// Everything announces that any count may have changed, as Changed does.
func (a *Announcer) Everything(ctx context.Context) { a.tell(ctx, news{everything: true}) }

func (a *Announcer) tell(ctx context.Context, what news) {
	if a == nil {
		return
	}
	a.mu.Lock()
	if a.resting != nil || a.closed {
		a.owed = a.owed.and(what)
		a.mu.Unlock()
		return
	}
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	a.announce(ctx, what.and(news{}))
}

// announce appends an entry. When it fails the announcer rests and tries again.
func (a *Announcer) announce(ctx context.Context, what news) {
	err := a.append(ctx, what, false)
	if err == nil {
		return
	}
	a.log.DebugContext(ctx, "changed counts are announced later",
		"videos", len(what.videos), "users", len(what.users), "everything", what.everything, "error", err)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.owed = a.owed.and(what)
	if a.resting == nil && !a.closed {
		a.trying.Add(1)
		a.resting = time.AfterFunc(restFor, a.again)
	}
}

// again announces what is owed.
func (a *Announcer) again() {
	defer a.trying.Done()
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return
	}
	what := a.owed
	a.owed, a.resting = news{}, nil
	a.mu.Unlock()
	a.announce(context.Background(), what)
}

func (a *Announcer) append(ctx context.Context, what news, leaves bool) error {
	entry, err := proto.Marshal(&event.CountsChanged{
		VideoIds: what.videos, UserIds: what.users, Everything: what.everything, Announcer: a.name, Leaves: leaves,
	})
	if err != nil {
		return err
	}
	return a.journal.Append(ctx, entry)
}

// news are the ids of those who have changed, each once and in order, or everything.
type news struct {
	videos, users []int64
	everything    bool
}

func (n news) empty() bool { return len(n.videos)+len(n.users) == 0 && !n.everything }

// and returns both together.
func (n news) and(m news) news {
	all := news{videos: joined(n.videos, m.videos), users: joined(n.users, m.users)}
	if n.everything || m.everything || max(len(all.videos), len(all.users)) > owedMost {
		return news{everything: true}
	}
	return all
}

// joined returns each id once, in order.
func joined(a, b []int64) []int64 {
	ids := slices.Concat(a, b)
	slices.Sort(ids)
	return slices.Compact(ids)
}
