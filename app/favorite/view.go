package favorite

import (
	"cmp"
	"slices"

	pb "backbeat/proto/favorite"
)

// stats is what one statement read, so that rows and counts agree.
type stats struct {
	videos map[int64]*pb.VideoStat
	users  map[int64]*pb.UserStat
	// rows are the viewer's own, by video.
	rows map[int64]write
}

// newStats returns zeros for every id asked for.
func newStats(videos, users []int64) *stats {
	s := &stats{
		videos: make(map[int64]*pb.VideoStat, len(videos)),
		users:  make(map[int64]*pb.UserStat, len(users)),
		rows:   map[int64]write{},
	}
	for _, video := range videos {
		s.videos[video] = &pb.VideoStat{}
	}
	for _, user := range users {
		s.users[user] = &pb.UserStat{}
	}
	return s
}

// add puts the viewer's flags in and adds what their pending writes will change.
// A write the rows know already has changed the counts, and adds nothing.
func (s *stats) add(viewer int64, waiting []write) {
	for video, row := range s.rows {
		if stat := s.videos[video]; stat != nil {
			stat.IsFavorite = row.liked
		}
	}
	for _, w := range waiting {
		row := s.rows[w.video]
		if w.version <= row.version || w.liked == row.liked {
			continue
		}
		delta := int64(1)
		if !w.liked {
			delta = -1
		}
		if stat := s.videos[w.video]; stat != nil {
			stat.IsFavorite = w.liked
			stat.FavoriteCount += delta
		}
		if stat := s.users[w.author]; stat != nil {
			stat.TotalFavorited += delta
		}
		if stat := s.users[viewer]; stat != nil {
			stat.FavoriteCount += delta
		}
	}
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
