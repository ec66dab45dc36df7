package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"backbeat/test/harness"
)

// fetch reads what lies at an absolute URL.
func fetch(t *testing.T, w *world, url string) (string, http.Header) {
	t.Helper()
	response, err := w.HTTP.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s: HTTP %d", url, response.StatusCode)
	}
	return string(body), response.Header
}

// 11, 12, 58: flags are the viewer's.
func TestFeedFlagsAreTheViewers(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		author, video := w.video(t)
		viewer := w.Register(t)
		harness.OK(t, w.Post(t, "/douyin/favorite/action/", "token", viewer.Token, "video_id", video.ID, "action_type", 1))
		harness.OK(t, w.Post(t, "/douyin/relation/action/", "token", viewer.Token, "to_user_id", author.ID, "action_type", 1))
		for _, row := range []struct {
			name  string
			token string
			want  bool
		}{{"viewer", viewer.Token, true}, {"author", author.Token, false}, {"12 anonymous", "", false}, {"13 bad token", "bad", false}} {
			t.Run(row.name, func(t *testing.T) {
				soon(t, "the video in the feed", func() error {
					for _, v := range harness.OK(t, w.Get(t, "/douyin/feed/", "token", row.token)).VideoList {
						if v.ID == video.ID {
							equal(t, "is_favorite", v.IsFavorite, row.want)
							equal(t, "is_follow", v.Author.IsFollow, row.want)
							return nil
						}
					}
					return fmt.Errorf("not there")
				})
			})
		}
	})
}

// 51, 43, defects 2–7: walking the feed shows each video once, newest first, and
// ends.
func TestWalkingTheFeed(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		author := w.Register(t)
		clip := harness.Clip(t, harness.ClipOptions{Seconds: 1, Silent: true, Width: 64, Height: 64})
		const uploads = 34 // more than a page
		first := w.PublishAndAwait(t, author, clip, "开头")
		for i := range uploads - 2 {
			w.Publish(t, author, clip, fmt.Sprintf("第%d集", i))
		}
		harness.Eventually(t, 10*time.Minute, func() error { // ffmpeg gives way to everybody
			if n := len(w.works(t, harness.Account{}, author.ID)); n < uploads-1 {
				return fmt.Errorf("%d of %d are published", n, uploads-1)
			}
			return nil
		}, "publishing")
		last := w.PublishAndAwait(t, author, clip, "结尾")
		list := w.works(t, author, author.ID)
		equal(t, "work_count", list[0].Author.WorkCount, uploads)
		equal(t, "the list's first", list[0].ID, last.ID)
		equal(t, "the list's last", list[len(list)-1].ID, first.ID)
		soon(t, "the whole feed", func() error {
			var mine []int64
			for _, v := range w.walk(t) {
				if v.Author.ID == author.ID {
					mine = append(mine, v.ID)
				}
			}
			if len(mine) != uploads || mine[0] != last.ID || mine[uploads-1] != first.ID {
				return fmt.Errorf("of the author's %d videos, from %d down to %d, it has %v", uploads, last.ID, first.ID, mine)
			}
			return nil
		})
	})
}

// walk pages through the feed to its end. No video may come twice, and next_time
// must lead on.
func (w *world) walk(t *testing.T) []harness.Video {
	t.Helper()
	var all []harness.Video
	seen := map[int64]bool{}
	for cursor := int64(0); ; {
		answer := harness.OK(t, w.Get(t, "/douyin/feed", "latest_time", cursor))
		if len(answer.VideoList) == 0 {
			if now := time.Now().UnixMilli(); answer.NextTime < now-60_000 || answer.NextTime > now+60_000 {
				t.Errorf("next_time of the empty page is %d, now is %d", answer.NextTime, now)
			}
			return all
		}
		if len(answer.VideoList) > 30 {
			t.Errorf("a page of %d", len(answer.VideoList))
		}
		if cursor != 0 && answer.NextTime >= cursor {
			t.Fatalf("next_time goes from %d to %d", cursor, answer.NextTime)
		}
		for _, v := range answer.VideoList {
			if seen[v.ID] {
				t.Errorf("video %d twice", v.ID)
			}
			seen[v.ID] = true
		}
		all = append(all, answer.VideoList...)
		cursor = answer.NextTime
	}
}

// 50: latest_time is never an error.
func TestLatestTime(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.sharedVideo(t)
		now := time.Now()
		for _, row := range []struct {
			name, value string
			sees        bool // the newest videos
		}{
			{"absent", "", true}, {"zero", "0", true}, {"milliseconds", fmt.Sprint(now.Add(time.Minute).UnixMilli()), true},
			{"seconds", fmt.Sprint(now.Add(time.Minute).Unix()), true}, {"garbage", "yesterday", true}, {"a date", "2023-08-01 12:00:00", true},
			{"negative", "-5", true}, {"far future", "99999999999999", true}, {"overflowing", "9999999999999999999999", true},
			{"milliseconds long ago", "1600000000000", false}, {"seconds long ago", "1600000000", false},
		} {
			t.Run(row.name, func(t *testing.T) {
				answer := harness.OK(t, w.Get(t, "/douyin/feed/", "latest_time", row.value))
				equal(t, "sees videos", len(answer.VideoList) > 0, row.sees)
				if !strings.Contains(answer.Raw, `"video_list":[`) {
					t.Errorf("no list: %s", answer.Raw)
				}
			})
		}
	})
}

// 64 and §1.1: slashes and methods.
func TestPaths(t *testing.T) {
	eachAndNginx(t, func(t *testing.T, w *world) {
		for _, path := range []string{"/douyin/feed", "/douyin/feed/", "//douyin/feed/", "///douyin/feed"} {
			t.Run("GET "+path, func(t *testing.T) { harness.OK(t, w.Get(t, path)) })
		}
		for _, path := range []string{"/douyin/user/login", "/douyin/user/login/", "//douyin/user/login/"} {
			t.Run("POST "+path, func(t *testing.T) {
				equal(t, "status_msg", harness.Refused(t, w.Post(t, path, "username", "nobody", "password", "x")).StatusMsg, "用户名或密码错误")
			})
		}
		for _, row := range []struct {
			name, method, path string
			http               int
		}{
			{"unknown path", http.MethodGet, "/douyin/nothing/", 404},
			{"unknown page", http.MethodGet, "/wp-login.php", 404},
			{"wrong method", http.MethodGet, "/douyin/favorite/action/", 405},
			{"delete", http.MethodDelete, "/douyin/feed/", 405},
		} {
			t.Run(row.name, func(t *testing.T) {
				answer, err := w.Try(row.method, row.path, nil)
				if err != nil {
					t.Fatal(err)
				}
				equal(t, "HTTP", answer.HTTP, row.http)
				if answer.StatusCode == 0 || answer.StatusMsg == "" {
					t.Errorf("no envelope: %s", answer.Raw)
				}
			})
		}
	})
}

func TestTheWebPages(t *testing.T) {
	eachAndNginx(t, func(t *testing.T, w *world) {
		for _, path := range []string{"/", "/docs"} {
			body, header := fetch(t, w, w.Base+path)
			if !strings.Contains(body, "<html") || header.Get("Content-Security-Policy") == "" {
				t.Errorf("%.200s\n%v", body, header)
			}
			for _, outside := range []string{"https://", "http://", "cdn."} {
				if strings.Contains(body, outside) {
					t.Errorf("%s asks outside: %s", path, outside)
				}
			}
		}
	})
}
