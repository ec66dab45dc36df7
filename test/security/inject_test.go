package security

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"backbeat/app/gateway"
	"backbeat/test/harness"
)

// injections are what a stranger writes to be more than text: to a database, to a
// log, to a template, to a page. They fit a name's 32 runes with a tail of 6.
var injections = []string{
	`' OR '1'='1`, `'; DROP TABLE users;--`, `" OR ""="`, `\'; DELETE FROM users;--`, `1); DELETE FROM comments`, `') UNION SELECT 1,2,3--`, "`; --", `%' OR 1=1 #`, `/*!50000 OR*/ 1=1`, `$$; DROP TABLE users`, `? :name $1 @p1`,
	"\n{\"msg\":\"FORGED\"}", "\r\nlevel=ERROR msg=FORGED", "\x1b[31mFORGED\x1b[2J", "\u2028FORGED\u2029", "\u202eDEGROF", "\",\"msg\":\"FORGED\",\"x\":\"", "\x08\x08FORGED", "\u0085FORGED",
	`%s%n%d%!v(PANIC=`, `{{.Token}}`, `${jndi:ldap://x/a}`, `$(reboot)`, "`reboot`", `<script>alert(1)</script>`, `"><img src=x>`, `../../etc/passwd`, `%00%0a`, "a|b;c&d",
}

// field is one place that takes a string.
type field struct {
	name string
	// write sends the string and returns the answer and, if it was taken, what
	// reading it back gives.
	write func(t *testing.T, s *scene, text string) (harness.Answer, string)
}

// Every field holds what people wrote as they wrote it, or refuses it clearly.
func TestInjectedText(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	before := s.state(t)
	fields := []field{
		{"username", func(t *testing.T, _ *scene, text string) (harness.Answer, string) {
			answer := shared.Post(t, "/douyin/user/register/", "username", text, "password", "pass1234")
			if answer.StatusCode != 0 {
				return answer, ""
			}
			login := harness.OK(t, shared.Post(t, "/douyin/user/login/", "username", text, "password", "pass1234"))
			equal(t, "who logged in", login.UserID, answer.UserID)
			return answer, shared.Profile(t, harness.Account{Token: answer.Token}, answer.UserID).Name
		}},
		{"comment_text", func(t *testing.T, s *scene, text string) (harness.Answer, string) {
			answer := shared.Post(t, "/douyin/comment/action/", "token", s.other.Token, "video_id", s.video.ID, "action_type", 1, "comment_text", text)
			if answer.StatusCode != 0 {
				return answer, ""
			}
			list := harness.OK(t, shared.Get(t, "/douyin/comment/list/", "video_id", s.video.ID)).CommentList
			at := slices.IndexFunc(list, func(c harness.Comment) bool { return c.ID == answer.Comment.ID })
			if at < 0 {
				t.Fatalf("the comment is not listed")
			}
			harness.OK(t, shared.Post(t, "/douyin/comment/action/", "token", s.other.Token, "video_id", s.video.ID, "action_type", 2, "comment_id", answer.Comment.ID))
			return answer, list[at].Content
		}},
		{"content", func(t *testing.T, s *scene, text string) (harness.Answer, string) {
			answer := shared.Post(t, "/douyin/message/action/", "token", s.other.Token, "to_user_id", s.friend.ID, "action_type", 1, "content", text)
			if answer.StatusCode != 0 {
				return answer, ""
			}
			chat := harness.OK(t, shared.Get(t, "/douyin/message/chat/", "token", s.other.Token, "to_user_id", s.friend.ID)).MessageList
			return answer, chat[len(chat)-1].Content
		}},
	}
	for _, f := range fields {
		t.Run(f.name, func(t *testing.T) {
			for _, injection := range injections {
				text := injection + unique()[:6]
				answer, back := f.write(t, s, text)
				switch {
				case answer.StatusCode != 0:
					harness.Refused(t, answer)
				case back != text && back != strings.TrimSpace(text): // names are trimmed
					t.Errorf("%q became %q", text, back)
				}
			}
		})
	}
	t.Run("password", func(t *testing.T) {
		for _, injection := range injections[:8] { // each costs a hash
			answer := shared.Post(t, "/douyin/user/login/", "username", s.owner.Name, "password", injection)
			equal(t, "status_msg", harness.Refused(t, answer).StatusMsg, "用户名或密码错误")
		}
	})
	t.Run("title and file name", func(t *testing.T) {
		// Each upload costs a transcode, so one title holds as many as fit.
		for _, title := range []string{strings.Join(injections[:6], ""), strings.Join(injections[11:16], "")} {
			title = strings.TrimSpace(string([]rune(title)[:min(100, len([]rune(title)))]))
			uploader := shared.Register(t)
			answer, err := shared.Upload(harness.NewForm().File("data", "../../'; DROP TABLE videos;--\r\nFORGED.mp4", tiny(t)).Field("token", uploader.Token).Field("title", title))
			check(t, err)
			harness.OK(t, answer)
			works := shared.Get(t, "/douyin/publish/list/", "token", uploader.Token).VideoList
			if len(works) != 1 || works[0].Title != title || strings.Contains(works[0].PlayURL, "DROP") {
				t.Errorf("%q became %+v", title, works)
			}
		}
	})
	equal(t, "what the owner has", s.state(t), before)
	harness.OK(t, shared.Post(t, "/douyin/user/login/", "username", s.owner.Name, "password", s.owner.Password))
}

// Every parameter of every route, its path and its headers: what is no text is
// refused or ignored, and does nothing.
func TestInjectedParameters(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	before := s.state(t)
	for _, route := range gateway.Routes() {
		if route.Path == "/douyin/publish/action/" || route.Token == "open" { // above
			continue
		}
		t.Run(route.Path, func(t *testing.T) {
			r := matrix[route.Method+" "+route.Path]
			pairs := append(r.params(s), "token", s.other.Token, "latest_time", 0, "pre_msg_time", 0)
			for i := 0; i < len(pairs); i += 2 {
				// Of each parameter every third: all are tried on each route.
				for at := i / 2 % 3; at < len(injections); at += 3 {
					injection := injections[at]
					attack := slices.Clone(pairs)
					attack[i+1] = fmt.Sprint(pairs[i+1]) + injection
					answer, err := shared.Try(route.Method, route.Path, harness.Query(attack...))
					check(t, err)
					if got := r.outcome(answer); answer.HTTP != 200 || got == shown {
						t.Errorf("%s=%q: HTTP %d, outcome %d: %.300s", pairs[i], attack[i+1], answer.HTTP, got, answer.Raw)
					}
				}
			}
		})
	}
	for _, injection := range injections {
		headers := http.Header{}
		for _, name := range []string{"User-Agent", "Referer", "X-Forwarded-For", "Traceparent", "Uber-Trace-Id", "Origin", "Cookie", "Range"} {
			headers.Set(name, strings.Map(printable, injection))
		}
		harness.OK(t, send(t, shared.App, http.MethodGet, "/douyin/feed/", "", headers, "", ""))
		for _, path := range []string{"/", "/douyin/feed/", "/media/"} {
			request, err := http.NewRequest(http.MethodGet, shared.Base, nil)
			check(t, err)
			request.URL = &url.URL{Scheme: "http", Host: request.URL.Host, Path: path + injection}
			answer, err := shared.Do(request)
			check(t, err)
			if answer.HTTP >= http.StatusInternalServerError || answer.StatusCode == 0 {
				t.Errorf("%s%q: HTTP %d %s", path, injection, answer.HTTP, answer.Raw)
			}
		}
	}
	equal(t, "what the owner has", s.state(t), before)
	wholeLog(t)
}

// printable leaves out what a client of HTTP can't send in a header.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return -1
	}
	return r
}

// wholeLog fails the test unless each line of the shared log is one entry that the
// program wrote, without a control character that a terminal would obey.
func wholeLog(t *testing.T) {
	t.Helper()
	lines := bufio.NewScanner(strings.NewReader(shared.log(t)))
	lines.Buffer(nil, 1<<20)
	entries := 0
	for lines.Scan() {
		line := lines.Text()
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' }) {
			t.Errorf("a control character in the log: %q", line)
		}
		var entry struct{ Level, Msg string }
		if !strings.HasPrefix(line, "{") {
			if strings.Contains(line, "FORGED") {
				t.Errorf("a forged line: %q", line)
			}
			continue // what `run` prints for people
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Level == "" || strings.Contains(entry.Msg, "FORGED") {
			t.Errorf("a line that is no entry: %q, %v", line, err)
		}
		entries++
	}
	check(t, lines.Err())
	if entries == 0 {
		t.Error("nothing was logged")
	}
}
