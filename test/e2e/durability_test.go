package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"backbeat/deploy/local"
	"backbeat/test/harness"
)

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// ledger is what was answered with 0: it must be there, once.
type ledger struct {
	mu    sync.Mutex
	likes map[[2]int64]bool // user, video
	works map[string]bool   // titles
}

func (l *ledger) like(user, video int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.likes[[2]int64{user, video}] = true
}

func (l *ledger) work(title string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.works[title] = true
}

// check compares the ledger with what the system says after the queues drained:
// each acknowledged like is listed, every count equals the rows, and each
// acknowledged upload is published once.
func (l *ledger) check(t *testing.T, app *harness.App, users []harness.Account, videos []harness.Video, author harness.Account) {
	t.Helper()
	harness.Eventually(t, 10*time.Minute, func() error { // ffmpeg gives way to everybody
		rows := map[int64]int64{}
		for _, user := range users {
			list := app.Get(t, "/douyin/favorite/list/", "user_id", user.ID, "token", user.Token).VideoList
			liked := map[int64]bool{}
			for _, v := range list {
				if liked[v.ID] {
					return fmt.Errorf("user %d likes %d twice", user.ID, v.ID)
				}
				liked[v.ID] = true
				rows[v.ID]++
			}
			for _, v := range videos {
				if l.likes[[2]int64{user.ID, v.ID}] && !liked[v.ID] {
					return fmt.Errorf("lost: user %d likes %d", user.ID, v.ID)
				}
			}
			if given := app.Profile(t, user, user.ID).FavoriteCount; given != int64(len(list)) {
				return fmt.Errorf("user %d gave %d likes, counted %d", user.ID, len(list), given)
			}
		}
		total := int64(0)
		for _, v := range app.Get(t, "/douyin/publish/list/", "user_id", author.ID).VideoList {
			if v.FavoriteCount != rows[v.ID] {
				return fmt.Errorf("video %d has %d likes, counted %d", v.ID, rows[v.ID], v.FavoriteCount)
			}
			total += rows[v.ID]
		}
		if received := app.Profile(t, author, author.ID).TotalFavorited; received != total {
			return fmt.Errorf("the author received %d likes, counted %d", total, received)
		}
		seen := map[string]int{}
		for _, v := range app.Get(t, "/douyin/publish/list/", "user_id", author.ID).VideoList {
			seen[v.Title]++
		}
		for title := range l.works {
			if seen[title] != 1 {
				return fmt.Errorf("%q is published %d times", title, seen[title])
			}
		}
		return nil
	}, "everything acknowledged is there, once")
}

// load likes all videos by all users, a few at a time, trying again what is
// refused, as a person does. It calls at(n) after the n-th acknowledgement and
// returns how many there were.
func (l *ledger) load(app *harness.App, users []harness.Account, videos []harness.Video, at func(acknowledged int)) int {
	const parallel, tries = 8, 5
	var acknowledged atomic.Int64
	var group sync.WaitGroup
	limit := make(chan struct{}, parallel)
	for _, video := range videos {
		for _, user := range users {
			limit <- struct{}{}
			group.Go(func() {
				defer func() { <-limit }()
				for range tries {
					answer, err := app.Try(http.MethodPost, "/douyin/favorite/action/",
						harness.Query("token", user.Token, "video_id", video.ID, "action_type", 1))
					if err != nil {
						return // the process is gone
					}
					if answer.StatusCode == 0 {
						l.like(user.ID, video.ID)
						at(int(acknowledged.Add(1)))
						return
					}
				}
			})
		}
	}
	group.Wait()
	return int(acknowledged.Load())
}

// TestKillEmbedded is kill -9 of the one process in the middle of 1,000 likes and
// 20 uploads.
func TestKillEmbedded(t *testing.T) {
	program, err := harness.Program()
	if err != nil {
		t.Fatal(err)
	}
	server, err := local.StartEmbedded(t.Context(), filepath.Join(t.TempDir(), "embedded"), program, patience, local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := harness.End(server); err != nil {
			t.Error(err)
		}
	})
	app := harness.NewApp(server.URL)
	author := app.Register(t)
	content := harness.Clip(t, harness.ClipOptions{Seconds: 1, Silent: true, Width: 64, Height: 64})
	var videos []harness.Video
	for i := range 20 {
		videos = append(videos, app.PublishAndAwait(t, author, content, fmt.Sprintf("before %d", i)))
	}
	users := make([]harness.Account, 50)
	for i := range users {
		users[i] = app.Register(t)
	}
	book := &ledger{likes: map[[2]int64]bool{}, works: map[string]bool{}}
	killed := make(chan struct{})
	kill := sync.OnceFunc(func() {
		if err := server.Kill(); err != nil {
			t.Error(err)
		}
		close(killed)
	})
	var uploads sync.WaitGroup
	uploads.Go(func() {
		for i := range 20 {
			title := fmt.Sprintf("during %d", i)
			answer, err := app.Upload(harness.NewForm().File("data", "a.mp4", read(t, content)).Field("token", author.Token).Field("title", title))
			if err == nil && answer.StatusCode == 0 {
				book.work(title)
			}
		}
	})
	acknowledged := book.load(app, users, videos, func(acknowledged int) {
		if acknowledged == 500 {
			kill()
		}
	})
	uploads.Wait()
	kill() // if the machine was too slow for that many
	<-killed
	if acknowledged < 200 || len(book.works) == 0 {
		t.Fatalf("%d likes and %d uploads were acknowledged: too few to prove anything", acknowledged, len(book.works))
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	book.check(t, app, users, videos, author)
	t.Logf("%d of 1000 likes and %d of 20 uploads were acknowledged before the kill; all are there, once", acknowledged, len(book.works))
}
