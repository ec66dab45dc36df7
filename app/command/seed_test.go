package command

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"backbeat/app/boot"
	"backbeat/app/seed"
	"backbeat/config"
	"backbeat/test/harness"
)

func TestSeedRefuses(t *testing.T) {
	for _, row := range []struct {
		name  string
		args  []string
		fails string
	}{
		{"an unknown flag", []string{"-user", "5"}, "seed -help"},
		{"an argument", []string{"5"}, "seed -help"},
		{"more likes than pairs", []string{"-users", "2", "-videos", "3", "-likes", "7"}, "from 0 to 6"},
		{"no clip", []string{"-clip", "/nonexistent.mp4"}, "nonexistent"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := execute(t, []string{"BACKBEAT_DATA_DIR=" + t.TempDir()}, append([]string{"seed"}, row.args...)...)
			if err == nil || !strings.Contains(err.Error(), row.fails) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A seeded user logs in to a process on that database and sees a feed that plays,
// and finds what the seed says they did.
func TestASeededInstanceLives(t *testing.T) {
	environ := []string{"BACKBEAT_DATA_DIR=" + t.TempDir(), "BACKBEAT_HTTP_LISTEN=127.0.0.1:0", "BACKBEAT_RPC_READ_BUDGET=5s", "BACKBEAT_RPC_WRITE_BUDGET=5s"}
	args := []string{"seed", "-users", "50", "-videos", "40", "-likes", "900", "-comments", "200", "-follows", "300", "-messages", "200", "-clip", harness.Clip(t, harness.ClipOptions{})}
	shown, err := execute(t, environ, args...)
	if err != nil || !strings.Contains(shown, "50 users, 40 videos, 900 likes") || !strings.Contains(shown, "user0001") {
		t.Fatalf("got %s, %v", shown, err)
	}
	if _, err := execute(t, environ, args...); err == nil || !strings.Contains(err.Error(), "holds users already") {
		t.Errorf("the second run: %v", err)
	}
	cfg, err := config.Load("", environ)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err = boot.Run(ctx, boot.Process{Config: cfg, Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar)}, nil, func(parts []boot.Part) {
		defer cancel()
		for _, p := range parts {
			if p.Role == "gateway" {
				visit(t, harness.NewApp("http://"+p.Address))
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// visit looks at everything as user0001 and compares the lists with the counts.
func visit(t *testing.T, app *harness.App) {
	in := app.Post(t, "/douyin/user/login/", "username", seed.Name(0, 50), "password", seed.Password)
	if in.StatusCode != 0 {
		t.Errorf("logging in: %s", in.Raw)
		return
	}
	me := app.Profile(t, harness.Account{Token: in.Token}, in.UserID)
	first := app.Get(t, "/douyin/feed/", "token", in.Token)
	second := app.Get(t, "/douyin/feed/", "token", in.Token, "latest_time", first.NextTime)
	if len(first.VideoList) != 30 || len(second.VideoList) != 10 {
		t.Errorf("the feed has pages of %d and %d videos, want 30 and 10", len(first.VideoList), len(second.VideoList))
	}
	likes, works := 0, int64(0)
	for _, v := range append(first.VideoList, second.VideoList...) {
		likes += int(v.FavoriteCount)
		if v.Author.ID == me.ID {
			works++
		}
		if listed := app.Get(t, "/douyin/comment/list/", "token", in.Token, "video_id", v.ID); int64(len(listed.CommentList)) != v.CommentCount {
			t.Errorf("video %d lists %d comments and counts %d", v.ID, len(listed.CommentList), v.CommentCount)
		}
	}
	own := func(path string) harness.Answer { return app.Get(t, path, "token", in.Token, "user_id", me.ID) }
	for _, row := range []struct {
		what      string
		got, want int64
	}{
		{"likes of all videos", int64(likes), 900},
		{"works", works, me.WorkCount},
		{"likes given", int64(len(own("/douyin/favorite/list/").VideoList)), me.FavoriteCount},
		{"follows", int64(len(own("/douyin/relation/follow/list/").UserList)), me.FollowCount},
		{"followers", int64(len(own("/douyin/relation/follower/list/").UserList)), me.FollowerCount},
	} {
		if row.got != row.want {
			t.Errorf("%s: listed %d, want %d", row.what, row.got, row.want)
		}
	}
	for _, url := range []string{first.VideoList[0].PlayURL, first.VideoList[0].CoverURL} {
		response, err := http.Get(url)
		if err != nil {
			t.Error(err)
			continue
		}
		n, err := io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusOK || n == 0 || err != nil {
			t.Errorf("%s: %s, %d bytes, %v", url, response.Status, n, err)
		}
	}
}
