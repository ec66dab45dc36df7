package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"backbeat/test/harness"
)

// follower and followee counts, as a viewer sees them.
type followCounts struct{ follows, followers int64 }

func (w *world) followCounts(t *testing.T, viewer harness.Account, id int64) followCounts {
	t.Helper()
	user := w.Profile(t, viewer, id)
	return followCounts{user.FollowCount, user.FollowerCount}
}

func (w *world) awaitFollows(t *testing.T, viewer harness.Account, id int64, want followCounts) {
	t.Helper()
	soon(t, "follow counters", func() error {
		if got := w.followCounts(t, viewer, id); got != want {
			return fmt.Errorf("they are %+v, want %+v", got, want)
		}
		return nil
	})
}

// 29, 30, 32, D1: following is idempotent both ways. Defects 9, 10 and 37: the
// first follow counts, the right way round, and shows in the very next read.
func TestFollow(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.Register(t), w.Register(t)
		for _, row := range []struct {
			name    string
			action  int
			msg     string
			follows bool
		}{
			{"30 unfollow of nothing", undo, "取消关注成功", false},
			{"29 follow", do, "关注成功", true},
			{"32 follow again", do, "已经关注过该用户了", true},
			{"30 unfollow", undo, "取消关注成功", false},
			{"30 unfollow again", undo, "取消关注成功", false},
			{"29 follow once more", do, "关注成功", true},
		} {
			t.Run(row.name, func(t *testing.T) {
				answer := harness.OK(t, w.follow(t, a, b.ID, row.action))
				if !strings.HasPrefix(answer.StatusMsg, row.msg) {
					t.Errorf("status_msg is %q", answer.StatusMsg)
				}
				equal(t, "B in A's list", has(w.follows(t, a, a.ID), b.ID), row.follows)
				equal(t, "A among B's followers", has(w.followers(t, b, b.ID), a.ID), row.follows)
				equal(t, "58 A's view of B", w.Profile(t, a, b.ID).IsFollow, row.follows)
				equal(t, "58 B's view of A", w.Profile(t, b, a.ID).IsFollow, false)
				want := int64(0)
				if row.follows {
					want = 1
				}
				w.awaitFollows(t, b, a.ID, followCounts{want, 0})
				w.awaitFollows(t, a, b.ID, followCounts{0, want})
			})
		}
	})
}

func TestFollowRefusals(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.Register(t), w.Register(t)
		for _, row := range []struct {
			name   string
			user   int64
			action any
			msg    string
		}{
			{"31 oneself", a.ID, do, "不能对自己进行该操作"},
			{"31 unfollow oneself", a.ID, undo, "不能对自己进行该操作"},
			{"33 somebody who does not exist", 424242, do, "用户不存在"},
			{"another action", b.ID, 3, "检查参数信息"},
		} {
			t.Run(row.name, func(t *testing.T) {
				if answer := harness.Refused(t, w.follow(t, a, row.user, row.action)); !strings.HasPrefix(answer.StatusMsg, row.msg) {
					t.Errorf("status_msg is %q", answer.StatusMsg)
				}
			})
		}
		equal(t, "counters", w.followCounts(t, a, a.ID), followCounts{})
		equal(t, "the list", len(w.follows(t, a, a.ID)), 0)
	})
}

// 34, 36, 46, 58: three lists that agree, and flags that are the viewer's.
func TestFollowLists(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b, c, d := w.Register(t), w.Register(t), w.Register(t), w.Register(t)
		for _, pair := range [][2]harness.Account{{a, b}, {a, c}, {b, a}, {d, a}, {d, c}} {
			harness.OK(t, w.follow(t, pair[0], pair[1].ID, do))
		}
		nobody := harness.Account{}
		type row struct {
			name    string
			list    []harness.User
			want    []harness.Account
			follows []bool
		}
		for _, row := range []row{
			{"34 own follows", w.follows(t, a, a.ID), []harness.Account{c, b}, []bool{true, true}},
			{"36 own followers", w.followers(t, a, a.ID), []harness.Account{d, b}, []bool{false, true}},
			{"34 another's follows", w.follows(t, d, a.ID), []harness.Account{c, b}, []bool{true, false}},
			{"36 another's followers", w.followers(t, b, a.ID), []harness.Account{d, b}, []bool{false, false}},
			{"34 anonymously", w.follows(t, nobody, a.ID), []harness.Account{c, b}, []bool{false, false}},
			{"36 anonymously", w.followers(t, nobody, c.ID), []harness.Account{d, a}, []bool{false, false}},
			{"36 friends are mutual", w.friends(t, a), []harness.Account{b}, []bool{true}},
			{"36 the friend's friend", w.friends(t, b), []harness.Account{a}, []bool{true}},
			{"58 no friends of one who is followed only", w.friends(t, c), nil, nil},
			{"58 no friends of one who follows only", w.friends(t, d), nil, nil},
		} {
			t.Run(row.name, func(t *testing.T) {
				var want []string
				for _, u := range row.want {
					want = append(want, u.Name)
				}
				if got := names(row.list); !slices.Equal(got, want) {
					t.Fatalf("got %v, want %v", got, want)
				}
				for i, u := range row.list {
					equal(t, fmt.Sprintf("is_follow of row %d", i), u.IsFollow, row.follows[i])
				}
			})
		}
		harness.OK(t, w.follow(t, b, a.ID, undo))
		equal(t, "friends after one unfollows", len(w.friends(t, a))+len(w.friends(t, b)), 0)
	})
}

// 66, D6, D10: what is empty is a list, and who is unknown is refused.
func TestEmptyLists(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		user := w.Register(t)
		for _, list := range []struct {
			path, key string
			anonymous bool
		}{
			{"/douyin/publish/list/", "video_list", true},
			{"/douyin/favorite/list/", "video_list", true},
			{"/douyin/relation/follow/list/", "user_list", true},
			{"/douyin/relation/follower/list/", "user_list", true},
			{"/douyin/relation/friend/list/", "user_list", false},
		} {
			empty := fmt.Sprintf("%q:[]", list.key)
			t.Run(list.path, func(t *testing.T) {
				for _, row := range []struct {
					name  string
					pairs []any
					ok    bool
				}{
					{"66 own", []any{"token", user.Token, "user_id", user.ID}, true},
					{"own by the token alone", []any{"token", user.Token}, true},
					{"own by user_id 0", []any{"token", user.Token, "user_id", 0}, true},
					{"D10 neither token nor user_id", nil, list.anonymous},
					{"D10 user_id 0 without token", []any{"user_id", 0}, list.anonymous},
					{"anonymous", []any{"user_id", user.ID}, list.anonymous},
					{"D5 a bad token", []any{"token", "bad", "user_id", user.ID}, false},
					{"D6 unknown user", []any{"token", user.Token, "user_id", 424242}, !list.anonymous}, // friends are one's own
				} {
					t.Run(row.name, func(t *testing.T) {
						answer := w.Get(t, list.path, row.pairs...)
						if row.ok {
							harness.OK(t, answer)
						} else {
							harness.Refused(t, answer)
						}
						if !strings.Contains(answer.Raw, empty) {
							t.Errorf("no %s in %s", empty, answer.Raw)
						}
					})
				}
			})
		}
	})
}

// 59: a friend's row tells the last message and who sent it.
func TestFriendRows(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.Register(t), w.Register(t)
		harness.OK(t, w.follow(t, a, b.ID, do))
		harness.OK(t, w.follow(t, b, a.ID, do))
		row := func(viewer harness.Account) harness.User {
			list := w.friends(t, viewer)
			if len(list) != 1 {
				t.Fatalf("%d friends", len(list))
			}
			return list[0]
		}
		equal(t, "the message without history", row(a).Message, "")
		for _, step := range []struct {
			name     string
			from, to harness.Account
			content  string
		}{{"A writes", a, b, "第一条"}, {"A writes again", a, b, "第二条 🎬"}, {"B answers", b, a, "回复"}} {
			t.Run(step.name, func(t *testing.T) {
				harness.OK(t, w.send(t, step.from, step.to.ID, step.content))
				for _, side := range []struct {
					viewer harness.Account
					kind   int
				}{{step.from, 1}, {step.to, 0}} {
					got := row(side.viewer)
					equal(t, "message", got.Message, step.content)
					equal(t, "msgType", got.MsgType, side.kind)
				}
			})
		}
	})
}

// Defect 28: parallel follows are one.
func TestFollowsInParallel(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		star := w.Register(t)
		fans := make([]harness.Account, 6)
		for i := range fans {
			fans[i] = w.Register(t)
		}
		var group sync.WaitGroup
		for _, fan := range fans {
			for range 4 {
				group.Go(func() {
					answer, err := w.Try(http.MethodPost, "/douyin/relation/action/", harness.Query("token", fan.Token, "to_user_id", star.ID, "action_type", do))
					if err != nil || answer.StatusCode != 0 {
						t.Errorf("%v %s", err, answer.Raw)
					}
				})
			}
		}
		group.Wait()
		equal(t, "followers listed", len(w.followers(t, star, star.ID)), len(fans))
		w.awaitFollows(t, star, star.ID, followCounts{0, int64(len(fans))})
		w.awaitFollows(t, star, fans[0].ID, followCounts{1, 0})
	})
}
