package linear

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

// A register holds whether a user likes a video or follows a user.
type (
	// registerCall writes value, or reads.
	registerCall struct {
		write, value bool
		// glimpsed are values that may show although they never take effect: those
		// of writes on their way that the queue then refuses.
		glimpsed [2]bool
	}
	// registerAnswer is what the register was seen to hold: what a read returned, or
	// what a write said there was before it. Nil when nobody said.
	registerAnswer *bool
)

var register = porcupine.Model{
	Init: func() any { return false },
	Step: func(state, input, output any) (bool, any) {
		holds, call := state.(bool), input.(registerCall)
		if seen := output.(registerAnswer); seen != nil && *seen != holds && !call.glimpsed[bit(*seen)] {
			return false, state
		}
		if call.write {
			holds = call.value
		}
		return true, holds
	},
	DescribeOperation: func(input, output any) string {
		call, seen := input.(registerCall), "?"
		if output.(registerAnswer) != nil {
			seen = fmt.Sprint(*output.(registerAnswer))
		}
		if call.write {
			return fmt.Sprintf("write %v: was %s", call.value, seen)
		}
		return "read: " + seen
	},
}

func bit(value bool) int {
	if value {
		return 1
	}
	return 0
}

// A set holds a user's comments under a video, or a user's works, by their texts,
// each of which is added once.
type (
	setCall struct {
		do   string // add, remove or read
		text string
	}
	// setAnswer is what a read returned, sorted, or whether there was something to
	// remove. Nil when nobody said.
	setAnswer *struct {
		members string
		removed bool
	}
)

var set = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		members, call, answer := split(state.(string)), input.(setCall), output.(setAnswer)
		switch call.do {
		case "add":
			return true, join(append(members, call.text))
		case "remove":
			at := slices.Index(members, call.text)
			if answer != nil && answer.removed != (at >= 0) {
				return false, state
			}
			if at >= 0 {
				members = slices.Delete(members, at, at+1)
			}
			return true, join(members)
		default:
			return answer == nil || answer.members == state, state
		}
	},
	DescribeOperation: func(input, output any) string {
		call, answer := input.(setCall), output.(setAnswer)
		if answer == nil {
			return fmt.Sprintf("%s %s: ?", call.do, call.text)
		}
		return fmt.Sprintf("%s %s: %q %v", call.do, call.text, answer.members, answer.removed)
	},
}

func split(members string) []string {
	if members == "" {
		return nil
	}
	return strings.Split(members, " ")
}

func join(members []string) string {
	slices.Sort(members)
	return strings.Join(members, " ")
}

// A log holds the messages of two users in the order of their times.
type (
	// line is one message; its time is 0 when nobody said.
	line struct {
		at, from int64
		text     string
	}
	// logCall sends line, or reads what viewer may: the newest of all messages when
	// after is 0, else the oldest of the other's that are later. One read of the
	// last message alone has limit 1.
	logCall struct {
		send          bool
		line          line
		viewer, after int64
		limit         int
	}
	// logAnswer is what a read returned.
	logAnswer []line
)

// logOf is the model of one conversation. Times that rise in the order in which
// messages appear are all it promises about order, so the messages in the order
// of their times are the only log there can be, and how many there are yet is all
// the state.
func logOf(lines []line) porcupine.Model {
	slices.SortFunc(lines, func(a, b line) int { return cmp.Compare(a.at, b.at) })
	return porcupine.Model{
		Init: func() any { return 0 },
		Step: func(state, input, output any) (bool, any) {
			length, call := state.(int), input.(logCall)
			if call.send {
				return length < len(lines) && lines[length].text == call.line.text, length + 1
			}
			return slices.Equal(call.of(lines[:length]), output.(logAnswer)), state
		},
		DescribeOperation: func(input, output any) string {
			call := input.(logCall)
			if call.send {
				return fmt.Sprintf("send %v", call.line)
			}
			return fmt.Sprintf("read of %d after %d, at most %d: %v", call.viewer, call.after, call.limit, output)
		},
	}
}

// of returns what a read must return of the messages so far.
func (c logCall) of(lines []line) logAnswer {
	if c.after == 0 {
		return logAnswer(lines[max(0, len(lines)-c.limit):])
	}
	var answer logAnswer
	for _, l := range lines {
		if l.at > c.after && l.from != c.viewer && len(answer) < c.limit {
			answer = append(answer, l)
		}
	}
	return answer
}
