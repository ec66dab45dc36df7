package seed

import (
	"fmt"
	"math"
)

// Bounds of a Size. Of every user and video a few dozen bytes are held in memory;
// of what they do, nothing.
const (
	maxUsers  = 10_000_000
	maxVideos = 10_000_000
	maxDeeds  = 1_000_000_000
)

// Size is how much there will be of each, exactly.
type Size struct {
	Users, Videos, Likes, Comments, Follows, Messages int
}

// DefaultSize is a platform of a small town, made in seconds.
var DefaultSize = Size{Users: 1000, Videos: 200, Likes: 100_000, Comments: 20_000, Follows: 20_000, Messages: 20_000}

// check returns an error that says which number can't be met and what could be.
func (s Size) check() error {
	for _, row := range []struct {
		what            string
		asked, from, to int
		why             string
	}{
		{"users", s.Users, 1, maxUsers, "is the bound"},
		{"videos", s.Videos, 0, maxVideos, "is the bound"},
		{"likes", s.Likes, 0, most(s.Users, s.Videos), "is every user once for every video"},
		{"comments", s.Comments, 0, most(maxDeeds, s.Videos), "is the bound, and each needs a video"},
		{"follows", s.Follows, 0, most(s.Users, s.Users-1), "is every user once for every other"},
		{"messages", s.Messages, 0, most(maxDeeds, s.Users-1), "is the bound, and each needs two users"},
	} {
		if row.asked < row.from || row.asked > row.to {
			return fmt.Errorf("%d %s can't be made: from %d to %d, which %s", row.asked, row.what, row.from, row.to, row.why)
		}
	}
	return nil
}

// most returns a·b, at most maxDeeds, and 0 when either is not positive.
func most(a, b int) int {
	if a <= 0 || b <= 0 {
		return 0
	}
	return int(math.Min(float64(a)*float64(b), maxDeeds))
}

// String says it for people.
func (s Size) String() string {
	return fmt.Sprintf("%d users, %d videos, %d likes, %d comments, %d follows, %d messages",
		s.Users, s.Videos, s.Likes, s.Comments, s.Follows, s.Messages)
}
