package e2e

import (
	"fmt"
	"strings"
	"testing"

	"backbeat/test/harness"
)

// clip returns the bytes of a real video.
func clip(t *testing.T) []byte {
	t.Helper()
	return read(t, harness.Clip(t, harness.ClipOptions{Seconds: 1}))
}

// TestStatementsPerRequest bounds what one request costs the services and the
// database when nothing is held, counted in its own trace, so that no list ever
// asks per row. What the same request costs a warm gateway its own tests count.
func TestStatementsPerRequest(t *testing.T) {
	w := worlds[1]
	author, video := w.video(t)
	viewer := w.Register(t)
	harness.OK(t, w.Post(t, "/douyin/relation/action/", "token", viewer.Token, "to_user_id", author.ID, "action_type", 1))
	harness.OK(t, w.Post(t, "/douyin/relation/action/", "token", author.Token, "to_user_id", viewer.ID, "action_type", 1))
	harness.OK(t, w.Post(t, "/douyin/favorite/action/", "token", viewer.Token, "video_id", video.ID, "action_type", 1))
	for _, row := range []struct {
		name, method, path string
		pairs              []any
		rpc, sql           int
	}{
		{"feed, signed in", "GET", "/douyin/feed/", []any{"token", viewer.Token}, 8, 9},
		{"profile", "GET", "/douyin/user/", []any{"token", viewer.Token, "user_id", author.ID}, 5, 6},
		{"works", "GET", "/douyin/publish/list/", []any{"token", viewer.Token, "user_id", author.ID}, 8, 10},
		{"likes", "GET", "/douyin/favorite/list/", []any{"token", viewer.Token, "user_id", viewer.ID}, 8, 12},
		{"comments", "GET", "/douyin/comment/list/", []any{"token", viewer.Token, "video_id", video.ID}, 7, 9},
		{"follows", "GET", "/douyin/relation/follow/list/", []any{"token", viewer.Token, "user_id", viewer.ID}, 6, 8},
		{"friends", "GET", "/douyin/relation/friend/list/", []any{"token", viewer.Token}, 7, 9},
		{"chat poll", "GET", "/douyin/message/chat/", []any{"token", viewer.Token, "to_user_id", author.ID, "pre_msg_time", 1}, 2, 2},
		{"like", "POST", "/douyin/favorite/action/", []any{"token", viewer.Token, "video_id", video.ID, "action_type", 2}, 2, 3},
		{"follow", "POST", "/douyin/relation/action/", []any{"token", viewer.Token, "to_user_id", author.ID, "action_type", 1}, 2, 5},
		{"comment", "POST", "/douyin/comment/action/", []any{"token", viewer.Token, "video_id", video.ID, "action_type", 1, "comment_text", "数"}, 6, 10},
		{"message", "POST", "/douyin/message/action/", []any{"token", viewer.Token, "to_user_id", author.ID, "action_type", 1, "content", "数"}, 2, 5},
	} {
		t.Run(row.name, func(t *testing.T) {
			answer, err := w.Try(row.method, row.path, harness.Query(row.pairs...))
			if err != nil {
				t.Fatal(err)
			}
			id := harness.OK(t, answer).Header.Get("Trace-Id")
			var commands, rpc, sql int
			soon(t, "the whole trace", func() error {
				commands, rpc, sql = 0, 0, 0
				spans := w.trace(t, id)
				for _, s := range spans {
					switch {
					case strings.HasSuffix(s.service, "-worker"): // after the answer
					case strings.HasPrefix(s.OperationName, "sql"):
						sql++
					case s.service == "gateway" && len(s.References) == 0: // the request itself
					case s.service == "gateway" && !strings.HasPrefix(s.OperationName, "redis"):
						commands++
					case strings.Contains(s.OperationName, "/"):
						rpc++
					}
				}
				if commands == 0 || rpc < commands {
					return fmt.Errorf("%d of %d services have reported", rpc, commands)
				}
				return connected(spans)
			})
			t.Logf("%d RPCs, %d SQL statements", rpc, sql)
			if rpc > row.rpc || sql > row.sql {
				t.Errorf("%d RPCs (at most %d), %d SQL statements (at most %d): %v", rpc, row.rpc, sql, row.sql, operations(w.trace(t, id)))
			}
		})
	}
}
