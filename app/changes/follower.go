package changes

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	"backbeat/app/cache"
	"backbeat/proto/event"
)

// Held is what a follower keeps right: a gateway's counts.
type Held interface {
	// Forget drops the counts of those who have changed.
	Forget(videos, users []int64)
	// Confirm tells that what was asked for at or after since, and not forgotten, was
	// right at asOf, unless a change went unannounced. After sure, unless that is zero,
	// none has. Doubt tells that nobody knows any more.
	Confirm(since, sure, asOf time.Time)
	Doubt()
}

// FollowEvery is how often a follower looks for changes.
const FollowEvery = 100 * time.Millisecond

const (
	// silence is how long an announcer may not be heard until it is missed: then all that
	// was asked for a while ago is asked again, of those that are sick as well, so a bad
	// moment of one is no reason. Who has listened for as long has heard of all there are.
	silence = 15 * time.Second
	// mourning is how long one is missed: longer than who is cut off, and changes counts
	// all the while, mostly takes to be heard again.
	mourning = time.Minute
)

// Follower hears of changes.
type Follower struct {
	journal cache.Journal
	held    Held
	now     func() time.Time
	log     *slog.Logger
	// lost is set while it can't follow, to log that once.
	lost bool
	// position is where it has read the journal to, "" while it does not follow; since
	// is when it began to.
	position string
	since    time.Time
	// heard is when each announcer was heard last; sure is since when all of them have
	// been, zero while one is missed or may not have been heard yet.
	heard map[string]time.Time
	sure  time.Time
}

// NewFollower returns one that keeps held right once Follow runs.
func NewFollower(journal cache.Journal, held Held, now func() time.Time, log *slog.Logger) *Follower {
	return &Follower{journal: journal, held: held, now: now, log: log, heard: map[string]time.Time{}}
}

// Follow looks for changes at every tick until ctx ends.
func (f *Follower) Follow(ctx context.Context, ticks <-chan time.Time) {
	for {
		select {
		case <-ctx.Done():
			f.held.Doubt()
			return
		case <-ticks:
			f.look(ctx)
		}
	}
}

// look reads what is new.
func (f *Follower) look(ctx context.Context) {
	began := f.now()
	entries, last, err := f.journal.After(ctx, f.position)
	if err == nil {
		err = f.hear(entries, began)
	}
	switch {
	case err != nil:
		f.lose(ctx, err)
	case f.position == "":
		// What was announced before shows in what is asked for from now on.
		f.position, f.since = last, f.now()
	default:
		f.position = last
		f.miss(began)
		f.held.Confirm(f.since, f.sure, began)
		f.find(ctx)
	}
}

// lose has it begin anew at the next tick: what is held from before is not believed
// then.
func (f *Follower) lose(ctx context.Context, err error) {
	f.held.Doubt()
	f.position, f.sure = "", time.Time{}
	clear(f.heard)
	if !f.lost && ctx.Err() == nil {
		f.lost = true
		f.log.WarnContext(ctx, "counts are held for a moment only while nobody tells which have changed", "error", err)
	}
}

func (f *Follower) find(ctx context.Context) {
	if f.lost {
		f.lost = false
		f.log.InfoContext(ctx, "it is known again which counts have changed")
	}
}

// hear has what changed forgotten, and notes who told of it in a look that began then.
func (f *Follower) hear(entries [][]byte, began time.Time) error {
	for _, entry := range entries {
		var changed event.CountsChanged
		if err := proto.Unmarshal(entry, &changed); err != nil {
			return err
		}
		f.held.Forget(changed.GetVideoIds(), changed.GetUserIds())
		if changed.GetEverything() {
			f.since = f.now() // what was asked for before is not believed
		}
		switch name := changed.GetAnnouncer(); {
		case changed.GetLeaves():
			delete(f.heard, name)
		case name != "":
			f.heard[name] = began
		}
	}
	return nil
}

// miss finds out, in a look that began then, whether anybody is missed.
func (f *Follower) miss(began time.Time) {
	all := len(f.heard) > 0 && began.Sub(f.since) >= silence
	for name, at := range f.heard {
		switch quiet := began.Sub(at); {
		case quiet >= mourning:
			delete(f.heard, name)
		case quiet >= silence:
			all = false
		}
	}
	switch {
	case !all:
		f.sure = time.Time{}
	case f.sure.IsZero():
		f.sure = f.now()
	}
}
