package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"

	"backbeat/test/harness"
)

// likeCounts are the three counters a like moves.
type likeCounts struct{ video, received, given int64 }

func (w *world) likeCounts(t *testing.T, author harness.Account, video int64, user harness.Account) likeCounts {
	t.Helper()
	counts := likeCounts{video: -1}
	for _, v := range w.works(t, user, author.ID) {
		if v.ID == video {
			counts.video = v.FavoriteCount
		}
	}
	counts.received = w.Profile(t, user, author.ID).TotalFavorited
	counts.given = w.Profile(t, user, user.ID).FavoriteCount
	return counts
}

// 18, 20, 21, 22, D1: a like moves three counters by one, again by none, and
// taking it back undoes that.
func TestLike(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		author, video := w.video(t)
		user := w.Register(t)
		before := w.likeCounts(t, author, video.ID, user)
		equal(t, "counts before", before, likeCounts{})
		for _, row := range []struct {
			name   string
			action int
			msg    string
			want   likeCounts
			liked  bool
		}{
			{"22 unlike of nothing", undo, "取消点赞成功", likeCounts{}, false},
			{"20 like", do, "点赞成功", likeCounts{1, 1, 1}, true},
			{"21 like again", do, "重复点赞", likeCounts{1, 1, 1}, true},
			{"22 unlike", undo, "取消点赞成功", likeCounts{}, false},
			{"22 unlike again", undo, "取消点赞成功", likeCounts{}, false},
			{"20 like once more", do, "点赞成功", likeCounts{1, 1, 1}, true},
		} {
			t.Run(row.name, func(t *testing.T) {
				equal(t, "status_msg", harness.OK(t, w.like(t, user, video.ID, row.action)).StatusMsg, row.msg)
				// Flags and lists are right in the very next read, counters follow.
				listed := w.likes(t, user, user.ID)
				equal(t, "listed", len(listed) == 1 && listed[0].ID == video.ID && listed[0].IsFavorite, row.liked)
				equal(t, "is_favorite", w.works(t, user, author.ID)[0].IsFavorite, row.liked)
				soon(t, "counters", func() error {
					if got := w.likeCounts(t, author, video.ID, user); got != row.want {
						return fmt.Errorf("got %+v, want %+v", got, row.want)
					}
					return nil
				})
			})
		}
	})
}

// 18: the list is anybody's to read, latest like first, and its flags are the
// viewer's; defect 40: its videos are complete.
func TestLikeList(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		author := w.Register(t)
		clip := harness.Clip(t, harness.ClipOptions{Seconds: 1, Silent: true, Width: 64, Height: 64})
		var videos []harness.Video
		for _, title := range []string{"甲", "乙", "丙"} {
			videos = append(videos, w.PublishAndAwait(t, author, clip, title))
		}
		user, stranger := w.Register(t), w.Register(t)
		for _, i := range []int{1, 0, 2} {
			harness.OK(t, w.like(t, user, videos[i].ID, do))
		}
		harness.OK(t, w.like(t, stranger, videos[1].ID, do))
		harness.OK(t, w.follow(t, stranger, author.ID, do))
		for _, row := range []struct {
			name   string
			viewer harness.Account
			liked  []bool // in the list's order
			follow bool
		}{
			{"own", user, []bool{true, true, true}, false},
			{"another's", stranger, []bool{false, false, true}, true},
			{"anonymous", harness.Account{}, []bool{false, false, false}, false},
		} {
			t.Run(row.name, func(t *testing.T) {
				list := w.likes(t, row.viewer, user.ID)
				if got := titles(list); !slices.Equal(got, []string{"丙", "甲", "乙"}) {
					t.Fatalf("the list is %v", got)
				}
				checkVideos(t, list)
				for i, v := range list {
					equal(t, v.Title+" is_favorite", v.IsFavorite, row.liked[i])
					equal(t, v.Title+" is_follow", v.Author.IsFollow, row.follow)
					equal(t, v.Title+" author", v.Author.Name, author.Name)
				}
			})
		}
		equal(t, "the stranger's own likes", len(w.likes(t, stranger, stranger.ID)), 1)
		harness.OK(t, w.like(t, user, videos[1].ID, undo))
		harness.OK(t, w.like(t, user, videos[1].ID, do))
		if got := titles(w.likes(t, user, user.ID)); !slices.Equal(got, []string{"乙", "丙", "甲"}) {
			t.Errorf("after liking 乙 anew the list is %v", got)
		}
	})
}

// 52: liking what does not exist is refused and costs nobody behind it their like.
func TestLikeOfAMissingVideo(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		_, video := w.sharedVideo(t)
		user := w.Register(t)
		equal(t, "status_msg", harness.Refused(t, w.like(t, user, 424242, do)).StatusMsg, "视频不存在")
		harness.OK(t, w.like(t, user, video.ID, do))
		soon(t, "the like behind it", func() error {
			if given := w.Profile(t, user, user.ID).FavoriteCount; given != 1 {
				return fmt.Errorf("it counts %d", given)
			}
			return nil
		})
	})
}

// 53, defects 23 and 28: whatever many do at once, the count is that of the likers.
func TestLikesInParallel(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		author, video := w.video(t)
		users := make([]harness.Account, 8)
		for i := range users {
			users[i] = w.Register(t)
		}
		var group sync.WaitGroup
		failures := make(chan error, 100)
		for _, user := range users {
			for range 4 { // a double tap, doubled
				group.Go(func() {
					answer, err := w.Try(http.MethodPost, "/douyin/favorite/action/", harness.Query("token", user.Token, "video_id", video.ID, "action_type", do))
					if err == nil && answer.StatusCode != 0 {
						err = errors.New(answer.Raw)
					}
					if err != nil {
						failures <- err
					}
				})
			}
		}
		group.Wait()
		close(failures)
		for err := range failures {
			t.Error(err)
		}
		harness.OK(t, w.like(t, users[0], video.ID, undo))
		want := int64(len(users) - 1)
		soon(t, "exact counters", func() error {
			if got := w.likeCounts(t, author, video.ID, users[1]); got != (likeCounts{want, want, 1}) {
				return fmt.Errorf("got %+v, want %d likes", got, want)
			}
			return nil
		})
		equal(t, "likes of the one who took it back", len(w.likes(t, users[0], users[0].ID)), 0)
	})
}
