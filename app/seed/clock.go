package seed

import (
	"iter"
	"time"

	"backbeat/app/id"
)

// period is how long each of the three chapters takes that end now: people come,
// then videos, then all the rest, so nothing is older than what it is about.
const period = 30 * 24 * time.Hour

// clock shows the owners, who take the time of everything from a clock, when it
// happened. Its ids are of that time.
type clock struct {
	from, now time.Time
	ids       *id.Generator
}

// newClock returns the clock of a chapter, 0 to 2, of those that end at the time.
func newClock(end time.Time, chapter int) *clock {
	c := &clock{from: end.Add(period * time.Duration(chapter-3))}
	c.now = c.from
	c.ids = id.NewGenerator(c.read)
	return c
}

func (c *clock) read() time.Time { return c.now }

// spread yields what comes and moves the clock on before each of the n, evenly
// through its chapter.
func spread[T any](c *clock, n int, what iter.Seq[T]) iter.Seq[T] {
	return func(yield func(T) bool) {
		i := 0
		for one := range what {
			c.now = c.from.Add(time.Duration(float64(period) * float64(i) / float64(n)))
			if !yield(one) {
				return
			}
			i++
		}
	}
}
