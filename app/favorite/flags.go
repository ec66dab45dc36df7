package favorite

import (
	"context"
	"time"
)

const (
	// heldLife is how old the rows an instance holds may be. A pending entry outlives
	// what it did to the rows by settledLife, so whoever reads the entries first and
	// then rows of that age misses no write. A write that was applied without one,
	// by an instance that alone can't reach the entries, shows after heldLife.
	heldLife = settledLife / 4
	// heldUsers is how many users' rows an instance holds, maxHeld how many of one.
	heldUsers = 8192
	maxHeld   = 512
	// heldTimeout bounds one loading.
	heldTimeout = time.Second
)

// owner names a user's rows. Those held under another mark are older than a write
// that had no pending entry.
type owner struct {
	user int64
	mark mark
}

// held are a user's rows by video, or not all of them.
type held struct {
	rows map[int64]write
	more bool
}

// flags returns those of the videos that the user likes, in their order.
func (s *Service) flags(ctx context.Context, user int64, videos []int64) ([]int64, error) {
	if user <= 0 || len(videos) == 0 {
		return nil, nil
	}
	waiting, mark, err := s.pending.of(ctx, user)
	if err != nil { // writes may have no entries now: only the rows know
		s.log.DebugContext(ctx, "pending likes not read", "user", user, "error", err)
		return s.storedFlags(ctx, user, videos)
	}
	mine, err := s.held.Get(ctx, owner{user, mark})
	if err != nil {
		return nil, err
	}
	rows := mine[0].rows
	if mine[0].more {
		if rows, err = s.storedRows(ctx, user, videos); err != nil {
			return nil, err
		}
	}
	newest := make(map[int64]write, len(waiting))
	for _, w := range waiting {
		newest[w.video] = w
	}
	var liked []int64
	for _, video := range videos {
		row := rows[video]
		if w, ok := newest[video]; ok && w.version > row.version {
			row = w
		}
		if row.liked {
			liked = append(liked, video)
		}
	}
	return liked, nil
}

func (s *Service) storedFlags(ctx context.Context, user int64, videos []int64) ([]int64, error) {
	rows, err := s.storedRows(ctx, user, videos)
	var liked []int64
	for _, video := range videos {
		if rows[video].liked {
			liked = append(liked, video)
		}
	}
	return liked, err
}

func (s *Service) storedRows(ctx context.Context, user int64, videos []int64) (map[int64]write, error) {
	found, err := s.store.rowsOf(ctx, user, videos)
	rows := make(map[int64]write, len(found))
	for _, row := range found {
		rows[row.video] = row
	}
	return rows, err
}

// load reads the rows of several users.
func (s *Service) load(ctx context.Context, of []owner) (map[owner]held, error) {
	ctx, cancel := context.WithTimeout(ctx, heldTimeout)
	defer cancel()
	users := make([]int64, len(of))
	for i, key := range of {
		users[i] = key.user
	}
	found, err := s.store.rows(ctx, users, maxHeld+1)
	if err != nil {
		return nil, err
	}
	sets := make(map[owner]held, len(of))
	for _, key := range of {
		set := held{rows: found[key.user]}
		if len(set.rows) > maxHeld {
			set = held{more: true}
		}
		sets[key] = set
	}
	return sets, nil
}
