package favorite

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Pending holds the writes that were accepted and may not be applied yet, so that
// their user sees them. It holds views: losing it loses no like.
//
// Several writes of one (user, video) can be on their way at once; the newest
// shows. Whoever takes his own back uncovers the one below, whichever order they
// are taken back in.
type Pending interface {
	// allocate enters acts in their order, each with a version above the proposed
	// one, its row's and those of the entries. The entries are provisional: they go by
	// themselves unless kept.
	allocate(ctx context.Context, acts []proposal) ([]allocation, error)
	// keep makes the acts' entries last until they are settled; older ones are done
	// with.
	keep(ctx context.Context, acts []write) error
	// takeBack removes the acts' entries and nobody else's.
	takeBack(ctx context.Context, acts []write) error
	// settle shortens the lives of all entries not newer than what was applied. It
	// deletes none: a reader may hold an older row. What was applied and has no entry,
	// since its sender thought it lost or died, changes its user's mark.
	settle(ctx context.Context, applied []write) error
	// of returns a view for each user.
	of(ctx context.Context, users ...int64) ([]view, error)
	// leave changes the users' marks for as long as a settled entry lasts: writes of
	// theirs were applied without entries.
	leave(ctx context.Context, version int64, users ...int64) error
}

// proposal is an act with the version it proposes, and the row it is about.
type proposal struct{ act, row write }

// allocation is the version an act got and the state known until then. When a bound
// is met it is full: no entry was made, and version is the highest known.
type allocation struct {
	version int64
	liked   bool
	full    bool
}

// view is what a user's entries show: the newest of each video, and the mark that
// rows have to be held under.
type view struct {
	writes []write
	mark   mark
}

// mark tells rows held before a write without an entry from those held after it.
type mark struct {
	// left is what leave left, 0 for nothing.
	left int64
	// epoch changes whenever this process was out of touch with the entries.
	epoch uint64
}

// noVideo is where a mark lies among the entries.
const noVideo = 0

// Bounds of the entries: videos a user has entries for, and entries of one video,
// which is as many acts as may be on their way at a time. Beyond them an act is
// applied at once, and what it is told of the state before may be another's.
const (
	maxVideos  = 1000
	maxEntries = 128
)

// Lives of pending entries.
const (
	// provisionalLife is how long an entry shows whose write nobody has confirmed:
	// if the process dies in between, so does the entry.
	provisionalLife = 10 * time.Second
	// keptLife is how long the worker may take before a confirmed write stops to
	// show until it is applied.
	keptLife = 24 * time.Hour
	// settledLife is how long an entry outlives its application: longer than any
	// cache of flags.
	settledLife = 10 * time.Second
)

// lives are how long entries last.
type lives struct{ provisional, kept, settled time.Duration }

var usualLives = lives{provisionalLife, keptLife, settledLife}

// MemoryPending is Pending in the process, for a service and a worker that share
// it.
type MemoryPending struct {
	now   func() time.Time
	lives lives

	mu sync.Mutex
	// users maps a user and a video to entries, newest first.
	users map[int64]map[int64][]entry
	// sweepAt is the number of users at which those without live entries go.
	sweepAt int
}

type entry struct {
	write
	provisional bool
	expires     time.Time
}

// minSweep is the number of users below which sweeping is not worth it.
const minSweep = 1024

// NewMemoryPending returns an empty Pending in memory that reads the time from now.
func NewMemoryPending(now func() time.Time) *MemoryPending {
	return &MemoryPending{now: now, lives: usualLives, users: map[int64]map[int64][]entry{}, sweepAt: minSweep}
}

func (m *MemoryPending) allocate(_ context.Context, acts []proposal) ([]allocation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep()
	made := make([]allocation, len(acts))
	for i, p := range acts {
		made[i] = m.enter(p.act, p.row)
	}
	return made, nil
}

func (m *MemoryPending) enter(act, row write) allocation {
	m.clean(act.user)
	videos := m.users[act.user]
	entries := videos[act.video]
	known := row
	if len(entries) > 0 && entries[0].version > row.version {
		known = entries[0].write
	}
	if len(entries) >= maxEntries || len(entries) == 0 && len(videos) >= maxVideos {
		return allocation{known.version, known.liked, true}
	}
	act.version = max(act.version, known.version+1)
	if videos == nil {
		videos = map[int64][]entry{}
		m.users[act.user] = videos
	}
	videos[act.video] = slices.Insert(entries, 0, entry{act, true, m.now().Add(m.lives.provisional)})
	return allocation{act.version, known.liked, false}
}

func (m *MemoryPending) keep(_ context.Context, acts []write) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, act := range acts {
		m.clean(act.user)
		entries := m.users[act.user][act.video]
		for i := range entries {
			if entries[i].version == act.version {
				if entries[i].provisional {
					entries[i].provisional, entries[i].expires = false, m.now().Add(m.lives.kept)
				}
				m.users[act.user][act.video] = entries[:i+1]
				break
			}
		}
	}
	return nil
}

func (m *MemoryPending) takeBack(_ context.Context, acts []write) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, act := range acts {
		m.filter(act.user, act.video, func(e entry) bool { return e.version != act.version })
	}
	return nil
}

func (m *MemoryPending) settle(_ context.Context, applied []write) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	soon := m.now().Add(m.lives.settled)
	for _, w := range applied {
		entries, entered := m.users[w.user][w.video], false
		for i := range entries {
			e := &entries[i]
			entered = entered || e.version == w.version
			if e.version <= w.version {
				e.provisional = false
				if e.expires.After(soon) {
					e.expires = soon
				}
			}
		}
		if !entered {
			m.mark(w.user, m.now().UnixMicro())
		}
	}
	return nil
}

func (m *MemoryPending) of(_ context.Context, users ...int64) ([]view, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	views := make([]view, len(users))
	for i, user := range users {
		m.clean(user)
		for video, entries := range m.users[user] {
			if video == noVideo {
				views[i].mark.left = entries[0].version
				continue
			}
			views[i].writes = append(views[i].writes, entries[0].write)
		}
	}
	return views, nil
}

func (m *MemoryPending) leave(_ context.Context, version int64, users ...int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, user := range users {
		m.mark(user, version)
	}
	return nil
}

// mark gives the user a mark that none of theirs in use is, version if it is free.
func (m *MemoryPending) mark(user, version int64) {
	if m.users[user] == nil {
		m.users[user] = map[int64][]entry{}
	}
	for _, last := range m.users[user][noVideo] {
		version = max(version, last.version+1)
	}
	m.users[user][noVideo] = []entry{{write{user: user, version: version}, false, m.now().Add(m.lives.settled)}}
}

// clean removes the user's entries that have expired.
func (m *MemoryPending) clean(user int64) {
	now := m.now()
	for video := range m.users[user] {
		m.filter(user, video, func(e entry) bool { return e.expires.After(now) })
	}
}

// filter keeps the entries that pass, and nothing empty.
func (m *MemoryPending) filter(user, video int64, pass func(entry) bool) {
	videos := m.users[user]
	entries := slices.DeleteFunc(videos[video], func(e entry) bool { return !pass(e) })
	if len(entries) > 0 {
		videos[video] = entries
		return
	}
	delete(videos, video)
	if len(videos) == 0 {
		delete(m.users, user)
	}
}

// sweep cleans all users each time their number has doubled, so that the memory
// of those who never return is given back at a constant cost per entry.
func (m *MemoryPending) sweep() {
	if len(m.users) < m.sweepAt {
		return
	}
	for user := range m.users {
		m.clean(user)
	}
	m.sweepAt = max(minSweep, 2*len(m.users))
}
