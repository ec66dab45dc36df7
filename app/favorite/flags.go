package favorite

import (
	"context"
	"time"

	pb "backbeat/proto/favorite"
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

// flags returns what each of the viewers likes of the videos asked about.
func (s *Service) flags(ctx context.Context, asked []*pb.FlagsRequest_Viewer) ([]*pb.FlagsResponse_Viewer, error) {
	users := make([]int64, len(asked))
	for i, viewer := range asked {
		users[i] = viewer.Id
	}
	// Pending entries are read before the rows: one that is gone by then was
	// applied earlier still, so the rows show it.
	waiting, err := s.pending.of(ctx, users...)
	known := err == nil
	owners := make([]owner, len(asked))
	for i, user := range users {
		owners[i].user = user
		if known {
			owners[i].mark = waiting[i].mark
		}
	}
	var rows []held
	if known {
		rows, err = s.held.Get(ctx, owners...)
	} else { // writes may have no entries now: only the rows know
		s.log.DebugContext(ctx, "pending likes not read", "users", len(users), "error", err)
		waiting = make([]view, len(users))
		rows, err = s.unheld(ctx, owners)
	}
	if err != nil {
		return nil, err
	}
	answers := make([]*pb.FlagsResponse_Viewer, len(asked))
	for i, viewer := range asked {
		mine := rows[i].rows
		if rows[i].more {
			if mine, err = s.storedRows(ctx, viewer.Id, viewer.VideoIds); err != nil {
				return nil, err
			}
		}
		answers[i] = &pb.FlagsResponse_Viewer{VideoIds: likedOf(viewer.VideoIds, mine, waiting[i].writes)}
	}
	return answers, nil
}

// likedOf returns those of the videos that are liked, by the newer of a row and a
// write that waits.
func likedOf(videos []int64, rows map[int64]write, waiting []write) (liked []int64) {
	newest := make(map[int64]write, len(waiting))
	for _, w := range waiting {
		newest[w.video] = w
	}
	for _, video := range videos {
		row := rows[video]
		if w, ok := newest[video]; ok && w.version > row.version {
			row = w
		}
		if row.liked {
			liked = append(liked, video)
		}
	}
	return liked
}

func (s *Service) storedRows(ctx context.Context, user int64, videos []int64) (map[int64]write, error) {
	if len(videos) == 0 {
		return nil, nil
	}
	found, err := s.store.rowsAmong(ctx, user, videos)
	rows := make(map[int64]write, len(found))
	for _, row := range found {
		rows[row.video] = row
	}
	return rows, err
}

// unheld reads what would else be held.
func (s *Service) unheld(ctx context.Context, of []owner) ([]held, error) {
	found, err := s.load(ctx, of)
	sets := make([]held, len(of))
	for i, key := range of {
		sets[i] = found[key]
	}
	return sets, err
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
