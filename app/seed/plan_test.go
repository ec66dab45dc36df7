package seed

import (
	"iter"
	"slices"
	"testing"
)

// distinct returns how many pairs there are, and fails for one that comes twice
// or lies outside.
func distinct(t *testing.T, pairs iter.Seq2[int, int], rows, columns int) int {
	t.Helper()
	seen := map[[2]int]bool{}
	last := 0
	for row, column := range pairs {
		pair := [2]int{row, column}
		if seen[pair] || row < last || row >= rows || column < 0 || column >= columns {
			t.Fatalf("%v after row %d, seen before: %v", pair, last, seen[pair])
		}
		seen[pair], last = true, row
	}
	return len(seen)
}

// The numbers are met exactly, from nothing up to everything there can be.
func TestPlansAreExact(t *testing.T) {
	for _, row := range []struct {
		name string
		size Size
	}{
		{"one user", Size{Users: 1}},
		{"one user, one of each", Size{Users: 1, Videos: 1, Likes: 1, Comments: 1}},
		{"two users", Size{Users: 2, Videos: 1, Likes: 2, Comments: 9, Follows: 2, Messages: 99}},
		{"everything", Size{Users: 30, Videos: 20, Likes: 600, Comments: 50, Follows: 870, Messages: 10_000}},
		{"all but one", Size{Users: 30, Videos: 20, Likes: 599, Comments: 1, Follows: 869, Messages: 1}},
		{"more users than likes", Size{Users: 5000, Videos: 10, Likes: 7, Follows: 3, Messages: 2}},
		{"default", DefaultSize},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := row.size.check(); err != nil {
				t.Fatal(err)
			}
			p := newPlan(row.size, 7)
			if n := distinct(t, p.likes(), p.Users, p.Videos); n != p.Likes {
				t.Errorf("%d likes, want %d", n, p.Likes)
			}
			if n := distinct(t, p.follows(), p.Users, p.Users); n != p.Follows {
				t.Errorf("%d follows, want %d", n, p.Follows)
			}
			for from, to := range p.follows() {
				if from == to {
					t.Fatalf("user %d follows themselves", from)
				}
			}
			if n := len(slices.Collect(p.comments())); n != p.Comments {
				t.Errorf("%d comments, want %d", n, p.Comments)
			}
			messages, ended, last := 0, map[[2]int]bool{}, [2]int{}
			for n := range p.messages() {
				pair := [2]int{min(n.from, n.about), max(n.from, n.about)}
				if pair != last {
					ended[last] = true
				}
				if ended[pair] || n.from == n.about {
					t.Fatalf("%v come again", pair)
				}
				last = pair
				messages++
			}
			if messages != p.Messages {
				t.Errorf("%d messages, want %d", messages, p.Messages)
			}
		})
	}
}

// Popularity resembles life: the first videos and users get many times what the
// ones in the middle get, and most of the platform gets something.
func TestFewGetMost(t *testing.T) {
	p := newPlan(Size{Users: 2000, Videos: 1000, Likes: 50_000, Follows: 20_000}, 1)
	likes, followers := make([]int, p.Videos), make([]int, p.Users)
	for _, v := range p.likes() {
		likes[v]++
	}
	for _, u := range p.follows() {
		followers[u]++
	}
	for name, got := range map[string][]int{"likes": likes, "followers": followers} {
		slices.Sort(got)
		top, middle := got[len(got)-1], got[len(got)/2]
		if top < 15*max(1, middle) || middle == 0 {
			t.Errorf("%s: the first has %d, the middle %d", name, top, middle)
		}
	}
}

func TestNames(t *testing.T) {
	for _, row := range []struct {
		i, users int
		want     string
	}{
		{0, 1, "user0001"}, {999, 1000, "user1000"}, {9998, 9999, "user9999"}, {0, 10_000, "user00001"}, {99_999, 100_000, "user100000"},
	} {
		if got := Name(row.i, row.users); got != row.want {
			t.Errorf("user %d of %d is %s", row.i, row.users, got)
		}
	}
}
