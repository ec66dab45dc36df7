package linear

import (
	"slices"

	"pgregory.net/rapid"
)

// program is what the goroutines of a history do, each its steps in turn.
type program [][]step

// step is one call.
type step struct {
	Do action
	// User and Item choose who does it to what among those of the history.
	User, Item int
	Fault      fault
	// Vary chooses among what is the same to the user: the instance that answers,
	// the RPC that reads, the statement that fails, the time until a cancellation.
	Vary int
}

// action is what a step does.
type action string

const (
	like         action = "like"
	unlike       action = "unlike"
	readLike     action = "read like"
	follow       action = "follow"
	unfollow     action = "unfollow"
	readFollow   action = "read follow"
	remark       action = "comment"
	retract      action = "delete comment"
	trespass     action = "delete another's comment"
	readComments action = "read comments"
	publish      action = "publish"
	readWorks    action = "read works"
	send         action = "send"
	poll         action = "poll"
	readChat     action = "read chat"
)

// fault is what goes wrong on the way of a step.
type fault string

const (
	// none is a step that nothing disturbs but its neighbours.
	none fault = ""
	// lost is an answer that never arrives; the user tries again.
	lost fault = "lost"
	// canceled is a caller that goes away in the middle.
	canceled fault = "canceled"
	// conflicted is a transaction that the database asks to repeat.
	conflicted fault = "conflicted"
	// refused is a queue that takes nothing; the user tries again.
	refused fault = "refused"
	// unconfirmed is a queue that takes the message and says it did not.
	unconfirmed fault = "unconfirmed"
	// repeated is a queue that takes the message twice.
	repeated fault = "repeated"
	// brokerAway is a broker that takes nothing, so that the spool must.
	brokerAway fault = "broker away"
	// brokerMute is a broker that takes the message and does not confirm, so that
	// the spool takes it as well.
	brokerMute fault = "broker mute"
)

// The size of a history's world: few enough for everybody to meet.
const (
	users  = 3
	videos = 2
)

// programs generates programs of 8 to 64 goroutines. Half of them keep to one
// topic, so that everybody meets. Each choice starts simple, so that a failing
// program shrinks to that.
var programs = rapid.Custom(func(t *rapid.T) program {
	do := rapid.SampledFrom(topics).Draw(t, "topic")
	goroutines := rapid.SampledFrom([]int{8, 8, 8, 12, 12, 16, 24, 32, 64}).Draw(t, "goroutines")
	return rapid.SliceOfN(rapid.SliceOfN(steps(do), 1, 4), goroutines, goroutines).Draw(t, "program")
})

func steps(do []action) *rapid.Generator[step] {
	return rapid.Custom(func(t *rapid.T) step {
		return step{
			Do:    rapid.SampledFrom(do).Draw(t, "do"),
			User:  rapid.IntRange(0, users-1).Draw(t, "user"),
			Item:  rapid.IntRange(0, videos-1).Draw(t, "item"),
			Fault: rapid.SampledFrom(faults).Draw(t, "fault"),
			Vary:  rapid.IntRange(0, 1023).Draw(t, "vary"),
		}
	})
}

// What there is to do, and to go wrong; what is to come more often stands there
// more than once.
var (
	aboutLikes    = []action{like, like, unlike, unlike, readLike, readLike, readLike}
	aboutFollows  = []action{follow, follow, unfollow, readFollow, readFollow}
	aboutComments = []action{remark, remark, retract, trespass, readComments, readComments}
	aboutChats    = []action{send, send, poll, readChat}
	aboutWorks    = []action{publish, readWorks}
	aboutAll      = slices.Concat(aboutLikes, aboutFollows, aboutComments, aboutChats, aboutWorks)

	topics = [][]action{
		aboutLikes, aboutLikes, aboutFollows, aboutComments, aboutChats,
		aboutAll, aboutAll, aboutAll, aboutAll, aboutAll,
	}
	faults = []fault{
		none, none, none, none, none, none, none, none, none, none, none, none, none, none, none, none,
		lost, lost, lost, canceled, conflicted, conflicted, refused, unconfirmed, repeated, brokerAway, brokerMute,
	}
)
