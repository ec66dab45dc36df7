package main

import (
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"slices"

	"backbeat/test/harness"
)

// The mixes that loads draw from: a request that is listed twice is drawn twice
// as often.
var (
	likes  = []request{{"like", like}}
	writes = []request{{"like", like}, {"like", like}, {"comment", comment}, {"follow", follow}, {"message", message}}
	reads  = []request{{"feed", feed}, {"profile", profile}, {"follows", follows}, {"comments", comments}, {"chat", chat}, {"liked", liked}}
	mixed  = slices.Concat(writes, reads)
	pages  = []request{{"feed", feed}}
)

func (w *world) anyone() harness.Account { return w.users[mathrand.N(len(w.users))] }
func (w *world) anyVideo() int64         { return w.videos[mathrand.N(len(w.videos))] }

// act writes the fact and notes the answer.
func (w *world) act(f fact, want bool, path string, pairs ...any) (harness.Answer, error) {
	answer, err := w.app.Try(http.MethodPost, path, harness.Query(pairs...))
	w.book.end(f, want, err == nil && answer.HTTP == http.StatusOK && answer.StatusCode == 0)
	return answer, err
}

// turn picks a fact that nobody writes just now, and the state to turn it to.
func (w *world) turn(pick func() fact) (f fact, want bool) {
	for {
		f = pick()
		if want, free := w.book.begin(f); free {
			return f, want
		}
	}
}

// action is 1 to make it so and 2 to take it back.
func action(want bool) int {
	if want {
		return 1
	}
	return 2
}

func like(w *world) (harness.Answer, error) {
	var by harness.Account
	f, want := w.turn(func() fact {
		by = w.anyone()
		return fact{kind: "like", user: by.ID, target: w.anyVideo()}
	})
	return w.act(f, want, "/douyin/favorite/action/", "token", by.Token, "video_id", f.target, "action_type", action(want))
}

func follow(w *world) (harness.Answer, error) {
	var by harness.Account
	f, want := w.turn(func() fact {
		i := mathrand.N(len(w.users))
		by = w.users[i]
		other := w.users[(i+1+mathrand.N(len(w.users)-1))%len(w.users)]
		return fact{kind: "follow", user: by.ID, target: other.ID}
	})
	return w.act(f, want, "/douyin/relation/action/", "token", by.Token, "to_user_id", f.target, "action_type", action(want))
}

func comment(w *world) (harness.Answer, error) {
	by := w.anyone()
	f, want := w.turn(func() fact { return fact{kind: "comment", user: by.ID, target: w.anyVideo(), text: rand.Text()} })
	return w.act(f, want, "/douyin/comment/action/", "token", by.Token, "video_id", f.target, "action_type", 1, "comment_text", f.text)
}

func message(w *world) (harness.Answer, error) {
	i := mathrand.N(len(w.users))
	by, to := w.users[i], w.users[(i+1)%len(w.users)]
	f, want := w.turn(func() fact { return fact{kind: "message", user: by.ID, target: to.ID, text: rand.Text()} })
	return w.act(f, want, "/douyin/message/action/", "token", by.Token, "to_user_id", to.ID, "action_type", 1, "content", f.text)
}

func upload(w *world) (harness.Answer, error) { return w.upload(fmt.Sprint("during ", rand.Text())) }

func feed(w *world) (harness.Answer, error) {
	return w.app.Try(http.MethodGet, "/douyin/feed/", harness.Query("token", w.anyone().Token))
}

func profile(w *world) (harness.Answer, error) {
	return w.app.Try(http.MethodGet, "/douyin/user/", harness.Query("token", w.anyone().Token, "user_id", w.author.ID))
}

func follows(w *world) (harness.Answer, error) {
	by := w.anyone()
	return w.app.Try(http.MethodGet, "/douyin/relation/follow/list/", harness.Query("token", by.Token, "user_id", by.ID))
}

func comments(w *world) (harness.Answer, error) {
	return w.app.Try(http.MethodGet, "/douyin/comment/list/", harness.Query("token", w.anyone().Token, "video_id", w.anyVideo()))
}

func chat(w *world) (harness.Answer, error) {
	i := mathrand.N(len(w.users))
	by, to := w.users[i], w.users[(i+1)%len(w.users)]
	return w.app.Try(http.MethodGet, "/douyin/message/chat/", harness.Query("token", by.Token, "to_user_id", to.ID))
}

func liked(w *world) (harness.Answer, error) {
	by := w.anyone()
	return w.app.Try(http.MethodGet, "/douyin/favorite/list/", harness.Query("token", by.Token, "user_id", by.ID))
}
