package e2e

import (
	"sync"
	"testing"

	"backbeat/test/harness"
)

// The actions' values of action_type.
const (
	do   = 1 // like, follow, comment, send
	undo = 2
)

func (w *world) like(t *testing.T, as harness.Account, video int64, action any) harness.Answer {
	t.Helper()
	return w.Post(t, "/douyin/favorite/action/", "token", as.Token, "video_id", video, "action_type", action)
}

func (w *world) follow(t *testing.T, as harness.Account, user int64, action any) harness.Answer {
	t.Helper()
	return w.Post(t, "/douyin/relation/action/", "token", as.Token, "to_user_id", user, "action_type", action)
}

func (w *world) comment(t *testing.T, as harness.Account, video int64, text string) harness.Answer {
	t.Helper()
	return w.Post(t, "/douyin/comment/action/", "token", as.Token, "video_id", video, "action_type", do, "comment_text", text)
}

func (w *world) uncomment(t *testing.T, as harness.Account, video, comment int64) harness.Answer {
	t.Helper()
	return w.Post(t, "/douyin/comment/action/", "token", as.Token, "video_id", video, "action_type", undo, "comment_id", comment)
}

func (w *world) send(t *testing.T, from harness.Account, to int64, content string) harness.Answer {
	t.Helper()
	return w.Post(t, "/douyin/message/action/", "token", from.Token, "to_user_id", to, "action_type", do, "content", content)
}

// chat returns what the viewer sees of a conversation, all of it or what the peer
// wrote after a time.
func (w *world) chat(t *testing.T, as harness.Account, peer int64, after any) []harness.Message {
	t.Helper()
	return harness.OK(t, w.Get(t, "/douyin/message/chat/", "token", as.Token, "to_user_id", peer, "pre_msg_time", after)).MessageList
}

// works, likes, comments, follows, followers and friends are lists as the viewer
// sees them; the zero Account is anonymous.

func (w *world) works(t *testing.T, viewer harness.Account, author int64) []harness.Video {
	t.Helper()
	return harness.OK(t, w.Get(t, "/douyin/publish/list/", "token", viewer.Token, "user_id", author)).VideoList
}

func (w *world) likes(t *testing.T, viewer harness.Account, user int64) []harness.Video {
	t.Helper()
	return harness.OK(t, w.Get(t, "/douyin/favorite/list/", "token", viewer.Token, "user_id", user)).VideoList
}

func (w *world) comments(t *testing.T, viewer harness.Account, video int64) []harness.Comment {
	t.Helper()
	return harness.OK(t, w.Get(t, "/douyin/comment/list/", "token", viewer.Token, "video_id", video)).CommentList
}

func (w *world) follows(t *testing.T, viewer harness.Account, user int64) []harness.User {
	t.Helper()
	return harness.OK(t, w.Get(t, "/douyin/relation/follow/list/", "token", viewer.Token, "user_id", user)).UserList
}

func (w *world) followers(t *testing.T, viewer harness.Account, user int64) []harness.User {
	t.Helper()
	return harness.OK(t, w.Get(t, "/douyin/relation/follower/list/", "token", viewer.Token, "user_id", user)).UserList
}

func (w *world) friends(t *testing.T, viewer harness.Account) []harness.User {
	t.Helper()
	return harness.OK(t, w.Get(t, "/douyin/relation/friend/list/", "token", viewer.Token, "user_id", viewer.ID)).UserList
}

// sharedVideos holds a video per world, since publishing one costs a second.
var sharedVideos sync.Map // *world → *sharedVideo

type sharedVideo struct {
	once   sync.Once
	author harness.Account
	video  harness.Video
}

// sharedVideo returns a published video for tests that don't mind what others do
// to it and to its author.
func (w *world) sharedVideo(t *testing.T) (harness.Account, harness.Video) {
	t.Helper()
	held, _ := sharedVideos.LoadOrStore(w, &sharedVideo{})
	shared := held.(*sharedVideo)
	shared.once.Do(func() { shared.author, shared.video = w.video(t) })
	if shared.video.ID == 0 {
		t.Fatal("there is no shared video")
	}
	return shared.author, shared.video
}

// titles are the titles of videos in their order.
func titles(videos []harness.Video) []string {
	var all []string
	for _, v := range videos {
		all = append(all, v.Title)
	}
	return all
}

// names are the names of users in their order.
func names(users []harness.User) []string {
	var all []string
	for _, u := range users {
		all = append(all, u.Name)
	}
	return all
}
