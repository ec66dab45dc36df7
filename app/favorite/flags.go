package favorite

import (
	"context"
	"time"

	"backbeat/app/cache"
	pb "backbeat/proto/favorite"
)

const (
	// heldLife is how old the rows an instance holds may be. A pending entry outlives
	// what it did to the rows by settledLife, so whoever reads the entries first and
	// then rows of that age misses no write. A write that was applied without one,
	// by an instance that alone can't reach the entries, shows after heldLife.
	heldLife = settledLife / 4
	// heldQuestions is how many are held with their answers: some 10 MB when each is
	// about a page of 30 videos.
	heldQuestions = 16_384
	// heldTimeout bounds one loading.
	heldTimeout = time.Second
)

// question is which videos a user is asked about: as many as a page has, however
// many the user likes. Rows held under another mark are older than a write that had
// no pending entry.
type question struct {
	user   int64
	mark   mark
	videos cache.IDs
}

// rowsByVideo are a user's rows of the videos asked about, and perhaps of others.
type rowsByVideo map[int64]write

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
	questions := make([]question, len(asked))
	for i, viewer := range asked {
		questions[i] = question{user: viewer.Id, videos: cache.PackIDs(viewer.VideoIds)}
		if known {
			questions[i].mark = waiting[i].mark
		}
	}
	var rows []rowsByVideo
	if known {
		rows, err = s.held.Get(ctx, questions...)
	} else { // writes may have no entries now: only the rows know
		s.log.DebugContext(ctx, "pending likes not read", "users", len(users), "error", err)
		waiting = make([]view, len(users))
		rows, err = s.unheld(ctx, questions)
	}
	if err != nil {
		return nil, err
	}
	answers := make([]*pb.FlagsResponse_Viewer, len(asked))
	for i, viewer := range asked {
		answers[i] = &pb.FlagsResponse_Viewer{VideoIds: likedOf(viewer.VideoIds, rows[i], waiting[i].writes)}
	}
	return answers, nil
}

// likedOf returns those of the videos that are liked, by the newer of a row and a
// write that waits.
func likedOf(videos []int64, rows rowsByVideo, waiting []write) (liked []int64) {
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

// unheld reads what would else be held.
func (s *Service) unheld(ctx context.Context, asked []question) ([]rowsByVideo, error) {
	found, err := s.load(ctx, asked)
	answers := make([]rowsByVideo, len(asked))
	for i, q := range asked {
		answers[i] = found[q]
	}
	return answers, err
}

// load answers several questions.
func (s *Service) load(ctx context.Context, asked []question) (map[question]rowsByVideo, error) {
	ctx, cancel := context.WithTimeout(ctx, heldTimeout)
	defer cancel()
	among := make([]wanted, len(asked))
	for i, q := range asked {
		among[i] = wanted{q.user, q.videos.Unpack()}
	}
	found, err := s.store.rowsAmong(ctx, among)
	if err != nil {
		return nil, err
	}
	answers := make(map[question]rowsByVideo, len(asked))
	for _, q := range asked {
		answers[q] = found[q.user]
	}
	return answers, nil
}
