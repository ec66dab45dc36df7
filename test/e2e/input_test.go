package e2e

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"backbeat/app/token"
	"backbeat/test/harness"
)

// endpoint is one of the sixteen, with a request that would succeed.
type endpoint struct {
	method, path string
	// auth is required, optional (a bad token is refused), lenient (it is not) or open.
	auth string
	// valid are the parameters of a good request, without the token.
	valid func(s *scene) []any
	// needs are the ids that must be there, may those that may be left out.
	needs, may []string
	// acts is true where action_type decides.
	acts bool
	// empty is what a refusal holds besides the envelope.
	empty string
}

// endpoints is the API (API §2).
var endpoints = []endpoint{
	{method: "GET", path: "/douyin/feed/", auth: "lenient", valid: nothing},
	{method: "POST", path: "/douyin/user/register/", auth: "open", valid: nothing, empty: `"user_id":0,"token":""`},
	{method: "POST", path: "/douyin/user/login/", auth: "open", valid: nothing, empty: `"user_id":0,"token":""`},
	{method: "GET", path: "/douyin/user/", auth: "required", valid: who, may: []string{"user_id"}, empty: `"user":null`},
	{method: "POST", path: "/douyin/publish/action/", auth: "required", valid: func(*scene) []any { return []any{"title", "不该存在"} }},
	{method: "GET", path: "/douyin/publish/list/", auth: "optional", valid: who, may: []string{"user_id"}, empty: `"video_list":[]`},
	{method: "POST", path: "/douyin/favorite/action/", auth: "required", acts: true, needs: []string{"video_id"},
		valid: func(s *scene) []any { return []any{"video_id", s.video.ID, "action_type", do} }},
	{method: "GET", path: "/douyin/favorite/list/", auth: "optional", valid: who, may: []string{"user_id"}, empty: `"video_list":[]`},
	{method: "POST", path: "/douyin/comment/action/", auth: "required", acts: true, needs: []string{"video_id"}, empty: `"comment":null`,
		valid: func(s *scene) []any {
			return []any{"video_id", s.video.ID, "action_type", do, "comment_text", "不该存在", "comment_id", s.comment}
		}},
	{method: "GET", path: "/douyin/comment/list/", auth: "optional", needs: []string{"video_id"}, empty: `"comment_list":[]`,
		valid: func(s *scene) []any { return []any{"video_id", s.video.ID} }},
	{method: "POST", path: "/douyin/relation/action/", auth: "required", acts: true, needs: []string{"to_user_id"},
		valid: func(s *scene) []any { return []any{"to_user_id", s.author.ID, "action_type", do} }},
	{method: "GET", path: "/douyin/relation/follow/list/", auth: "optional", valid: who, may: []string{"user_id"}, empty: `"user_list":[]`},
	{method: "GET", path: "/douyin/relation/follower/list/", auth: "optional", valid: who, may: []string{"user_id"}, empty: `"user_list":[]`},
	{method: "GET", path: "/douyin/relation/friend/list/", auth: "required", valid: who, empty: `"user_list":[]`},
	{method: "GET", path: "/douyin/message/chat/", auth: "required", needs: []string{"to_user_id"}, empty: `"message_list":[]`,
		valid: func(s *scene) []any { return []any{"to_user_id", s.author.ID} }},
	{method: "POST", path: "/douyin/message/action/", auth: "required", acts: true, needs: []string{"to_user_id"},
		valid: func(s *scene) []any {
			return []any{"to_user_id", s.author.ID, "action_type", do, "content", "不该存在"}
		}},
}

func nothing(*scene) []any { return nil }
func who(s *scene) []any   { return []any{"user_id", s.author.ID} }

// scene is what bad requests must leave as it is: a user who did nothing but write
// one comment under a video of an author.
type scene struct {
	*world
	user, author harness.Account
	video        harness.Video
	comment      int64
}

func newScene(t *testing.T, w *world) *scene {
	t.Helper()
	s := &scene{world: w, user: w.Register(t)}
	s.author, s.video = w.video(t)
	s.comment = harness.OK(t, w.comment(t, s.user, s.video.ID, "唯一的评论")).Comment.ID
	return s
}

// untouched fails the test if anything happened.
func (s *scene) untouched(t *testing.T) {
	t.Helper()
	equal(t, "works", len(s.works(t, s.user, s.user.ID)), 0)
	equal(t, "likes", len(s.likes(t, s.user, s.user.ID)), 0)
	equal(t, "follows", len(s.follows(t, s.user, s.user.ID)), 0)
	equal(t, "messages", len(s.chat(t, s.user, s.author.ID, 0)), 0)
	equal(t, "the author's works", len(s.works(t, s.user, s.author.ID)), 1)
	if list := s.comments(t, s.user, s.video.ID); len(list) != 1 || list[0].ID != s.comment {
		t.Errorf("the comments are %+v", list)
	}
}

// ask sends a request to an endpoint; an upload goes as a form with a good file.
func (s *scene) ask(t *testing.T, e endpoint, pairs []any) harness.Answer {
	t.Helper()
	if e.path != "/douyin/publish/action/" {
		answer, err := s.Try(e.method, e.path, harness.Query(pairs...))
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	form := harness.NewForm().File("data", "a.mp4", tiny(t))
	for i := 0; i < len(pairs); i += 2 {
		form.Field(fmt.Sprint(pairs[i]), fmt.Sprint(pairs[i+1]))
	}
	return s.upload(t, form)
}

// refusedBy is harness.Refused, with the endpoint's keys.
func refusedBy(t *testing.T, e endpoint, answer harness.Answer) {
	t.Helper()
	if harness.Refused(t, answer); !strings.Contains(answer.Raw, e.empty) {
		t.Errorf("no %s in %s", e.empty, answer.Raw)
	}
}

// with returns pairs with the value of a name replaced or added.
func with(pairs []any, name string, value any) []any {
	return append(without(pairs, name), name, value)
}

func without(pairs []any, name string) []any {
	var kept []any
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i] != name {
			kept = append(kept, pairs[i], pairs[i+1])
		}
	}
	return kept
}

// signingKeys is the list of keys the world signs tokens with.
func (w *world) signingKeys(t *testing.T) string {
	t.Helper()
	path := filepath.Join(w.parts[0].Dir, "data", "token.keys")
	if w.cluster != nil {
		path = setting(w.cluster.Env, "BACKBEAT_TOKEN_KEYS_FILE")
	}
	return strings.TrimSpace(string(read(t, path)))
}

func sign(t *testing.T, keys string, user int64, life time.Duration) string {
	t.Helper()
	parsed, err := token.ParseKeys(keys, life, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := parsed.Sign(user, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// 9, 13, 15, 17, 19, 23, 25, 28, 33, 35, 37, 40, 42, D2, D5; defects 16 and 33:
// every kind of bad token at every endpoint.
func TestBadTokens(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		keys := w.signingKeys(t)
		kid, _, _ := strings.Cut(keys, ":")
		foreign := kid + ":" + base64.StdEncoding.EncodeToString(make([]byte, 32))
		good := strings.Split(s.user.Token, ".")
		encode := base64.RawURLEncoding.EncodeToString
		claims := encode([]byte(fmt.Sprintf(`{"sub":"%d","exp":%d}`, s.user.ID, time.Now().Add(time.Hour).Unix())))
		none := encode([]byte(`{"alg":"none","typ":"JWT","kid":"` + kid + `"}`))
		flipped := strings.Map(func(r rune) rune {
			if r == 'A' {
				return 'B'
			}
			return 'A'
		}, good[2])
		bad := []struct{ name, token string }{
			{"nonsense", "nonsense"},
			{"three dots", "..."},
			{"a user id", fmt.Sprint(s.user.ID)},
			{"name and password", s.user.Name + s.user.Password},
			{"expired", sign(t, keys, s.user.ID, -time.Minute)},
			{"of a foreign key", sign(t, foreign, s.user.ID, time.Hour)},
			{"of an unknown key id", sign(t, "other:"+base64.StdEncoding.EncodeToString(make([]byte, 32)), s.user.ID, time.Hour)},
			{"alg=none", none + "." + claims + "."},
			{"alg=none with a signature", none + "." + claims + "." + good[2]},
			{"with other claims", good[0] + "." + claims + "." + good[2]},
			{"with another signature", good[0] + "." + good[1] + "." + flipped},
			{"without a signature", good[0] + "." + good[1] + "."},
			{"cut off", s.user.Token[:len(s.user.Token)-1]},
			{"with a tail", s.user.Token + "x"},
			{"with Bearer", "Bearer " + s.user.Token},
			{"of nobody", sign(t, keys, 0, time.Hour)},
			{"very long", strings.Repeat("a.b.c.", 1000)},
			{"invalid UTF-8", "\xff\xfe"},
			{"SQL", "' OR '1'='1"},
		}
		for _, e := range endpoints {
			if e.auth == "open" {
				continue
			}
			t.Run(e.path, func(t *testing.T) {
				if e.auth == "required" {
					refusedBy(t, e, s.ask(t, e, e.valid(s)))
					refusedBy(t, e, s.ask(t, e, append(e.valid(s), "token", "")))
				}
				for _, row := range bad {
					t.Run(row.name, func(t *testing.T) {
						answer := s.ask(t, e, append(e.valid(s), "token", row.token))
						if e.auth == "lenient" {
							harness.OK(t, answer)
							return
						}
						refusedBy(t, e, answer)
						equal(t, "status_code", answer.StatusCode, 1)
						equal(t, "status_msg", answer.StatusMsg, "token验证失败，请重新登录")
					})
				}
			})
		}
		s.untouched(t)
	})
}

// D6: every kind of bad id in every parameter that is one.
func TestBadIDs(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		for _, e := range endpoints {
			for _, name := range append(e.needs, e.may...) {
				t.Run(e.path+" "+name, func(t *testing.T) {
					valid := append(e.valid(s), "token", s.user.Token)
					for _, row := range []struct{ name, value string }{
						{"unknown", "424242"}, {"unknown, large", "9007199254740991"}, {"unknown, largest", "9223372036854775807"},
						{"negative", "-1"}, {"most negative", "-9223372036854775808"}, {"a word", "abc"}, {"a fraction", "1.5"}, {"a fraction with exponent", "1.5e0"},
						{"overflowing", "9223372036854775808"}, {"overflowing by far", strings.Repeat("9", 400)}, {"an overflowing exponent", "1e400"},
						{"an exponent beyond exactness", "1e17"}, {"NaN", "NaN"}, {"infinite", "Inf"}, {"hexadecimal", "0x10"}, {"wide digits", "１２３"},
						{"two", "1,2"}, {"SQL", "1 OR 1=1"}, {"a NUL", "1\x00"}, {"invalid UTF-8", "\xff"}, {"null", "null"}, {"a list", "[1]"},
					} {
						t.Run(row.name, func(t *testing.T) { refusedBy(t, e, s.ask(t, e, with(valid, name, row.value))) })
					}
					if len(e.needs) > 0 {
						for _, pairs := range [][]any{without(valid, name), with(valid, name, ""), with(valid, name, 0)} {
							refusedBy(t, e, s.ask(t, e, pairs))
						}
					}
				})
			}
		}
		s.untouched(t)
	})
}

// 57: action_type is 1 or 2.
func TestBadActionTypes(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		for _, e := range endpoints {
			if !e.acts {
				continue
			}
			t.Run(e.path, func(t *testing.T) {
				valid := append(e.valid(s), "token", s.user.Token)
				refusedBy(t, e, s.ask(t, e, without(valid, "action_type")))
				for _, value := range []string{"", "0", "3", "-1", "abc", "1.5", "11", "99999999999999999999", "true", "１"} {
					t.Run(value, func(t *testing.T) { refusedBy(t, e, s.ask(t, e, with(valid, "action_type", value))) })
				}
			})
		}
		s.untouched(t)
	})
}

// 67: an id that went through a float64 is accepted.
func TestFloatIDs(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		author, video := w.sharedVideo(t)
		user := w.Register(t)
		exponent := fmt.Sprintf("%.15e", float64(video.ID))
		for _, id := range []string{exponent, strings.Replace(exponent, "+", " ", 1), strings.ToUpper(exponent)} {
			harness.OK(t, w.Post(t, "/douyin/favorite/action/", "token", user.Token, "video_id", id, "action_type", "1"))
		}
		equal(t, "likes", len(w.likes(t, user, user.ID)), 1)
		harness.OK(t, w.Get(t, "/douyin/user/", "token", user.Token, "user_id", asFloat(author.ID)))
		equal(t, "status_msg of 1.234567e+06", harness.Refused(t, w.Post(t, "/douyin/favorite/action/", "token", user.Token, "video_id", "1.234567e+06", "action_type", do)).StatusMsg, "视频不存在")
	})
}

// raw sends a request with a query as it is written here.
func (w *world) raw(t *testing.T, method, path, query, kind, body string) harness.Answer {
	t.Helper()
	request, err := http.NewRequest(method, w.Base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.URL.RawQuery = query
	request.Header.Set("Content-Type", kind)
	answer, err := w.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

const urlencoded = "application/x-www-form-urlencoded"

// §1.2: parameters come by query and by form, the query first; what is broken
// counts as nonsense, not as absent, and what is unknown not at all.
func TestParameters(t *testing.T) {
	eachAndNginx(t, func(t *testing.T, w *world) {
		author, video := w.sharedVideo(t)
		user, other := w.Register(t), w.Register(t)
		like := fmt.Sprintf("video_id=%d&action_type=1", video.ID)
		for _, row := range []struct {
			name, query, kind, body string
			ok                      bool
		}{
			{"all in the query", "token=" + user.Token + "&" + like, "", "", true},
			{"all in the form", "", urlencoded, "token=" + user.Token + "&" + like, true},
			{"in the form with a charset", "", urlencoded + "; charset=UTF-8", "token=" + user.Token + "&" + like, true},
			{"one half each", "token=" + user.Token, urlencoded, like, true},
			{"the query wins", "token=" + user.Token + "&" + like, urlencoded, "token=bad&video_id=1&action_type=9", true},
			{"the query wins, to no good", "token=bad", urlencoded, "token=" + user.Token + "&" + like, false},
			{"a body of another kind", "token=" + user.Token + "&" + like, "application/json", `{"token":"bad"}`, true},
			{"a broken content type", "token=" + user.Token + "&" + like, ";;;", "x", true},
			{"the first of several", "token=" + user.Token + "&token=bad&" + like + "&video_id=1&action_type=7", "", "", true},
			{"the first of several, to no good", "token=bad&token=" + user.Token + "&" + like, "", "", false},
			{"unknown parameters", "token=" + user.Token + "&" + like + "&x=1&user_id=abc&%5B%5D=2&=3&&", "", "", true},
			{"a broken escape elsewhere", "x=%zz&token=" + user.Token + "&" + like, "", "", true},
			{"a broken escape in the token", "token=%zz&" + like, "", "", false},
			{"a broken escape in the id", "token=" + user.Token + "&video_id=%&action_type=1", "", "", false},
			{"a cut escape in the action", "token=" + user.Token + fmt.Sprintf("&video_id=%d&action_type=1%%2", video.ID), "", "", false},
			{"semicolons", "token=" + user.Token + ";" + like, "", "", false},
			{"nothing but signs", "&&==&=%", "", "", false},
			{"a broken form", "", urlencoded, "%%%=%%%&token=%", false},
			{"a multipart form without an end", "", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n" + user.Token, false},
		} {
			t.Run(row.name, func(t *testing.T) {
				answer := w.raw(t, http.MethodPost, "/douyin/favorite/action/", row.query, row.kind, row.body)
				if row.ok {
					harness.OK(t, answer)
				} else {
					harness.Refused(t, answer)
				}
			})
		}
		t.Run("a GET with a body", func(t *testing.T) {
			harness.OK(t, w.raw(t, http.MethodGet, "/douyin/favorite/list/", "token="+user.Token, urlencoded, "user_id=1"))
		})
		t.Run("68 extra parameters change nobody's identity, defect 17", func(t *testing.T) {
			query := fmt.Sprintf("token=%s&actor_id=%d&user_id=%d&viewer_id=%d&from_user_id=%d&to_user_id=%d&action_type=1&content=x",
				user.Token, other.ID, other.ID, other.ID, other.ID, author.ID)
			harness.OK(t, w.raw(t, http.MethodPost, "/douyin/message/action/", query, "", ""))
			equal(t, "messages of the other", len(w.chat(t, other, author.ID, 0)), 0)
			equal(t, "messages of the sender", len(w.chat(t, user, author.ID, 0)), 1)
			query = fmt.Sprintf("token=%s&user_id=%d", user.Token, other.ID)
			harness.OK(t, w.raw(t, http.MethodGet, "/douyin/relation/friend/list/", query, "", ""))
		})
	})
}

// What is far too large is refused as such, and the gateway goes on.
func TestOversizedRequests(t *testing.T) {
	eachAndNginx(t, func(t *testing.T, w *world) {
		user, other := w.Register(t), w.Register(t)
		good := fmt.Sprintf("token=%s&to_user_id=%d&action_type=1&content=x", user.Token, other.ID)
		for _, row := range []struct{ name, kind, body string }{
			{"a form of ten megabytes", urlencoded, good + strings.Repeat("&a=b", 10<<20/4)},
			{"one value of ten megabytes", urlencoded, good + "&a=" + strings.Repeat("b", 10<<20)},
			{"ten megabytes of JSON", "application/json", strings.Repeat("[", 10<<20)},
			{"a multipart form of ten megabytes", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n" + strings.Repeat("b", 10<<20) + "\r\n--x--\r\n"},
		} {
			t.Run(row.name, func(t *testing.T) {
				answer := w.raw(t, http.MethodPost, "/douyin/message/action/", "", row.kind, row.body)
				equal(t, "HTTP", answer.HTTP, http.StatusRequestEntityTooLarge)
				if answer.StatusCode == 0 || answer.StatusMsg == "" {
					t.Errorf("no envelope: %s", answer.Raw)
				}
			})
		}
		t.Run("a query of one megabyte", func(t *testing.T) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(w.Base, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				// The server may hang up before it has read it all.
				_, _ = fmt.Fprintf(conn, "GET /douyin/feed/?a=%s HTTP/1.1\r\nHost: x\r\n\r\n", strings.Repeat("b", 1<<20))
			}()
			if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
			line := make([]byte, len("HTTP/1.1 431"))
			if _, err := conn.Read(line); err == nil && string(line) != "HTTP/1.1 431" {
				t.Errorf("the answer begins with %q", line)
			}
			conn.Close()
			<-sent
		})
		t.Run("a query with the longest comment", func(t *testing.T) {
			harness.OK(t, w.send(t, user, other.ID, strings.Repeat("𠮷", 1024)))
		})
		equal(t, "messages", len(w.chat(t, user, other.ID, 0)), 1)
		harness.OK(t, w.Get(t, "/douyin/feed/"))
	})
}

// What people write in names is shown as they wrote it, and does nothing.
func TestNamesAreLiteral(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		unique := w.Register(t).Name[1:9]
		for _, row := range []struct{ name, username string }{
			{"SQL", "' OR 1=1;-- " + unique},
			{"HTML", "<b onclick=x>" + unique + "</b>"},
			{"a line end and a header", "a\r\nX-Injected: 1" + unique},
			{"a template", "{{.}}%s$\u007bx}" + unique},
			{"a path", "../../" + unique},
			{"emoji", "👨‍👩‍👧‍👦🎬" + unique},
			{"JSON", `","id":1,"x":"` + unique},
		} {
			t.Run(row.name, func(t *testing.T) {
				made := harness.OK(t, w.Post(t, "/douyin/user/register/", "username", row.username, "password", `'";--\`))
				equal(t, "X-Injected", made.Header.Get("X-Injected"), "")
				login := harness.OK(t, w.Post(t, "/douyin/user/login/", "username", row.username, "password", `'";--\`))
				equal(t, "user_id", login.UserID, made.UserID)
				user := w.Profile(t, harness.Account{Token: made.Token}, made.UserID)
				equal(t, "name", user.Name, row.username)
				fetch(t, w, user.Avatar)
			})
		}
	})
}

// Headers of a request never end up in an answer as more than they are.
func TestHeaders(t *testing.T) {
	eachAndNginx(t, func(t *testing.T, w *world) {
		w.sharedVideo(t)
		for _, row := range []struct{ name, header, value string }{
			{"a foreign host", "Host", `evil"><script>`},
			{"a host with a path", "Host", "evil.example/x?"},
			{"a forwarded host from anybody", "X-Forwarded-Host", "evil.example"},
			{"a traceparent of nonsense", "Traceparent", "00-zz-<b>-01"},
			{"a traceparent that is too long", "Traceparent", "00-" + strings.Repeat("4b", 500) + "-00f067aa0ba902b7-01"},
			{"a foreign origin", "Origin", "https://evil.example"},
			{"a range for the API", "Range", "bytes=0-1"},
			{"a method in a header", "X-HTTP-Method-Override", "DELETE"},
		} {
			t.Run(row.name, func(t *testing.T) {
				conn, err := net.Dial("tcp", strings.TrimPrefix(w.Base, "http://"))
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				host := "Host: " + strings.TrimPrefix(w.Base, "http://") + "\r\n"
				if row.header == "Host" {
					host = ""
				}
				if _, err := fmt.Fprintf(conn, "GET /douyin/feed/ HTTP/1.1\r\n%s%s: %s\r\nConnection: close\r\n\r\n", host, row.header, row.value); err != nil {
					t.Fatal(err)
				}
				response, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				body, err := io.ReadAll(response.Body)
				if err != nil {
					t.Fatal(err)
				}
				if response.StatusCode >= 500 || strings.Contains(string(body), "evil") || strings.Contains(string(body), "<script>") {
					t.Errorf("HTTP %d %.300s", response.StatusCode, body)
				}
				for name, values := range response.Header {
					if all := strings.Join(values, " "); strings.Contains(all, "evil") || strings.Contains(all, "<b>") {
						t.Errorf("%s: %s", name, all)
					}
				}
			})
		}
		harness.OK(t, w.Get(t, "/douyin/feed/"))
	})
}

// 70: a token that expires while its write is under way costs nothing.
func TestTokenExpiresInFlight(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		_, video := w.sharedVideo(t)
		user := w.Register(t)
		brief := harness.Account{ID: user.ID, Token: sign(t, w.signingKeys(t), user.ID, 3*time.Second)}
		harness.OK(t, w.like(t, brief, video.ID, do))
		soon(t, "the token to expire", func() error {
			if w.Get(t, "/douyin/user/", "token", brief.Token).StatusCode == 0 {
				return fmt.Errorf("it is still good")
			}
			return nil
		})
		harness.Refused(t, w.like(t, brief, video.ID, undo))
		soon(t, "the like", func() error {
			if given := w.Profile(t, user, user.ID).FavoriteCount; given != 1 {
				return fmt.Errorf("%d likes are counted", given)
			}
			return nil
		})
		equal(t, "likes", len(w.likes(t, user, user.ID)), 1)
	})
}
