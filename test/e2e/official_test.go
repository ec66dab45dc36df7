package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"backbeat/test/harness"
)

// sendTwice puts every parameter of a POST into the query and into the form, as
// the camp's own suite does (API §1.2).
func sendTwice(t *testing.T, w *world, path string, pairs ...any) harness.Answer {
	t.Helper()
	query := harness.Query(pairs...)
	request, err := http.NewRequest(http.MethodPost, w.Base+path+"?"+query.Encode(), strings.NewReader(query.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := w.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// loggedIn registers or logs in, reading the token of a failed registration as
// the suite does: the key must be there.
func loggedIn(t *testing.T, w *world, name string) harness.Account {
	t.Helper()
	answer := sendTwice(t, w, "/douyin/user/register/", "username", name, "password", name)
	if !strings.Contains(answer.Raw, `"token":`) {
		t.Fatalf("no token key: %s", answer.Raw)
	}
	if answer.Token == "" {
		answer = harness.OK(t, sendTwice(t, w, "/douyin/user/login/", "username", name, "password", name))
	}
	if answer.Token == "" || answer.UserID <= 0 {
		t.Fatalf("not logged in: %s", answer.Raw)
	}
	return harness.Account{ID: answer.UserID, Name: name, Token: answer.Token}
}

func checkVideos(t *testing.T, videos []harness.Video) {
	t.Helper()
	for _, v := range videos {
		if v.ID <= 0 || v.Author.ID <= 0 || v.PlayURL == "" || v.CoverURL == "" {
			t.Errorf("incomplete video %+v", v)
		}
	}
}

// asFloat is how the suite sends an id again: decoded to float64 and printed.
func asFloat(id int64) string { return fmt.Sprint(float64(id)) }

// TestOfficialSuite is the seven flows of the camp's suite (API §4.1), twice over,
// since it must pass on a used database.
func TestOfficialSuite(t *testing.T) {
	eachAndNginx(t, func(t *testing.T, w *world) {
		userA, userB := "douyinTestUserA"+w.mode, "douyinTestUserB"+w.mode
		for _, round := range []string{"first run", "second run"} {
			t.Run(round, func(t *testing.T) {
				t.Run("publish", func(t *testing.T) {
					a := loggedIn(t, w, userA)
					w.Publish(t, a, harness.Clip(t, harness.ClipOptions{}), "Bear")
					list := harness.OK(t, w.Get(t, "/douyin/publish/list/", "user_id", a.ID, "token", a.Token))
					if len(list.VideoList) == 0 {
						t.Fatal("the upload is not listed at once")
					}
					checkVideos(t, list.VideoList)
				})
				t.Run("feed", func(t *testing.T) {
					soon(t, "a video in the feed", func() error {
						feed := harness.OK(t, w.Get(t, "/douyin/feed/"))
						checkVideos(t, feed.VideoList)
						if len(feed.VideoList) == 0 {
							return fmt.Errorf("it is empty")
						}
						return nil
					})
				})
				t.Run("user", func(t *testing.T) {
					made := w.Register(t)
					login := harness.OK(t, sendTwice(t, w, "/douyin/user/login/", "username", made.Name, "password", made.Password))
					equal(t, "user_id", login.UserID, made.ID)
					user := harness.OK(t, w.Get(t, "/douyin/user/", "token", login.Token)).User
					if user == nil || user.ID != made.ID || user.Name != made.Name {
						t.Errorf("got %+v", user)
					}
				})
				t.Run("favorite", func(t *testing.T) {
					a := loggedIn(t, w, userA)
					first := harness.OK(t, w.Get(t, "/douyin/feed/")).VideoList[0].ID
					harness.OK(t, sendTwice(t, w, "/douyin/favorite/action/", "token", a.Token, "video_id", asFloat(first), "action_type", 1))
					list := harness.OK(t, w.Get(t, "/douyin/favorite/list/", "token", a.Token, "user_id", a.ID))
					checkVideos(t, list.VideoList)
					if len(list.VideoList) == 0 {
						t.Error("the like is not listed")
					}
				})
				t.Run("comment", func(t *testing.T) {
					a := loggedIn(t, w, userA)
					first := harness.OK(t, w.Get(t, "/douyin/feed/")).VideoList[0].ID
					added := harness.OK(t, sendTwice(t, w, "/douyin/comment/action/", "token", a.Token, "video_id", asFloat(first), "action_type", 1, "comment_text", "测试评论"))
					if added.Comment == nil || added.Comment.ID <= 0 {
						t.Fatalf("no comment: %s", added.Raw)
					}
					found := false
					for _, c := range harness.OK(t, w.Get(t, "/douyin/comment/list/", "token", a.Token, "video_id", asFloat(first))).CommentList {
						if c.ID <= 0 || c.User.ID <= 0 || c.Content == "" || c.CreateDate == "" {
							t.Errorf("incomplete comment %+v", c)
						}
						found = found || c.ID == added.Comment.ID
					}
					if !found {
						t.Error("the comment is not listed")
					}
					harness.OK(t, sendTwice(t, w, "/douyin/comment/action/", "token", a.Token, "video_id", asFloat(first), "action_type", 2, "comment_id", asFloat(added.Comment.ID)))
				})
				t.Run("relation", func(t *testing.T) {
					a, b := loggedIn(t, w, userA), loggedIn(t, w, userB)
					harness.OK(t, sendTwice(t, w, "/douyin/relation/action/", "token", a.Token, "to_user_id", asFloat(b.ID), "action_type", 1))
					follows := harness.OK(t, w.Get(t, "/douyin/relation/follow/list/", "token", a.Token, "user_id", asFloat(a.ID)))
					followers := harness.OK(t, w.Get(t, "/douyin/relation/follower/list/", "token", b.Token, "user_id", asFloat(b.ID)))
					if !has(follows.UserList, b.ID) || !has(followers.UserList, a.ID) {
						t.Errorf("follows %s\nfollowers %s", follows.Raw, followers.Raw)
					}
				})
				t.Run("chat", func(t *testing.T) {
					a, b := loggedIn(t, w, userA), loggedIn(t, w, userB)
					harness.OK(t, w.Post(t, "/douyin/message/action/", "token", a.Token, "to_user_id", asFloat(b.ID), "action_type", 1, "content", "Send to UserB", "content", "Send to UserB"))
					for _, side := range [][2]harness.Account{{a, b}, {b, a}} {
						chat := harness.OK(t, w.Get(t, "/douyin/message/chat/", "token", side[0].Token, "to_user_id", asFloat(side[1].ID)))
						if len(chat.MessageList) == 0 {
							t.Errorf("%s sees nothing", side[0].Name)
						}
					}
				})
			})
		}
	})
}

func has(users []harness.User, id int64) bool {
	for _, u := range users {
		if u.ID == id {
			return true
		}
	}
	return false
}

// TestEveryFieldIsThere holds each object to API §1.6, key by key.
func TestEveryFieldIsThere(t *testing.T) {
	eachAndNginx(t, func(t *testing.T, w *world) {
		author, video := w.video(t)
		viewer := w.Register(t)
		harness.OK(t, w.Post(t, "/douyin/comment/action/", "token", viewer.Token, "video_id", video.ID, "action_type", 1, "comment_text", "你好"))
		harness.OK(t, w.Post(t, "/douyin/message/action/", "token", viewer.Token, "to_user_id", author.ID, "action_type", 1, "content", "在吗"))
		for _, pair := range [][2]harness.Account{{viewer, author}, {author, viewer}} {
			harness.OK(t, w.Post(t, "/douyin/relation/action/", "token", pair[0].Token, "to_user_id", pair[1].ID, "action_type", 1))
		}
		user := []string{"id", "name", "follow_count", "follower_count", "is_follow", "avatar", "background_image", "signature", "total_favorited", "work_count", "favorite_count"}
		for _, row := range []struct {
			name, path string
			pairs      []any
			list       string // "" for an object
			keys       []string
		}{
			{"user", "/douyin/user/", []any{"token", viewer.Token, "user_id", author.ID}, "user", user},
			{"video", "/douyin/publish/list/", []any{"token", viewer.Token, "user_id", author.ID}, "video_list",
				[]string{"id", "author", "play_url", "cover_url", "favorite_count", "comment_count", "is_favorite", "title"}},
			{"comment", "/douyin/comment/list/", []any{"video_id", video.ID}, "comment_list", []string{"id", "user", "content", "create_date"}},
			{"message", "/douyin/message/chat/", []any{"token", viewer.Token, "to_user_id", author.ID}, "message_list",
				[]string{"id", "to_user_id", "from_user_id", "content", "create_time"}},
			{"friend", "/douyin/relation/friend/list/", []any{"token", viewer.Token, "user_id", viewer.ID}, "user_list", append(user, "message", "msgType")},
		} {
			t.Run(row.name, func(t *testing.T) {
				answer := harness.OK(t, w.Get(t, row.path, row.pairs...))
				var all map[string]any
				if err := json.Unmarshal([]byte(answer.Raw), &all); err != nil {
					t.Fatal(err)
				}
				object, is := all[row.list].(map[string]any)
				if list, isList := all[row.list].([]any); isList && len(list) > 0 {
					object, is = list[0].(map[string]any)
				}
				if !is {
					t.Fatalf("no %s in %s", row.list, answer.Raw)
				}
				for _, key := range row.keys {
					if value, there := object[key]; !there || value == nil {
						t.Errorf("%s is %v in %v", key, value, object)
					}
				}
				if len(object) != len(row.keys) {
					t.Errorf("keys beyond the contract: %v", object)
				}
			})
		}
	})
}
