package gateway

import (
	"runtime"
	"sync"
	"time"

	"backbeat/app/errs"
)

const (
	// slowAnswer is well below rpc.read_budget: were it longer, parts of a page would
	// time out, and circuits open, before fewer requests were let in.
	slowAnswer = 100 * time.Millisecond
	// adaptEvery is how often the limit may take a step of shrink.
	adaptEvery = 50 * time.Millisecond
	shrink     = 0.9
	// calmFor is how long no answer may have been slow before the limit takes back what
	// it gave up: under overload some are quick.
	calmFor = time.Second
	// leastPerCore requests are always let in: pages that wait for a sick part take
	// long and cost nothing.
	leastPerCore = 32
)

// concurrency bounds the requests in progress by what the machine can take just now.
// It lets in more while answers are quick, up to a fixed most, and fewer once they
// take longer than a moment: what is let in beyond that only makes all wait, until
// nothing is answered in time. What it gave up in a bad moment it takes back when
// answers have been quick for a while, or the next one would begin with nothing to
// spare. It is safe for concurrent use.
type concurrency struct {
	now func() time.Time

	mu                 sync.Mutex
	least, start, most float64
	limit              float64
	inside             int
	// stepped is when the limit took its last step, slow when an answer was slow.
	stepped, slow time.Time
}

func newConcurrency(most int, now func() time.Time) *concurrency {
	least := min(float64(most), float64(leastPerCore*runtime.GOMAXPROCS(0)))
	start := min(float64(most), 4*least)
	return &concurrency{now: now, least: least, start: start, most: float64(most), limit: start}
}

// enter lets a request in, or refuses it with Exhausted.
func (a *concurrency) enter() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if float64(a.inside) >= a.limit {
		return errs.New(errs.Exhausted, "")
	}
	a.inside++
	return nil
}

// current returns how many requests are let in.
func (a *concurrency) current() float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.limit
}

// leave ends a request. Took is how long its answer took, 0 if that says nothing
// about the machine.
func (a *concurrency) leave(took time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	full := float64(a.inside) >= a.limit/2
	a.inside--
	switch {
	case took > slowAnswer:
		a.slow = a.now()
		a.step(a.slow, max(a.least, a.limit*shrink))
	case took > 0 && full:
		a.limit = min(a.most, a.limit+1/a.limit) // by one in the time that all inside take
	case took > 0 && a.limit < a.start:
		if now := a.now(); now.Sub(a.slow) >= calmFor {
			a.step(now, min(a.start, a.limit/shrink))
		}
	}
}

// step moves the limit, if it was not moved a moment ago.
func (a *concurrency) step(now time.Time, to float64) {
	if now.Sub(a.stepped) >= adaptEvery {
		a.limit, a.stepped = to, now
	}
}
