package seed

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"backbeat/app/media"
	"backbeat/app/video"
	"backbeat/model"
	"backbeat/test/harness"
	"backbeat/test/harness/tables"
)

// small is more than one statement's worth of likes.
var small = Size{Users: 120, Videos: 40, Likes: 2500, Comments: 300, Follows: 400, Messages: 200}

func newDeps(t *testing.T, db *gorm.DB) (Deps, string) {
	t.Helper()
	folder := t.TempDir()
	store, err := media.NewDisk(folder)
	if err != nil {
		t.Fatal(err)
	}
	return Deps{DB: db, Media: store, Now: time.Now, Log: harness.Logger(t)}, folder
}

func options(t *testing.T, size Size) Options {
	return Options{
		Size: size, Seed: 1, Clip: harness.Clip(t, harness.ClipOptions{}), Progress: io.Discard,
		Video: video.WorkerConfig{FFmpeg: "ffmpeg", FFprobe: "ffprobe", MaxDuration: time.Minute},
	}
}

func fill(t *testing.T, db *gorm.DB, o Options) {
	t.Helper()
	deps, _ := newDeps(t, db)
	if err := Fill(t.Context(), deps, o); err != nil {
		t.Fatal(err)
	}
}

func number(t *testing.T, db *gorm.DB, query string, args ...any) int {
	t.Helper()
	var n int
	if err := db.Raw(query, args...).Scan(&n).Error; err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// faults must all be zero in whatever state the services leave the tables.
var faults = []struct{ what, query string }{
	{"likes of a video", "SELECT COUNT(*) FROM favorite_videos c WHERE likes <> (SELECT COUNT(*) FROM favorites f WHERE f.video_id = c.video_id AND f.liked)"},
	{"likes without a counter", "SELECT COUNT(*) FROM favorites WHERE video_id NOT IN (SELECT video_id FROM favorite_videos)"},
	{"likes received", "SELECT COUNT(*) FROM favorite_users c WHERE received <> (SELECT COUNT(*) FROM favorites f WHERE f.author_id = c.user_id AND f.liked)"},
	{"likes given", "SELECT COUNT(*) FROM favorite_users c WHERE given <> (SELECT COUNT(*) FROM favorites f WHERE f.user_id = c.user_id AND f.liked)"},
	{"givers and receivers without a counter", "SELECT COUNT(*) FROM favorites WHERE user_id NOT IN (SELECT user_id FROM favorite_users) OR author_id NOT IN (SELECT user_id FROM favorite_users)"},
	{"authors of likes", "SELECT COUNT(*) FROM favorites f JOIN videos v ON v.id = f.video_id WHERE f.author_id <> v.author_id"},
	{"likes of nobody or nothing", "SELECT COUNT(*) FROM favorites WHERE video_id NOT IN (SELECT id FROM videos) OR user_id NOT IN (SELECT id FROM users)"},
	{"comments of a video", "SELECT COUNT(*) FROM comment_videos c WHERE comments <> (SELECT COUNT(*) FROM comments r WHERE r.video_id = c.video_id)"},
	{"comments without a counter", "SELECT COUNT(*) FROM comments WHERE video_id NOT IN (SELECT video_id FROM comment_videos) OR user_id NOT IN (SELECT id FROM users)"},
	{"works", "SELECT COUNT(*) FROM video_authors c WHERE works <> (SELECT COUNT(*) FROM videos v WHERE v.author_id = c.author_id AND v.state = 2)"},
	{"works without a counter", "SELECT COUNT(*) FROM videos WHERE author_id NOT IN (SELECT author_id FROM video_authors) OR author_id NOT IN (SELECT id FROM users)"},
	{"videos that are not published", "SELECT COUNT(*) FROM videos WHERE state <> 2 OR published_at IS NULL OR queued_at <> 0"},
	{"follows", "SELECT COUNT(*) FROM follow_users c WHERE follows <> (SELECT COUNT(*) FROM follows f WHERE f.follower_id = c.user_id)"},
	{"followers", "SELECT COUNT(*) FROM follow_users c WHERE followers <> (SELECT COUNT(*) FROM follows f WHERE f.followee_id = c.user_id)"},
	{"follows without a counter", "SELECT COUNT(*) FROM follows WHERE follower_id NOT IN (SELECT user_id FROM follow_users) OR followee_id NOT IN (SELECT user_id FROM follow_users)"},
	{"who follows themselves", "SELECT COUNT(*) FROM follows WHERE follower_id = followee_id"},
	{"chats with the system or oneself", "SELECT COUNT(*) FROM messages WHERE low = 1 OR low >= high OR from_user_id NOT IN (low, high)"},
	{"messages without a conversation", "SELECT COUNT(*) FROM messages m WHERE NOT EXISTS (SELECT 1 FROM conversations c WHERE c.low = m.low AND c.high = m.high)"},
	{"last messages", "SELECT COUNT(*) FROM conversations c WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.id = c.last_message_id AND m.low = c.low AND m.high = c.high AND m.create_time = c.last_time AND m.content = c.last_content AND m.from_user_id = c.last_from_user_id)"},
	{"messages after the last", "SELECT COUNT(*) FROM messages m JOIN conversations c ON c.low = m.low AND c.high = m.high WHERE m.create_time > c.last_time"},
	{"what is older than its video", "SELECT COUNT(*) FROM comments c JOIN videos v ON v.id = c.video_id WHERE c.created_at < v.published_at"},
}

func TestCountsEqualRows(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		fill(t, db, options(t, small))
		for table, want := range map[string]int{
			"users": small.Users + 1, "videos": small.Videos, "favorites": small.Likes,
			"comments": small.Comments, "follows": small.Follows, "messages": small.Messages,
		} {
			if got := number(t, db, "SELECT COUNT(*) FROM "+table); got != want {
				t.Errorf("%d %s, want %d", got, table, want)
			}
		}
		for _, fault := range faults {
			if n := number(t, db, fault.query); n != 0 {
				t.Errorf("%s: %d are wrong", fault.what, n)
			}
		}
		now := time.Now().UnixMilli()
		if n := number(t, db, "SELECT COUNT(*) FROM videos WHERE published_at >= ?", now); n != 0 {
			t.Errorf("%d videos are not of the past", n)
		}
		if n := number(t, db, "SELECT COUNT(*) FROM favorites WHERE version >= ?", now*1000); n != 0 {
			t.Errorf("%d likes are not of the past", n)
		}
	})
}

// told is what a database says, in the ranks of users and videos.
func told(t *testing.T, db *gorm.DB) string {
	t.Helper()
	var out strings.Builder
	rank := func(table string) map[int64]int {
		var ids []int64
		if err := db.Table(table).Order("id").Pluck("id", &ids).Error; err != nil {
			t.Fatal(err)
		}
		ranks := map[int64]int{}
		for i, id := range ids {
			ranks[id] = i
		}
		return ranks
	}
	users, videos := rank("users"), rank("videos")
	for _, part := range []struct {
		query string
		of    []map[int64]int
	}{
		{"SELECT author_id, 0, title FROM videos ORDER BY published_at", []map[int64]int{users, {0: 0}}},
		{"SELECT user_id, video_id, '' FROM favorites ORDER BY user_id, version", []map[int64]int{users, videos}},
		{"SELECT user_id, video_id, content FROM comments ORDER BY id", []map[int64]int{users, videos}},
		{"SELECT follower_id, followee_id, '' FROM follows ORDER BY seq", []map[int64]int{users, users}},
		{"SELECT from_user_id, low + high - from_user_id, content FROM messages ORDER BY id", []map[int64]int{users, users}},
	} {
		rows, err := db.Raw(part.query).Rows()
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var a, b int64
			var content string
			if err := rows.Scan(&a, &b, &content); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(&out, part.of[0][a], part.of[1][b], content)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

func TestTheSameSeedTellsTheSame(t *testing.T) {
	o := options(t, small)
	first := tables.Open(t, harness.SQLite(t))
	fill(t, first, o)
	want := told(t, first)
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		fill(t, db, o)
		if got := told(t, db); got != want {
			t.Error("the same seed told something else")
		}
	})
	o.Seed = 2
	other := tables.Open(t, harness.SQLite(t))
	fill(t, other, o)
	if told(t, other) == want {
		t.Error("another seed told the same")
	}
}

func files(t *testing.T, folder string) (names []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(folder), ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestOneClipServesAllAndASecondRunIsRefused(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		deps, folder := newDeps(t, db)
		o := options(t, small)
		o.Clip = "" // ffmpeg draws one
		if err := Fill(t.Context(), deps, o); err != nil {
			t.Fatal(err)
		}
		var first model.Video
		if err := db.First(&first).Error; err != nil {
			t.Fatal(err)
		}
		want := []string{first.CoverKey, first.PlayKey}
		if stored := files(t, folder); !slices.Equal(stored, want) {
			t.Errorf("stored %v, want %v", stored, want)
		}
		if n := number(t, db, "SELECT COUNT(*) FROM videos WHERE play_key = ? AND cover_key = ? AND duration_ms > 3000 AND size > 0 AND width = 360 AND height = 640", first.PlayKey, first.CoverKey); n != small.Videos {
			t.Errorf("%d of %d videos play it", n, small.Videos)
		}
		if err := Fill(t.Context(), deps, o); err == nil || !strings.Contains(err.Error(), "holds users already") {
			t.Errorf("the second run: %v", err)
		}
		if stored := files(t, folder); len(stored) != 2 {
			t.Errorf("the second run stored %v", stored)
		}
	})
}

// stopper ends a context when a line begins with a word.
type stopper struct {
	word string
	stop context.CancelFunc
}

func (s stopper) Write(line []byte) (int, error) {
	if strings.HasPrefix(string(line), s.word) {
		s.stop()
	}
	return len(line), nil
}

func TestWhoIsInterruptedLeavesNothing(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		deps, folder := newDeps(t, db)
		o := options(t, small)
		ctx, cancel := context.WithCancel(t.Context())
		o.Progress = stopper{"likes", cancel}
		if err := Fill(ctx, deps, o); err == nil {
			t.Fatal("it was not interrupted")
		}
		for _, table := range []string{"videos", "video_authors", "favorites", "favorite_videos", "favorite_users"} {
			if n := number(t, db, "SELECT COUNT(*) FROM "+table); n != 0 {
				t.Errorf("%d %s are left", n, table)
			}
		}
		if left := files(t, folder); len(left) > 0 {
			t.Errorf("%v are left", left)
		}
		o.Progress = io.Discard
		if err := Fill(t.Context(), deps, o); err != nil {
			t.Errorf("the next run: %v", err)
		}
	})
}

func TestRefusals(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"nobody", func(o *Options) { o.Users = 0 }, "0 users"},
		{"less than no comments", func(o *Options) { o.Comments = -1 }, "-1 comments"},
		{"more likes than pairs", func(o *Options) { o.Likes = o.Users*o.Videos + 1 }, "from 0 to 4800, which is every user once for every video"},
		{"more follows than pairs", func(o *Options) { o.Follows = o.Users * o.Users }, "14400 follows"},
		{"comments without videos", func(o *Options) { o.Videos, o.Likes = 0, 0 }, "300 comments"},
		{"a chat of one", func(o *Options) { o.Users, o.Likes, o.Follows = 1, 0, 0 }, "200 messages"},
		{"no end of users", func(o *Options) { o.Users = maxUsers + 1 }, "users can't be made"},
		{"no such clip", func(o *Options) { o.Clip = "/nonexistent.mp4" }, "nonexistent"},
		{"a clip of words", func(o *Options) { o.Clip = "seed_test.go" }, "ffmpeg"},
	} {
		t.Run(row.name, func(t *testing.T) {
			db := tables.Open(t, harness.SQLite(t))
			deps, folder := newDeps(t, db)
			o := options(t, small)
			row.change(&o)
			if err := Fill(t.Context(), deps, o); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v", err)
			}
			if n := number(t, db, "SELECT COUNT(*) FROM users"); n != 1 || len(files(t, folder)) > 0 {
				t.Errorf("something was written: %d users, %v", n, files(t, folder))
			}
		})
	}
}
