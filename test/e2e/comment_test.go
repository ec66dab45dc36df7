package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"backbeat/test/harness"
)

// commentCount is what the video's card says.
func (w *world) commentCount(t *testing.T, author harness.Account, video int64) int64 {
	t.Helper()
	for _, v := range w.works(t, harness.Account{}, author.ID) {
		if v.ID == video {
			return v.CommentCount
		}
	}
	t.Fatalf("video %d is not listed", video)
	return 0
}

func (w *world) awaitComments(t *testing.T, author harness.Account, video, want int64) {
	t.Helper()
	soon(t, "comment_count", func() error {
		if got := w.commentCount(t, author, video); got != want {
			return fmt.Errorf("it is %d, want %d", got, want)
		}
		return nil
	})
}

// 24, 26, 27, 45, 54, 56: the life of comments.
func TestComment(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		author, video := w.video(t)
		user, stranger := w.Register(t), w.Register(t)
		zone, err := time.LoadLocation("Asia/Shanghai")
		if err != nil {
			t.Fatal(err)
		}
		days := []string{time.Now().In(zone).Format("01-02")}
		first := harness.OK(t, w.comment(t, user, video.ID, "第一"))
		second := harness.OK(t, w.comment(t, stranger, video.ID, "第二"))
		days = append(days, time.Now().In(zone).Format("01-02")) // midnight may pass
		equal(t, "26 status_msg", first.StatusMsg, "评论成功")
		if c := first.Comment; c == nil || c.ID <= 0 || c.User.ID != user.ID || c.User.Name != user.Name || c.Content != "第一" || !slices.Contains(days, c.CreateDate) {
			t.Fatalf("26 the answer is %s, today is %v", first.Raw, days)
		}
		w.awaitComments(t, author, video.ID, 2)

		harness.OK(t, w.follow(t, stranger, user.ID, do))
		for _, row := range []struct {
			name    string
			viewer  harness.Account
			follows bool
		}{{"24 signed in", stranger, true}, {"45 anonymous", harness.Account{}, false}, {"24 the followed one", user, false}} {
			t.Run(row.name, func(t *testing.T) {
				list := w.comments(t, row.viewer, video.ID)
				if len(list) != 2 || list[0].ID != second.Comment.ID || list[1].ID != first.Comment.ID {
					t.Fatalf("not newest first: %+v", list)
				}
				equal(t, "create_date", list[1].CreateDate, first.Comment.CreateDate)
				equal(t, "is_follow of the commenter", list[1].User.IsFollow, row.follows)
			})
		}

		t.Run("54 of somebody else, defect 18", func(t *testing.T) {
			harness.Refused(t, w.uncomment(t, stranger, video.ID, first.Comment.ID))
			harness.Refused(t, w.uncomment(t, author, video.ID, first.Comment.ID)) // D9: not the video's author either
			equal(t, "comments", len(w.comments(t, user, video.ID)), 2)
		})
		t.Run("55 without comment_id, defect 19", func(t *testing.T) {
			for _, id := range [][]any{nil, {"comment_id", ""}, {"comment_id", 0}} {
				harness.Refused(t, w.Post(t, "/douyin/comment/action/", append([]any{"token", user.Token, "video_id", video.ID, "action_type", undo}, id...)...))
			}
			equal(t, "comments", len(w.comments(t, user, video.ID)), 2)
		})
		t.Run("of another video", func(t *testing.T) {
			_, other := w.sharedVideo(t)
			harness.Refused(t, w.uncomment(t, user, other.ID, first.Comment.ID))
			equal(t, "comments", len(w.comments(t, user, video.ID)), 2)
		})
		t.Run("27 own, defect 20", func(t *testing.T) {
			deleted := harness.OK(t, w.uncomment(t, user, video.ID, first.Comment.ID))
			equal(t, "status_msg", deleted.StatusMsg, "删除评论成功")
			if !strings.Contains(deleted.Raw, `"comment":null`) {
				t.Errorf("got %s", deleted.Raw)
			}
			if list := w.comments(t, user, video.ID); len(list) != 1 || list[0].ID != second.Comment.ID {
				t.Errorf("left are %+v", list)
			}
		})
		t.Run("56 again, defect 23", func(t *testing.T) {
			harness.Refused(t, w.uncomment(t, user, video.ID, first.Comment.ID))
			w.awaitComments(t, author, video.ID, 1)
		})
	})
}

func TestCommentText(t *testing.T) {
	eachAndNginx(t, func(t *testing.T, w *world) {
		author, video := w.video(t)
		user := w.Register(t)
		stored := int64(0)
		for _, row := range []struct {
			name, text string
			stored     bool
		}{
			{"one character", "好", true},
			{"emoji", "👨‍👩‍👧‍👦🎬 用户👍🏽", true},
			{"right to left", "مرحبا‏ שלום", true},
			{"four-byte characters, 1024 of them", strings.Repeat("𠮷", 1024), true},
			{"lines and spaces", " 两行\n文字\t", true},
			{"HTML", `<script>alert("1")</script>&amp;`, true},
			{"SQL", `'; DROP TABLE comments; --`, true},
			{"percent signs", "100%d %s %zz", true},
			{"a line end and a header", "a\r\nX-Injected: 1", true},
			{"1025 characters", strings.Repeat("字", 1025), false},
			{"nothing", "", false},
			{"spaces", " 　\t\n", false},
			{"invisible characters", "\u200b\u2060", false},
			{"a NUL", "a\x00b", false},
			{"invalid UTF-8", "a\xff\xfe", false},
		} {
			t.Run(row.name, func(t *testing.T) {
				answer := w.comment(t, user, video.ID, row.text)
				equal(t, "X-Injected", answer.Header.Get("X-Injected"), "")
				if !row.stored {
					if harness.Refused(t, answer); answer.Comment != nil {
						t.Errorf("a comment comes back: %s", answer.Raw)
					}
					return
				}
				stored++
				equal(t, "answered content", harness.OK(t, answer).Comment.Content, row.text)
				equal(t, "listed content", w.comments(t, user, video.ID)[0].Content, row.text)
			})
		}
		equal(t, "comments", int64(len(w.comments(t, user, video.ID))), stored)
		w.awaitComments(t, author, video.ID, stored)
	})
}

// 56 in a race: one of many deletes wins and counts once.
func TestUncommentRace(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		author, video := w.video(t)
		user := w.Register(t)
		kept := harness.OK(t, w.comment(t, user, video.ID, "留下")).Comment.ID
		doomed := harness.OK(t, w.comment(t, user, video.ID, "删除")).Comment.ID
		won := make(chan harness.Answer, 8)
		var group sync.WaitGroup
		for range cap(won) {
			group.Go(func() {
				answer, err := w.Try("POST", "/douyin/comment/action/",
					harness.Query("token", user.Token, "video_id", video.ID, "action_type", undo, "comment_id", doomed))
				if err != nil {
					t.Error(err)
				} else if answer.StatusCode == 0 {
					won <- answer
				}
			})
		}
		group.Wait()
		equal(t, "successful deletes", len(won), 1)
		if list := w.comments(t, user, video.ID); len(list) != 1 || list[0].ID != kept {
			t.Errorf("left are %+v", list)
		}
		w.awaitComments(t, author, video.ID, 1)
	})
}
