package seed

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"strconv"
)

// Popularity falls with the rank k as 1/(k+head)^steep: the first of a thousand
// gets a fortieth of everything, the last half a thousandth of that.
const (
	steep = 1.1
	head  = 10
)

// talk is how many messages a conversation has on average.
const talk = 8

// plan is who does what, in numbers that count users and videos from 0. It
// follows from the size and the seed alone; each part draws from a source of its
// own, so that another number of likes makes no other comments.
type plan struct {
	Size
	seed uint64
	// users and videos are in order of popularity, the first the most popular.
	users, videos []int
	// authors holds the author of each video.
	authors []int
}

// The parts of a plan, which number the sources of chance.
const (
	userPart = iota
	videoPart
	authorPart
	likePart
	commentPart
	followPart
	messagePart
)

func newPlan(size Size, seed uint64) *plan {
	p := &plan{Size: size, seed: seed}
	p.users, p.videos = p.chance(userPart).Perm(size.Users), p.chance(videoPart).Perm(size.Videos)
	p.authors = make([]int, size.Videos)
	author := newDraw(p.chance(authorPart), p.users)
	for i := range p.authors {
		p.authors[i] = author.next()
	}
	return p
}

func (p *plan) chance(part uint64) *rand.Rand { return rand.New(rand.NewPCG(p.seed, part)) }

// Name returns the name of user i, counted from 0, of as many as there are:
// user0001 and so on, with as many digits as the last one needs.
func Name(i, users int) string {
	return fmt.Sprintf("user%0*d", max(4, len(strconv.Itoa(users))), i+1)
}

func (p *plan) names() iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range p.Users {
			if !yield(Name(i, p.Users)) {
				return
			}
		}
	}
}

// works yields the author and the title of each video.
func (p *plan) works() iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		for i, author := range p.authors {
			if !yield(author, fmt.Sprintf("%s %d", titles[i%len(titles)], i+1)) {
				return
			}
		}
	}
}

// likes yields a user and a video, sorted by user: no pair twice.
func (p *plan) likes() iter.Seq2[int, int] {
	chance := p.chance(likePart)
	given := shares(p.Likes, p.users, func(int) int { return p.Videos })
	return pairs(chance, given, newDraw(chance, p.videos), func(int) int { return p.Videos }, false)
}

// follows yields a follower and whom they follow, sorted by follower: no pair
// twice, and nobody themselves.
func (p *plan) follows() iter.Seq2[int, int] {
	chance := p.chance(followPart)
	given := shares(p.Follows, p.users, func(int) int { return p.Users - 1 })
	return pairs(chance, given, newDraw(chance, p.users), func(int) int { return p.Users }, true)
}

// note is something a user says, about a video or to another user.
type note struct {
	from, about int
	content     string
}

func (p *plan) comments() iter.Seq[note] {
	chance := p.chance(commentPart)
	return func(yield func(note) bool) {
		if p.Comments == 0 {
			return
		}
		user, video := newDraw(chance, p.users), newDraw(chance, p.videos)
		for range p.Comments {
			if !yield(note{user.next(), video.next(), comments[chance.IntN(len(comments))]}) {
				return
			}
		}
	}
}

// messages yields one conversation after the other.
func (p *plan) messages() iter.Seq[note] {
	chance := p.chance(messagePart)
	return func(yield func(note) bool) {
		if p.Messages == 0 {
			return
		}
		// A pair is one of a user and one of those before, so there is each once.
		before := func(user int) int { return user }
		talks := min((p.Messages+talk-1)/talk, most(p.Users, p.Users-1)/2)
		more := shares(p.Messages-talks, chance.Perm(talks), func(int) int { return math.MaxInt })
		i := 0
		for one, other := range pairs(chance, shares(talks, p.users, before), newDraw(chance, p.users), before, false) {
			for range 1 + more[i] {
				if chance.IntN(2) == 0 {
					one, other = other, one
				}
				if !yield(note{one, other, chats[chance.IntN(len(chats))]}) {
					return
				}
			}
			i++
		}
	}
}

// shares divides total among as many as are ranked, the more the higher their
// rank and to each no more than room, which together holds total.
func shares(total int, ranked []int, room func(i int) int) []int {
	weights := make([]float64, len(ranked))
	var sum float64
	for rank, i := range ranked {
		weights[i] = math.Pow(float64(rank+head), -steep)
		sum += weights[i]
	}
	given, left, open := make([]int, len(ranked)), total, len(ranked)
	for i := range given {
		given[i] = min(room(i), int(float64(total)*weights[i]/sum), left)
		left -= given[i]
	}
	// What rounding left over, and what did not fit, goes to whoever has room.
	for left > 0 {
		each := left/open + 1
		open = 0
		for i := range given {
			add := min(each, room(i)-given[i], left)
			given[i] += add
			left -= add
			if given[i] < room(i) {
				open++
			}
		}
	}
	return given
}

// patience is how many drawn columns that are taken already pairs puts up with
// before it takes the next free one instead.
const patience = 8

// pairs yields for each row as many columns as given says, none twice, drawn
// among the first of as many as there are; with apart none equal to the row.
func pairs(chance *rand.Rand, given []int, column draw, columns func(row int) int, apart bool) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		taken := make([]int, len(column.ranked)) // by which row, counted from 1
		for row, n := range given {
			width := columns(row)
			if apart {
				taken[row] = row + 1
			}
			for range n {
				at := column.next() % width
				for tries := 1; taken[at] == row+1; tries++ {
					switch {
					case tries < patience:
						at = column.next() % width
					case tries == patience:
						at = chance.IntN(width)
					default:
						at = (at + 1) % width
					}
				}
				taken[at] = row + 1
				if !yield(row, at) {
					return
				}
			}
		}
	}
}

// draw draws by popularity.
type draw struct {
	zipf   *rand.Zipf
	ranked []int
}

func newDraw(chance *rand.Rand, ranked []int) draw {
	return draw{rand.NewZipf(chance, steep, head, uint64(max(1, len(ranked))-1)), ranked}
}

func (d draw) next() int { return d.ranked[d.zipf.Uint64()] }
