package linear

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"
)

// object is what calls are checked together about: one register, set or log.
type object struct {
	kind string
	// user and item own it; of a conversation the smaller and the larger user.
	user, item int64
}

// The kinds of objects.
const (
	likes    = "likes"
	follows  = "follows"
	comments = "comments"
	works    = "works"
	chats    = "chats"
)

// never is when a call returns whose outcome nobody knows.
const never = math.MaxInt64

// record is one call and its answer.
type record struct {
	porcupine.Operation
	// takenBack is when a write that the queue refused had shown for the last time,
	// 0 for every other call.
	takenBack int64
}

// history is what happened. Its times are numbers drawn one after the other:
// they order calls as a clock would, and no two are the same.
type history struct {
	clock atomic.Int64

	mu      sync.Mutex
	records map[object][]record
	// impossible are answers that are wrong whatever else happened.
	impossible []string
	// likesKnown is false when pending likes could not be reached, so that nothing
	// is promised about what likes show.
	likesKnown bool
}

func newHistory() *history { return &history{records: map[object][]record{}, likesKnown: true} }

func (h *history) now() int64 { return h.clock.Add(1) }

func (h *history) add(of object, r record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.records[of] = append(h.records[of], r)
}

// reject notes an answer that can't be right.
func (h *history) reject(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.impossible = append(h.impossible, fmt.Sprintf(format, args...))
}

// patience bounds the search for one object's linearization. It takes
// milliseconds; a search that takes this long proves nothing and fails.
const patience = 20 * time.Second

// check returns what is wrong with the history, nothing when it is right.
func (h *history) check() []string {
	wrong := slices.Clone(h.impossible)
	for of, records := range h.records {
		var model porcupine.Model
		switch of.kind {
		case likes:
			if !h.likesKnown {
				continue
			}
			records, model = glimpse(records), register
		case follows:
			model = register
		case comments, works:
			records, model = observed(records), set
		case chats:
			var lines []line
			var err error
			if records, lines, err = settle(records); err != nil {
				wrong = append(wrong, fmt.Sprintf("%v: %v", of, err))
				continue
			}
			model = logOf(lines)
		}
		if result := porcupine.CheckOperationsTimeout(model, operations(records), patience); result != porcupine.Ok {
			wrong = append(wrong, fmt.Sprintf("%v is not linearizable (%s):\n%s", of, result, describe(model, records)))
		}
	}
	return wrong
}

// calls counts what was recorded.
func (h *history) calls() (n int) {
	for _, records := range h.records {
		n += len(records)
	}
	return n
}

func operations(records []record) []porcupine.Operation {
	all := make([]porcupine.Operation, len(records))
	for i, r := range records {
		all[i] = r.Operation
	}
	return all
}

// glimpse tells each call of a register which refused writes it overlaps.
func glimpse(records []record) []record {
	records = slices.Clone(records)
	for i := range records {
		call := records[i].Input.(registerCall)
		for _, refused := range records {
			if refused.takenBack > records[i].Call && refused.Call < records[i].Return {
				call.glimpsed[bit(refused.Input.(registerCall).value)] = true
			}
		}
		records[i].Input = call
	}
	return records
}

// observed leaves out additions to a set with unknown outcomes that nobody ever
// saw: they may as well have taken effect after everything else.
func observed(records []record) []record {
	seen := map[string]bool{}
	for _, r := range records {
		if call, answer := r.Input.(setCall), r.Output.(setAnswer); answer != nil {
			seen[call.text] = true
			for _, text := range split(answer.members) {
				seen[text] = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(records), func(r record) bool {
		call := r.Input.(setCall)
		return call.do == "add" && r.Return == never && !seen[call.text]
	})
}

// settle collects the messages of a conversation from the answers to those who
// sent them and to those who read them. Sends with unknown outcomes that nobody
// ever saw are left out.
func settle(records []record) ([]record, []line, error) {
	known := map[string]line{}
	note := func(l line) error {
		if before, ok := known[l.text]; ok && before != l {
			return fmt.Errorf("message %q was seen as %v and as %v", l.text, before, l)
		}
		known[l.text] = l
		return nil
	}
	for _, r := range records {
		lines := []line{r.Input.(logCall).line}
		if !r.Input.(logCall).send {
			lines = r.Output.(logAnswer)
		}
		for _, l := range lines {
			if l.at == 0 {
				continue
			}
			if err := note(l); err != nil {
				return nil, nil, err
			}
		}
	}
	lines := make([]line, 0, len(known))
	times := map[int64]string{}
	for _, l := range known {
		if other, ok := times[l.at]; ok {
			return nil, nil, fmt.Errorf("messages %q and %q have the same time", l.text, other)
		}
		times[l.at] = l.text
		lines = append(lines, l)
	}
	records = slices.DeleteFunc(slices.Clone(records), func(r record) bool {
		call := r.Input.(logCall)
		_, ok := known[call.line.text]
		return call.send && !ok
	})
	return records, lines, nil
}

// describe prints records in the order of their calls.
func describe(model porcupine.Model, records []record) string {
	slices.SortFunc(records, func(a, b record) int { return int(a.Call - b.Call) })
	var text strings.Builder
	for _, r := range records {
		until := fmt.Sprint(r.Return)
		if r.Return == never {
			until = "…"
		}
		fmt.Fprintf(&text, "  %d–%s %s\n", r.Call, until, model.DescribeOperation(r.Input, r.Output))
	}
	return text.String()
}
