package e2e

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"testing"
	"time"

	"backbeat/test/harness"
)

// mayBeLate is everything that a replica is asked, besides how late it is.
var mayBeLate = map[string]*regexp.Regexp{
	"cards of users":           regexp.MustCompile("^SELECT `id`,`name`,`avatar`,`background_image`,`signature` FROM `users` WHERE id IN "),
	"cards of videos":          regexp.MustCompile("^SELECT \\* FROM `videos` WHERE id IN .* AND author_id = 0\\)+$"),
	"older pages of the feed":  regexp.MustCompile("^SELECT \\* FROM `videos` WHERE published_at < "),
	"works of somebody else":   regexp.MustCompile("^SELECT \\* FROM `videos` WHERE author_id = \\d+ AND state IN \\(2\\) "),
	"how many works those are": regexp.MustCompile(`^SELECT author_id, works FROM video_authors WHERE author_id IN \(\d+\)$`),
	"likes of somebody else":   regexp.MustCompile(`^SELECT video_id, version, 1 AS state FROM \(SELECT video_id, version FROM favorites WHERE `),
}

var heartbeat = regexp.MustCompile("^SELECT beat FROM heartbeats WHERE id = 1$")

// sentToReplica counts, by kind, what the replica was asked.
func sentToReplica(ctx context.Context) (counts map[string]int, others error, err error) {
	statements, err := databases.Asked(ctx)
	counts = map[string]int{}
	var faults []error
next:
	for _, statement := range statements {
		for kind, form := range mayBeLate {
			if form.MatchString(statement) {
				counts[kind]++
				continue next
			}
		}
		if !heartbeat.MatchString(statement) {
			faults = append(faults, fmt.Errorf("the replica was asked %s", statement))
		}
	}
	return counts, errors.Join(faults...), err
}

// onlyLateReads returns an error if, in all these tests, a replica was asked what only
// the primary knows.
func onlyLateReads(ctx context.Context) error {
	counts, others, err := sentToReplica(ctx)
	fmt.Printf("statements that the replica answered: %v\n", counts)
	return errors.Join(others, err)
}

// Each read that may be late is answered by the replica, once a second has made it know.
func TestStrangersReadFromTheReplica(t *testing.T) {
	w := worlds[1]
	author, video := w.video(t)
	harness.OK(t, w.Post(t, "/douyin/favorite/action/", "token", author.Token, "video_id", video.ID, "action_type", 1))
	counts := func() map[string]int {
		found, _, err := sentToReplica(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	before := counts()
	harness.Eventually(t, 30*time.Second, func() error {
		stranger := w.Register(t)
		harness.OK(t, w.Get(t, "/douyin/publish/list/", "token", stranger.Token, "user_id", author.ID))
		harness.OK(t, w.Get(t, "/douyin/favorite/list/", "token", stranger.Token, "user_id", author.ID))
		harness.OK(t, w.Get(t, "/douyin/feed/", "latest_time", time.Now().Add(-time.Hour).UnixMilli()))
		w.Profile(t, author, stranger.ID)
		after := counts()
		var faults []error
		for kind := range mayBeLate {
			// A gateway holds the cards of videos for minutes: some test saw to them.
			if kind != "cards of videos" && after[kind] == before[kind] {
				faults = append(faults, fmt.Errorf("%s come from the primary", kind))
			}
		}
		return errors.Join(faults...)
	}, "everything that may be late comes from the replica")
}

// Own acts show at once though the replica has not heard of them.
func TestOwnActsShowWhateverTheReplicaKnows(t *testing.T) {
	w := worlds[1]
	_, video := w.video(t)
	viewer, friend := w.Register(t), w.Register(t)
	clip := harness.Clip(t, harness.ClipOptions{Seconds: 1})
	for round := range 3 {
		title := fmt.Sprintf("own %d", round)
		w.Publish(t, viewer, clip, title)
		works := w.works(t, viewer, viewer.ID)
		if len(works) != round+1 || works[0].Title != title {
			t.Errorf("own works after the upload of %q are %v", title, works)
		}
		liked := round%2 == 0
		action := map[bool]int{true: 1, false: 2}[liked]
		harness.OK(t, w.Post(t, "/douyin/favorite/action/", "token", viewer.Token, "video_id", video.ID, "action_type", action))
		equal(t, "own likes", len(w.likes(t, viewer, viewer.ID)), map[bool]int{true: 1}[liked])
		harness.OK(t, w.Post(t, "/douyin/relation/action/", "token", viewer.Token, "to_user_id", friend.ID, "action_type", action))
		equal(t, "own follows", len(w.follows(t, viewer, viewer.ID)), map[bool]int{true: 1}[liked])
		harness.OK(t, w.Post(t, "/douyin/message/action/", "token", viewer.Token, "to_user_id", friend.ID, "action_type", 1, "content", title))
		equal(t, "messages that the sender sees", len(w.chat(t, viewer, friend.ID, 0)), round+1)
		equal(t, "messages that the receiver sees", len(w.chat(t, friend, viewer.ID, 0)), round+1)
	}
}
