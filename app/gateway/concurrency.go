package gateway

import (
	"container/list"
	"context"
	"runtime"
	"sync"
	"time"

	"backbeat/app/errs"
)

const (
	// slowAnswer is well below rpc.read_budget: were it longer, parts of a page would
	// time out, and circuits open, before fewer requests were let in.
	slowAnswer = 100 * time.Millisecond
	// slowShare of the answers have to be slow before fewer requests are let in: a few
	// always are, and they say nothing.
	slowShare = 0.2
	// adaptEvery is how often the limit may take a step of shrink, if there were
	// enoughAnswers to judge by.
	adaptEvery    = 50 * time.Millisecond
	enoughAnswers = 10
	shrink        = 0.85
	// calmFor is how long answers have to be quick before the limit takes back what
	// it gave up: under overload some are, for a moment.
	calmFor = time.Second
	// startPerCore requests are let in before anything is known of the machine, and
	// leastPerCore always: some wait for a sick part, which takes long and costs nothing.
	startPerCore = 64
	leastPerCore = 16
	// lightLine and hashingLine are how long the first in the line may have waited
	// before nobody can join it any more; half as long again and stall, and who is in it
	// gives up. A line lets all of many clients that ask at once have their turn, as the
	// threads of a load test do; beyond it an answer would come too late to be of use.
	// Whoever logs in waits longer: nothing else is of use without it.
	lightLine   = 400 * time.Millisecond
	hashingLine = 4 * time.Second
	// stall is for how long anybody can join a line that has just formed: the whole
	// machine may stand still for a moment, and then there is no overload.
	stall = time.Second
	// turnedAway is when those hear it who found the line full: clients that ask again
	// at once, by the thousand, would leave no time to answer the others.
	turnedAway = 100 * time.Millisecond
)

// concurrency bounds the requests in progress by what the machine can take just now.
// It lets in more while answers are quick, up to a fixed most, and fewer once too many
// take longer than a moment: what is let in beyond that only makes all wait, until
// nothing is answered in time. What it gave up in a bad moment it takes back when
// answers have been quick for a while, or the next one would begin with nothing to
// spare. Who is not let in waits in a line, first come, first served, unless it has
// grown too long. It is safe for concurrent use.
type concurrency struct {
	now func() time.Time
	// refusal is what those get who find no room.
	refusal error
	// full is how long the first in the line may have waited before nobody joins it.
	full time.Duration

	mu                 sync.Mutex
	least, start, most float64
	limit              float64
	inside             int
	line               list.List // of *waiter
	// formed is when somebody joined the line while it was empty.
	formed time.Time
	// answers and late, of them, came since the limit was last looked at.
	answers, late float64
	// looked is when the limit was last looked at, slow when too many were late.
	looked, slow time.Time
}

// waiter is a request in the line.
type waiter struct {
	since time.Time
	// in is closed when it is let in.
	in chan struct{}
}

// newConcurrency lets in most requests or fewer, by how long they take.
func newConcurrency(most int, now func() time.Time) *concurrency {
	cores := float64(runtime.GOMAXPROCS(0))
	a := fixedConcurrency(most, lightLine, "", now)
	a.least, a.start = min(a.most, leastPerCore*cores), min(a.most, startPerCore*cores)
	a.limit = a.start
	return a
}

// fixedConcurrency lets in as many requests however long they take. Text is what it
// refuses with when its line is full.
func fixedConcurrency(limit int, full time.Duration, text string, now func() time.Time) *concurrency {
	n := float64(limit)
	return &concurrency{now: now, refusal: errs.New(errs.Exhausted, text), full: full, least: n, start: n, most: n, limit: n}
}

// enter lets a request in, at once or after it waited in the line, or refuses it
// with Exhausted. Whoever leaves meanwhile gets Unavailable.
func (a *concurrency) enter(ctx context.Context) error {
	a.mu.Lock()
	first := a.line.Front()
	if first == nil && float64(a.inside) < a.limit {
		a.inside++
		a.mu.Unlock()
		return nil
	}
	w := &waiter{since: a.now(), in: make(chan struct{})}
	switch {
	case first == nil:
		a.formed = w.since
	case w.since.Sub(first.Value.(*waiter).since) > a.full && w.since.Sub(a.formed) > stall:
		a.mu.Unlock()
		return a.await(ctx, w, turnedAway)
	}
	place := a.line.PushBack(w)
	a.mu.Unlock()
	err := a.await(ctx, w, a.full*3/2+stall)
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-w.in: // let in at the last moment
		return nil
	default:
		a.line.Remove(place)
		return err
	}
}

// await returns nil once w is let in, or its refusal when its patience is at an end.
func (a *concurrency) await(ctx context.Context, w *waiter, patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-w.in:
		return nil
	case <-timer.C:
		return a.refusal
	case <-ctx.Done():
		return errs.Wrap(errs.Unavailable, ctx.Err(), "waiting to be let in")
	}
}

// bounds returns how many requests are let in, and how many wait.
func (a *concurrency) bounds() (limit float64, waiting int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.limit, a.line.Len()
}

// leave ends a request. Took is how long its answer took, 0 if that says nothing
// about the machine.
func (a *concurrency) leave(took time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if took > 0 {
		a.adapt(took)
	}
	a.inside--
	for first := a.line.Front(); first != nil && float64(a.inside) < a.limit; first = a.line.Front() {
		a.inside++
		close(a.line.Remove(first).(*waiter).in)
	}
}

// adapt learns from an answer.
func (a *concurrency) adapt(took time.Duration) {
	a.answers++
	if took > slowAnswer {
		a.late++
	} else if float64(a.inside) >= a.limit/2 {
		a.limit = min(a.most, a.limit+1/a.limit) // by one in the time that all inside take
	}
	now := a.now()
	if a.answers < enoughAnswers || now.Sub(a.looked) < adaptEvery {
		return
	}
	switch {
	case a.late > a.answers*slowShare:
		a.limit, a.slow = max(a.least, a.limit*shrink), now
	case a.limit < a.start && now.Sub(a.slow) >= calmFor:
		a.limit = min(a.start, a.limit/shrink)
	}
	a.looked, a.answers, a.late = now, 0, 0
}
