package comment

import (
	"context"
	"time"

	"backbeat/app/cache"
	"backbeat/proto/entity"
)

const (
	// heldBytes bounds the lists held, of which one has a few comments or a thousand;
	// commentBytes is what one takes beside its text. heldTimeout bounds the loading of
	// a list.
	heldBytes    = 64 << 20
	commentBytes = 160
	heldTimeout  = time.Second
)

// listing is a video's comments at one version of them.
type listing struct {
	video   int64
	version cache.Version
}

// latest returns the comments of a video, newest first, and the number of their
// version: 0 without one. Without comments they are those that known names.
func (s *Server) latest(ctx context.Context, video int64, known uint64) (comments []*entity.Comment, version uint64, err error) {
	versions, err := s.versions.Get(ctx, video)
	if err != nil { // the cache is away
		comments, err = s.read(ctx, video)
		return comments, 0, err
	}
	at := versions[0]
	if at.Number() == known {
		return nil, known, nil
	}
	lists, err := s.lists.Get(ctx, listing{video, at})
	return lists[0], at.Number(), err
}

// numbers returns those of the versions of several videos, 0 without one.
func (s *Server) numbers(ctx context.Context, videos []int64) []uint64 {
	numbers := make([]uint64, len(videos))
	if len(videos) == 0 {
		return numbers
	}
	versions, err := s.versions.Get(ctx, videos...)
	if err != nil { // the cache is away
		return numbers
	}
	for i, version := range versions {
		numbers[i] = version.Number()
	}
	return numbers
}

func (s *Server) read(ctx context.Context, video int64) ([]*entity.Comment, error) {
	rows, err := s.store.newest(ctx, video, maxList)
	return toEntities(rows), err
}

// weight is about what a list takes, in bytes.
func weight(comments []*entity.Comment) int {
	bytes := 0
	for _, c := range comments {
		bytes += commentBytes + len(c.GetContent())
	}
	return bytes
}

// load reads the lists of several videos, one by one.
func (s *Server) load(ctx context.Context, of []listing) (map[listing][]*entity.Comment, error) {
	ctx, cancel := context.WithTimeout(ctx, heldTimeout)
	defer cancel()
	lists := make(map[listing][]*entity.Comment, len(of))
	for _, key := range of {
		comments, err := s.read(ctx, key.video)
		if err != nil {
			return nil, err
		}
		lists[key] = comments
	}
	return lists, nil
}

// changed ends what instances hold of the comments of videos.
func (s *Server) changed(ctx context.Context, videos ...int64) {
	if lost := s.versions.Drop(ctx, videos...); lost != nil {
		s.log.DebugContext(ctx, "comments held elsewhere are ended later", "videos", videos, "error", lost)
	}
	s.counted.Changed(ctx, videos, nil)
}
