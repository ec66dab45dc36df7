package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"backbeat/model"
	"backbeat/test/harness"
)

// auditors is how many requests of an audit run side by side.
const auditors = 8

// account is what the system shows, gathered over its API.
type account struct {
	mu    sync.Mutex
	shown map[fact]int
	// likes and followers count the rows of a video or user; what their counters
	// say must be the same.
	likes, followers map[int64]int64
	profiles         map[int64]harness.User
	works            []harness.Video
}

func (a *account) show(f fact) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.shown[f]++
	switch f.kind {
	case "like":
		a.likes[f.target]++
	case "follow":
		a.followers[f.target]++
	}
}

// drained tells whether every like that was acknowledged is applied, and nothing
// waits in the table queue.
func (w *world) drained(ctx context.Context) error {
	db := w.db.WithContext(ctx)
	var waiting int64
	if err := db.Model(&model.QueueMessage{}).Where("dead = ?", false).Count(&waiting).Error; err != nil {
		return err
	}
	if waiting > 0 {
		return fmt.Errorf("%d messages wait in the table queue", waiting)
	}
	var rows []model.Favorite
	if err := db.Select("user_id", "video_id").Find(&rows, "liked = ?", true).Error; err != nil {
		return err
	}
	applied := map[fact]int{}
	for _, row := range rows {
		applied[fact{kind: "like", user: row.UserID, target: row.VideoID}]++
	}
	if wrong := w.book.compare("like", applied); len(wrong) > 0 {
		return fmt.Errorf("%d likes not applied, such as %s", len(wrong), wrong[0])
	}
	return nil
}

// audit compares all that the system shows with the ledger, and every counter
// with the rows it counts.
func (w *world) audit(ctx context.Context) error {
	a := &account{shown: map[fact]int{}, likes: map[int64]int64{}, followers: map[int64]int64{}, profiles: map[int64]harness.User{}}
	asking, ctx := errgroup.WithContext(ctx)
	asking.SetLimit(auditors)
	for i := range w.users {
		asking.Go(func() error { return w.askUser(ctx, a, i) })
	}
	for _, video := range w.videos {
		asking.Go(func() error { return w.askComments(a, video) })
	}
	if err := asking.Wait(); err != nil {
		return err
	}
	for _, maker := range w.makers {
		works, err := w.get("/douyin/publish/list/", "user_id", maker)
		if err != nil {
			return err
		}
		a.works = append(a.works, works.VideoList...)
	}
	for _, v := range a.works {
		if v.Author.ID == w.author.ID {
			a.show(fact{kind: "work", user: w.author.ID, text: v.Title})
		}
	}
	wrong := w.book.compare("", a.shown)
	wrong = append(wrong, a.miscounted()...)
	if len(wrong) > 0 {
		return fmt.Errorf("%d wrong: %s", len(wrong), strings.Join(wrong[:min(len(wrong), 5)], "; "))
	}
	return nil
}

// askUser shows what one user did: likes, follows and what they wrote to the next.
func (w *world) askUser(ctx context.Context, a *account, i int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	u, next := w.users[i], w.users[(i+1)%len(w.users)]
	liked, err := w.get("/douyin/favorite/list/", "user_id", u.ID, "token", u.Token)
	if err != nil {
		return err
	}
	for _, v := range liked.VideoList {
		a.show(fact{kind: "like", user: u.ID, target: v.ID})
	}
	followed, err := w.get("/douyin/relation/follow/list/", "user_id", u.ID, "token", u.Token)
	if err != nil {
		return err
	}
	for _, other := range followed.UserList {
		a.show(fact{kind: "follow", user: u.ID, target: other.ID})
	}
	chat, err := w.get("/douyin/message/chat/", "to_user_id", next.ID, "token", u.Token)
	if err != nil {
		return err
	}
	for _, m := range chat.MessageList {
		a.show(fact{kind: "message", user: m.FromUserID, target: m.ToUserID, text: m.Content})
	}
	profile, err := w.get("/douyin/user/", "user_id", u.ID, "token", u.Token)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.profiles[u.ID] = *profile.User
	if given := profile.User.FavoriteCount; given != int64(len(liked.VideoList)) {
		return fmt.Errorf("user %d gave %d likes, counted %d", u.ID, len(liked.VideoList), given)
	}
	if follows := profile.User.FollowCount; follows != int64(len(followed.UserList)) {
		return fmt.Errorf("user %d follows %d, counted %d", u.ID, len(followed.UserList), follows)
	}
	return nil
}

func (w *world) askComments(a *account, video int64) error {
	list, err := w.get("/douyin/comment/list/", "video_id", video)
	if err != nil {
		return err
	}
	for _, c := range list.CommentList {
		a.show(fact{kind: "comment", user: c.User.ID, target: video, text: c.Content})
	}
	return nil
}

// miscounted returns the counters that differ from the rows.
func (a *account) miscounted() (wrong []string) {
	comments := map[int64]int64{}
	for f, n := range a.shown {
		if f.kind == "comment" {
			comments[f.target] += int64(n)
		}
	}
	for _, v := range a.works {
		if v.FavoriteCount != a.likes[v.ID] {
			wrong = append(wrong, fmt.Sprintf("video %d has %d likes, counted %d", v.ID, a.likes[v.ID], v.FavoriteCount))
		}
		if v.CommentCount != comments[v.ID] {
			wrong = append(wrong, fmt.Sprintf("video %d has %d comments, counted %d", v.ID, comments[v.ID], v.CommentCount))
		}
	}
	for id, profile := range a.profiles {
		if profile.FollowerCount != a.followers[id] {
			wrong = append(wrong, fmt.Sprintf("user %d has %d followers, counted %d", id, a.followers[id], profile.FollowerCount))
		}
	}
	return wrong
}
