package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"backbeat/test/harness"
)

// The defects of API §6 that can be seen from outside, by row, and what would find
// them again:
//
//	2–7     TestWalkingTheFeed, TestLatestTime
//	8       TestDefect8ReadsWriteNothing
//	9, 10   TestFollow
//	11–13   TestDefects11To13FlagsAndCountsBelongToTheirUsers
//	15      TestIdentityComesFromTheTokenAlone
//	16      TestBadTokens
//	17      TestParameters
//	18–23   TestComment, TestUncommentRace, TestLike
//	25      TestDefect25AnonymousLike
//	28, 29  TestLike, TestLikesInParallel, TestFollowsInParallel, TestRegisterRace
//	31–36   TestChat, TestChatRace, TestDefect35ShortTimes
//	37      TestFollow
//	38      TestStatementsPerRequest
//	40      TestLikeList
//	41, 44  TestBadTokens, TestBadIDs, TestBadActionTypes, TestPublishRefusals
//	43      TestOneTrace
//	45      TestRegister, TestPublish, TestCommentText
//	46      TestDefect46IDsAreUnique
//	47      TestPublish, TestMediaPaths
//	50      TestIdentityComesFromTheTokenAlone

// Defect 8: reading the feed left follows and likes behind.
func TestDefect8ReadsWriteNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		author, video := w.video(t)
		reader := w.Register(t)
		for range 3 {
			harness.OK(t, w.Get(t, "/douyin/feed/", "token", reader.Token))
			w.Profile(t, reader, author.ID)
			w.comments(t, reader, video.ID)
			w.works(t, reader, author.ID)
			w.chat(t, reader, author.ID, 0)
		}
		equal(t, "likes", len(w.likes(t, reader, reader.ID)), 0)
		equal(t, "follows", len(w.follows(t, reader, reader.ID)), 0)
		equal(t, "followers of the author", len(w.followers(t, reader, author.ID)), 0)
		equal(t, "the reader's counters", w.followCounts(t, reader, reader.ID), followCounts{})
		equal(t, "the likes' counters", w.likeCounts(t, author, video.ID, reader), likeCounts{})
	})
}

// Defects 11, 12 and 13: counters of one object were shown as another's, and flags
// were those of the page's owner.
func TestDefects11To13FlagsAndCountsBelongToTheirUsers(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		author, video := w.video(t)
		_, other := w.sharedVideo(t)
		fan, stranger := w.Register(t), w.Register(t)
		// Every number is one of a kind: a swap would show.
		harness.OK(t, w.follow(t, fan, author.ID, do))
		harness.OK(t, w.follow(t, stranger, author.ID, do))
		harness.OK(t, w.follow(t, stranger, author.ID, undo))
		harness.OK(t, w.follow(t, author, fan.ID, do))
		harness.OK(t, w.follow(t, author, stranger.ID, do))
		harness.OK(t, w.like(t, author, other.ID, do))
		for _, user := range []harness.Account{author, fan, stranger} {
			harness.OK(t, w.like(t, user, video.ID, do))
		}
		harness.OK(t, w.comment(t, author, video.ID, "自己的"))
		want := harness.User{
			ID: author.ID, Name: author.Name, FollowCount: 2, FollowerCount: 1, TotalFavorited: 3, WorkCount: 1, FavoriteCount: 2,
		}
		for _, row := range []struct {
			name   string
			viewer harness.Account
			follow bool
			liked  bool
		}{{"a follower", fan, true, true}, {"a stranger", stranger, false, true}, {"the author", author, false, true}, {"anonymous", harness.Account{}, false, false}} {
			t.Run(row.name, func(t *testing.T) {
				want.IsFollow = row.follow
				soon(t, "the author's card", func() error {
					video := w.works(t, row.viewer, author.ID)[0]
					cards := map[string]harness.User{
						"in the works":        video.Author,
						"at a comment":        w.comments(t, row.viewer, video.ID)[0].User,
						"in a follower list":  w.followers(t, row.viewer, fan.ID)[0],
						"in a follow list":    w.follows(t, row.viewer, fan.ID)[0],
						"in a favorite list":  w.likes(t, row.viewer, fan.ID)[0].Author,
						"in the author's own": w.likes(t, row.viewer, author.ID)[0].Author,
					}
					if row.viewer.Token != "" {
						cards["in a profile"] = w.Profile(t, row.viewer, author.ID)
					}
					for where, card := range cards {
						card.Avatar, card.BackgroundImage, card.Signature = "", "", ""
						if card != want {
							return fmt.Errorf("%s it is %+v, want %+v", where, card, want)
						}
					}
					if video.FavoriteCount != 3 || video.CommentCount != 1 || video.IsFavorite != row.liked {
						return fmt.Errorf("the video is %+v", video)
					}
					return nil
				})
			})
		}
	})
}

// Defect 25: one like without a good token killed the service behind the queue.
func TestDefect25AnonymousLike(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		_, video := w.sharedVideo(t)
		for _, token := range []string{"", "bad", "a.b.c"} {
			harness.Refused(t, w.like(t, harness.Account{Token: token}, video.ID, do))
		}
		user := w.Register(t)
		harness.OK(t, w.like(t, user, video.ID, do))
		soon(t, "a like behind them", func() error {
			if given := w.Profile(t, user, user.ID).FavoriteCount; given != 1 {
				return fmt.Errorf("it counts %d", given)
			}
			return nil
		})
	})
}

// Defect 35: a time of a few digits, or an empty list, crashed the handler.
func TestDefect35ShortTimes(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.Register(t), w.Register(t)
		for _, value := range []string{"1", "12", "999", "1e3", ".", "-", "+5"} {
			t.Run(value, func(t *testing.T) {
				harness.OK(t, w.Get(t, "/douyin/feed/", "latest_time", value))
				equal(t, "messages", len(w.chat(t, a, b.ID, value)), 0)
			})
		}
	})
}

// Defect 46: a fresh id generator for each request gave equal ids within a
// millisecond.
func TestDefect46IDsAreUnique(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		_, video := w.video(t)
		user := w.Register(t)
		const writers, count = 4, 10
		var group sync.WaitGroup
		ids := make(chan int64, writers*count)
		for range writers {
			group.Go(func() {
				for range count {
					answer, err := w.Try(http.MethodPost, "/douyin/comment/action/",
						harness.Query("token", user.Token, "video_id", video.ID, "action_type", do, "comment_text", "同时"))
					if err == nil && answer.Comment == nil {
						err = errors.New(answer.Raw)
					}
					if err != nil {
						t.Error(err)
						return
					}
					ids <- answer.Comment.ID
				}
			})
		}
		group.Wait()
		close(ids)
		seen := map[int64]bool{}
		for id := range ids {
			if seen[id] || id <= 0 || id > 1<<53 {
				t.Errorf("comment id %d is no id of its own", id)
			}
			seen[id] = true
		}
		equal(t, "comments listed", len(w.comments(t, user, video.ID)), len(seen))
	})
}
