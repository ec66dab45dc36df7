package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"mime/multipart"
	"net/http"
	"net/url"
	"sync/atomic"

	"backbeat/app/seed"
)

// row is one kind of request, or a mix.
type row struct {
	name string
	// goal is its CPU in ms, on a machine where the rpc floor costs goalFloor; 0 is
	// none.
	goal float64
	// most bounds how many are sent in a load; 0 is as many as the time allows.
	most int
	// grows tells that it reads or writes what there is more of with more data.
	grows bool
	// requests encodes as many as are sent in turn.
	requests func(w *world) (source, error)
}

// goalFloor is the rpc floor, in ms, of the machine that the goals were set on.
const goalFloor = 0.21

// rows is the table of the bench.
func rows() []row {
	return []row{
		{name: "feed, anonymous", goal: 0.04, requests: pool(1, anonymousFeed), grows: true},
		{name: "feed, signed in", goal: 0.28, requests: pool(poolSize, feed), grows: true},
		{name: "user info", goal: 0.16, requests: pool(poolSize, userInfo), grows: true},
		{name: "follower list (20)", goal: 0.18, requests: pool(poolSize, followers), grows: true},
		{name: "comment list (100)", goal: 0.28, requests: pool(poolSize, comments), grows: true},
		{name: "comment publish", goal: 0.30, requests: pool(poolSize, comment), grows: true},
		{name: "like", goal: 0.28, most: mostLikes, requests: likes, grows: true},
		{name: "chat poll", goal: 0.12, requests: pool(poolSize, chatPoll), grows: true},
		{name: "publish (2 MB)", goal: 2.5, most: 40, requests: pool(8, publish)},
		{name: "login", goal: 0.3, requests: pool(poolSize, login)},
		{name: "mixed", requests: mixed},
	}
}

// mostLikes leaves some of the freeLikes for the loads that follow.
const mostLikes = freeLikes / 4

// poolSize is how many requests of a kind are encoded, to be sent again and again:
// more than a load of a few seconds sends, so that as many take part as there are.
const poolSize = 40_000

// kind draws a request.
type kind func(w *world) (request, error)

// pool returns a source that goes round n requests of a kind.
func pool(n int, draw kind) func(*world) (source, error) {
	return func(w *world) (source, error) {
		drawn := make([]request, n)
		for i := range drawn {
			var err error
			if drawn[i], err = draw(w); err != nil {
				return nil, err
			}
		}
		var next atomic.Int64
		return func() (request, bool) { return drawn[int(next.Add(1))%n], true }, nil
	}
}

// mixed reads four times for each write.
func mixed(w *world) (source, error) {
	var parts []source
	for _, part := range []struct {
		share    int
		requests func(*world) (source, error)
	}{
		{2, pool(1, anonymousFeed)}, {6, pool(poolSize, feed)}, {3, pool(poolSize, userInfo)}, {1, pool(poolSize, followers)},
		{2, pool(poolSize, comments)}, {2, pool(poolSize, chatPoll)}, {3, likes}, {1, pool(poolSize, comment)},
	} {
		next, err := part.requests(w)
		if err != nil {
			return nil, err
		}
		for range part.share {
			parts = append(parts, next)
		}
	}
	return func() (request, bool) { return parts[mathrand.N(len(parts))]() }, nil
}

func anonymousFeed(w *world) (request, error) {
	return request{bytes: encode(w.addr, http.MethodGet, "/douyin/feed/", nil)}, nil
}

func feed(w *world) (request, error) { return w.ask(http.MethodGet, "/douyin/feed/", w.anyone()) }

func userInfo(w *world) (request, error) {
	return w.ask(http.MethodGet, "/douyin/user/", w.anyone(), "user_id", w.anyone())
}

func followers(w *world) (request, error) {
	return w.ask(http.MethodGet, "/douyin/relation/follower/list/", w.anyone(), "user_id", drawn(w.rank, w.popular))
}

func comments(w *world) (request, error) {
	return w.ask(http.MethodGet, "/douyin/comment/list/", w.anyone(), "video_id", drawn(w.rank, w.discussed))
}

func comment(w *world) (request, error) {
	return w.ask(http.MethodPost, "/douyin/comment/action/", w.anyone(),
		"video_id", w.anything(), "action_type", 1, "comment_text", "拍得真好，"+rand.Text())
}

// chatPoll asks for what came after the last message.
func chatPoll(w *world) (request, error) {
	chat := drawn(w.rank, w.chats)
	return w.ask(http.MethodGet, "/douyin/message/chat/", chat.Low, "to_user_id", chat.High, "pre_msg_time", chat.LastTime)
}

// likes returns likes that nobody has given, each once: one load after the other
// uses them up.
func likes(w *world) (source, error) {
	return func() (request, bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.likes) == 0 {
			return request{}, false
		}
		next := w.likes[0]
		w.likes = w.likes[1:]
		return next, true
	}, nil
}

// like turns one into a request.
func (w *world) like(l like) (request, error) {
	r, err := w.ask(http.MethodPost, "/douyin/favorite/action/", l.user, "video_id", l.video, "action_type", 1)
	r.done = &w.liked.answered
	return r, err
}

// publish uploads the clip as a form, the file first as the app does.
func publish(w *world) (request, error) {
	token, err := w.keys.Sign(w.anyone(), w.issued)
	if err != nil {
		return request{}, err
	}
	var form bytes.Buffer
	parts := multipart.NewWriter(&form) // writing to a buffer doesn't fail
	file, _ := parts.CreateFormFile("data", "clip.mp4")
	_, _ = file.Write(w.clip)
	_ = parts.WriteField("token", token)
	_ = parts.WriteField("title", "一秒钟")
	_ = parts.Close()
	return request{fmt.Appendf(nil, "POST /douyin/publish/action/ HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		w.addr, parts.FormDataContentType(), form.Len(), form.Bytes()), &w.published.answered}, nil
}

func login(w *world) (request, error) {
	return request{bytes: encode(w.addr, http.MethodPost, "/douyin/user/login/", url.Values{
		"username": {pick(w.names)}, "password": {seed.Password},
	})}, nil
}

// uniform draws one of n, each as often as the others.
func uniform(n int) int { return mathrand.N(n) }

// drawn returns one of a list.
func drawn[T any](rank func(n int) int, list []T) T { return list[rank(len(list))] }

// pick returns one of a list, each as often as the others.
func pick[T any](list []T) T { return drawn(uniform, list) }

// anyone returns a user, anything a video.
func (w *world) anyone() int64   { return drawn(w.rank, w.users) }
func (w *world) anything() int64 { return drawn(w.rank, w.videos) }

// ask encodes a request of a user, its parameters in the query as the app sends
// them.
func (w *world) ask(method, path string, user int64, pairs ...any) (request, error) {
	signed, err := w.keys.Sign(user, w.issued)
	if err != nil {
		return request{}, err
	}
	query := url.Values{"token": {signed}}
	for i := 0; i < len(pairs); i += 2 {
		query.Set(fmt.Sprint(pairs[i]), fmt.Sprint(pairs[i+1]))
	}
	return request{bytes: encode(w.addr, method, path, query)}, nil
}

// encode returns a request without a body as it goes over the wire.
func encode(addr, method, path string, query url.Values) []byte {
	target := path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	length := ""
	if method == http.MethodPost {
		length = "Content-Length: 0\r\n"
	}
	return fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", method, target, addr, length)
}
