package favorite

import (
	"cmp"
	"context"
	"slices"

	"backbeat/app/batch"
	pb "backbeat/proto/favorite"
)

// listMax is the longest list of liked videos (API D7).
const listMax = 1000

// ListLiked lists what a user likes, whoever asks.
func (s *Service) ListLiked(ctx context.Context, in *pb.ListLikedRequest, out *pb.ListLikedResponse) error {
	if err := batch.Check([]int64{in.UserId}); err != nil {
		return err
	}
	limit := batch.Limit(in.Limit, listMax)
	waiting := s.waiting(ctx, in.UserId)
	rows, err := s.store.liked(ctx, in.UserId, limit, waiting, in.Stranger)
	if err != nil {
		return err
	}
	out.VideoIds = latest(rows, waiting, limit)
	return nil
}

// waiting returns the user's pending entries, none when they can't be read: the
// rows are right, only late.
func (s *Service) waiting(ctx context.Context, user int64) []write {
	found, err := s.pending.of(ctx, user)
	if err != nil {
		s.log.DebugContext(ctx, "pending likes not read", "user", user, "error", err)
		return nil
	}
	return found[0].writes
}

// latest merges rows and pending writes, the newer of each video, and returns
// the videos liked, latest first.
func latest(rows, waiting []write, limit int) []int64 {
	newest := make(map[int64]write, len(rows)+len(waiting))
	for _, w := range slices.Concat(rows, waiting) {
		if known, ok := newest[w.video]; !ok || w.version > known.version {
			newest[w.video] = w
		}
	}
	liked := make([]write, 0, len(newest))
	for _, w := range newest {
		if w.liked {
			liked = append(liked, w)
		}
	}
	slices.SortFunc(liked, func(a, b write) int {
		return cmp.Or(cmp.Compare(b.version, a.version), cmp.Compare(b.video, a.video))
	})
	videos := make([]int64, 0, min(limit, len(liked)))
	for _, w := range liked[:min(limit, len(liked))] {
		videos = append(videos, w.video)
	}
	return videos
}
