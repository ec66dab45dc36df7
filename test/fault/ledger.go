package main

import (
	"fmt"
	"math/rand/v2"
	"sync"
)

// fact is something a user can make true, and some kinds of it false again.
type fact struct {
	// kind is like, follow, comment, message or work.
	kind         string
	user, target int64
	// text tells comments, messages and works apart.
	text string
}

func (f fact) String() string {
	return fmt.Sprintf("%s of %d on %d %s", f.kind, f.user, f.target, f.text)
}

// history is what the answers say about a fact.
type history struct {
	// holds is what the last acknowledged write made it.
	holds bool
	// unsure means that a later write was refused or not answered: it may have
	// taken effect all the same.
	unsure bool
	// writing means that a write is on its way. Another would make the order,
	// and so the outcome, unknown.
	writing bool
}

// ledger is what was answered. It is safe for concurrent use.
type ledger struct {
	mu           sync.Mutex
	facts        map[fact]*history
	acknowledged int
}

func newLedger() *ledger { return &ledger{facts: map[fact]*history{}} }

// begin reserves the fact for a write that turns it round, and says to what. It
// is false while another write of it is on its way.
func (l *ledger) begin(f fact) (want, free bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.facts[f]
	if h == nil {
		h = &history{}
		l.facts[f] = h
	}
	if h.writing {
		return false, false
	}
	h.writing = true
	if h.unsure {
		return rand.N(2) == 0, true
	}
	return !h.holds, true
}

// end notes what became of a write that begin announced.
func (l *ledger) end(f fact, want, acknowledged bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.facts[f]
	h.writing = false
	if acknowledged {
		l.acknowledged++
		h.holds, h.unsure = want, false
	} else if want != h.holds {
		h.unsure = true
	}
}

// compare returns what is wrong with what the system shows: how often it shows
// each fact of a kind, or of all kinds.
func (l *ledger) compare(kind string, shown map[fact]int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var wrong []string
	for f, h := range l.facts {
		if kind != "" && f.kind != kind {
			continue
		}
		switch n := shown[f]; {
		case n > 1:
			wrong = append(wrong, fmt.Sprintf("%d times: %v", n, f))
		case n == 0 && h.holds && !h.unsure:
			wrong = append(wrong, fmt.Sprintf("lost: %v", f))
		case n == 1 && !h.holds && !h.unsure:
			wrong = append(wrong, fmt.Sprintf("taken back, yet there: %v", f))
		}
	}
	for f := range shown {
		if l.facts[f] == nil {
			wrong = append(wrong, fmt.Sprintf("never asked for: %v", f))
		}
	}
	return wrong
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acknowledged
}
