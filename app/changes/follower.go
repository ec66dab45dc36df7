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
	// right at asOf; Doubt that nobody knows any more.
	Confirm(since, asOf time.Time)
	Doubt()
}

// FollowEvery is how often a follower looks for changes.
const FollowEvery = 100 * time.Millisecond

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
}

// NewFollower returns one that keeps held right once Follow runs.
func NewFollower(journal cache.Journal, held Held, now func() time.Time, log *slog.Logger) *Follower {
	return &Follower{journal: journal, held: held, now: now, log: log}
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
		err = f.forget(entries)
	}
	switch {
	case err != nil:
		f.lose(ctx, err)
	case f.position == "":
		// What was announced before shows in what is asked for from now on.
		f.position, f.since = last, f.now()
	default:
		f.position = last
		f.held.Confirm(f.since, began)
		f.find(ctx)
	}
}

// lose has it begin anew at the next tick: what is held from before is not believed
// then.
func (f *Follower) lose(ctx context.Context, err error) {
	f.held.Doubt()
	f.position = ""
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

func (f *Follower) forget(entries [][]byte) error {
	for _, entry := range entries {
		var changed event.CountsChanged
		if err := proto.Unmarshal(entry, &changed); err != nil {
			return err
		}
		f.held.Forget(changed.GetVideoIds(), changed.GetUserIds())
	}
	return nil
}
