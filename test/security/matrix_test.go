package security

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"backbeat/app/gateway"
	"backbeat/test/harness"
)

// scene is what attacks aim at: an owner with a like, a comment, a friend and a
// chat, and another user with nothing, who wants them.
type scene struct {
	owner, other, friend harness.Account
	video                harness.Video
	// comment is the owner's.
	comment int64
}

// words are what only the owner and the friend may read.
const words = "只有我们知道"

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{owner: shared.Register(t), other: shared.Register(t)}
	s.friend, s.video = published(t)
	harness.OK(t, shared.Post(t, "/douyin/favorite/action/", "token", s.owner.Token, "video_id", s.video.ID, "action_type", 1))
	s.comment = harness.OK(t, shared.Post(t, "/douyin/comment/action/", "token", s.owner.Token, "video_id", s.video.ID, "action_type", 1, "comment_text", "我的")).Comment.ID
	harness.OK(t, shared.Post(t, "/douyin/comment/action/", "token", s.friend.Token, "video_id", s.video.ID, "action_type", 1, "comment_text", "作者的"))
	harness.OK(t, shared.Post(t, "/douyin/relation/action/", "token", s.owner.Token, "to_user_id", s.friend.ID, "action_type", 1))
	harness.OK(t, shared.Post(t, "/douyin/relation/action/", "token", s.friend.Token, "to_user_id", s.owner.ID, "action_type", 1))
	harness.OK(t, shared.Post(t, "/douyin/message/action/", "token", s.owner.Token, "to_user_id", s.friend.ID, "action_type", 1, "content", words))
	return s
}

// state is what the owner has, as the owner sees it.
func (s *scene) state(t *testing.T) string {
	t.Helper()
	me := s.owner.Token
	profile := shared.Get(t, "/douyin/user/", "token", me, "user_id", s.owner.ID)
	var mine int
	for _, c := range harness.OK(t, shared.Get(t, "/douyin/comment/list/", "token", me, "video_id", s.video.ID)).CommentList {
		if c.User.ID == s.owner.ID {
			mine++
		}
	}
	return fmt.Sprintf("%s: %d likes, %d works, %d comments, %d follows, %d followers, %d messages", profile.User.Name,
		len(harness.OK(t, shared.Get(t, "/douyin/favorite/list/", "token", me)).VideoList),
		len(harness.OK(t, shared.Get(t, "/douyin/publish/list/", "token", me)).VideoList), mine,
		len(harness.OK(t, shared.Get(t, "/douyin/relation/follow/list/", "token", me)).UserList),
		len(harness.OK(t, shared.Get(t, "/douyin/relation/follower/list/", "token", me)).UserList),
		len(harness.OK(t, shared.Get(t, "/douyin/message/chat/", "token", me, "to_user_id", s.friend.ID)).MessageList))
}

// outcome is what one who asks gets.
type outcome int

const (
	// done is a success of a write.
	done outcome = iota
	// shown is a page with what only the owner sees on it.
	shown
	// plain is the page without that.
	plain
	// denied is a refusal of the token.
	denied
	// refused for another reason.
	forbidden
)

// row is what one endpoint gives to each who asks.
type row struct {
	// token is the policy of the route (API §1.7).
	token string
	// params are those of a request about the owner, without the token.
	params func(s *scene) []any
	// mark is what only the owner sees on the page; empty for a write.
	mark                             string
	owner, other, anonymous, expired outcome
}

const (
	liked    = `"is_favorite":true`
	followed = `"is_follow":true`
)

// matrix has a row for each route. Writes repeat what is so already, or undo what
// is not, except the deletion of the owner's comment.
var matrix = map[string]row{
	"GET /douyin/feed/":                   {"lenient", nothing, liked, shown, plain, plain, plain},
	"POST /douyin/user/register/":         {"open", newcomer, "", done, done, done, done},
	"POST /douyin/user/login/":            {"open", credentials, "", done, done, done, done},
	"GET /douyin/user/":                   {"required", ofFriend, followed, shown, plain, denied, denied},
	"POST /douyin/publish/action/":        {"required", titled, "", done, done, denied, denied},
	"GET /douyin/publish/list/":           {"optional", ofFriend, liked, shown, plain, plain, denied},
	"POST /douyin/favorite/action/":       {"required", undoing, "", done, done, denied, denied},
	"GET /douyin/favorite/list/":          {"optional", ofOwner, liked, shown, plain, plain, denied},
	"POST /douyin/comment/action/":        {"required", deletion, "", done, forbidden, denied, denied},
	"GET /douyin/comment/list/":           {"optional", ofVideo, followed, shown, plain, plain, denied},
	"POST /douyin/relation/action/":       {"required", unfollowing, "", done, done, denied, denied},
	"GET /douyin/relation/follow/list/":   {"optional", ofOwner, followed, shown, plain, plain, denied},
	"GET /douyin/relation/follower/list/": {"optional", ofOwner, followed, shown, plain, plain, denied},
	"GET /douyin/relation/friend/list/":   {"required", ofOwner, words, shown, plain, denied, denied},
	"GET /douyin/message/chat/":           {"required", withFriend, words, shown, plain, denied, denied},
	"POST /douyin/message/action/":        {"required", saying, "", done, done, denied, denied},
}

func nothing(*scene) []any    { return nil }
func newcomer(s *scene) []any { return []any{"username", "n" + unique(), "password", "pass1234"} }
func credentials(s *scene) []any {
	return []any{"username", s.owner.Name, "password", s.owner.Password}
}
func ofOwner(s *scene) []any     { return []any{"user_id", s.owner.ID} }
func ofFriend(s *scene) []any    { return []any{"user_id", s.friend.ID} }
func ofVideo(s *scene) []any     { return []any{"video_id", s.video.ID} }
func withFriend(s *scene) []any  { return []any{"to_user_id", s.friend.ID} }
func titled(*scene) []any        { return []any{"title", "矩阵"} }
func undoing(s *scene) []any     { return []any{"video_id", s.video.ID, "action_type", 2} }
func unfollowing(s *scene) []any { return []any{"to_user_id", s.friend.ID, "action_type", 2} }
func deletion(s *scene) []any {
	return []any{"video_id", s.video.ID, "action_type", 2, "comment_id", s.comment}
}
func saying(s *scene) []any {
	return []any{"to_user_id", s.friend.ID, "action_type", 1, "content", "你好"}
}

// ask sends the row's request with a token, or without one that is empty.
func (r row) ask(t *testing.T, s *scene, route gateway.Route, token string) harness.Answer {
	t.Helper()
	pairs := r.params(s)
	if route.Path == "/douyin/publish/action/" {
		return publish(t, shared.App, token, fmt.Sprint(pairs[1]))
	}
	if token != "" {
		pairs = append(pairs, "token", token)
	}
	answer, err := shared.Try(route.Method, route.Path, harness.Query(pairs...))
	check(t, err)
	return answer
}

// Every route × owner, other, anonymous and expired. A route without a row fails,
// and so does a row without a route.
func TestAuthorizationMatrix(t *testing.T) {
	t.Parallel()
	routes := gateway.Routes()
	for name := range matrix {
		if !slices.ContainsFunc(routes, func(r gateway.Route) bool { return r.Method+" "+r.Path == name }) {
			t.Errorf("%s is in the matrix but no route", name)
		}
	}
	for _, route := range routes {
		name := route.Method + " " + route.Path
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, found := matrix[name]
			if !found {
				t.Fatal("the matrix has no row for this route: say who may use it")
			}
			equal(t, "the route's policy", route.Token, r.token)
			s := newScene(t)
			before := s.state(t)
			for _, who := range []struct {
				name, token string
				want        outcome
			}{
				{"expired", sign(t, keys, s.owner.ID, -time.Minute), r.expired},
				{"anonymous", "", r.anonymous},
				{"other", s.other.Token, r.other},
				{"owner", s.owner.Token, r.owner},
			} {
				if who.name == "owner" {
					equal(t, "what the owner has after the others' tries", s.state(t), before)
				}
				answer := r.ask(t, s, route, who.token)
				equal(t, who.name+": HTTP", answer.HTTP, http.StatusOK)
				if got := r.outcome(answer); got != who.want {
					t.Errorf("%s got %d, want %d: %.300s", who.name, got, who.want, answer.Raw)
				}
			}
		})
	}
}

// outcome tells what an answer of the row's route is.
func (r row) outcome(answer harness.Answer) outcome {
	switch {
	case answer.StatusCode == unauthenticated:
		return denied
	case answer.StatusCode != 0:
		return forbidden
	case r.mark == "":
		return done
	case strings.Contains(answer.Raw, r.mark):
		return shown
	default:
		return plain
	}
}
