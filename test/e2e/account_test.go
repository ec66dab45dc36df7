package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"backbeat/test/harness"
)

func TestRegister(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		taken := w.Register(t)
		long := func(name string, n int) string { return (name + strings.Repeat("长", n))[:3*n] }
		unique := strings.Repeat("界", 22) + taken.Name[1:11] // 32 runes
		for _, row := range []struct {
			name, username, password string
			msg                      string // "" is accepted
		}{
			{"1 a new name", "n" + taken.Name[1:20], "pass1234", ""},
			{"2 a taken name", taken.Name, "other", "用户名已存在"},
			{"2 the same name in capitals", strings.ToUpper(taken.Name), "other", "用户名已存在"},
			{"2 the same name with spaces around", " " + taken.Name + "\t", "other", "用户名已存在"},
			{"3 a name of 33 characters", strings.Repeat("a", 33), "pass1234", "用户名或密码不能超过32位"},
			{"4 a password of 33 characters", "x" + taken.Name[:10], strings.Repeat("p", 33), "用户名或密码不能超过32位"},
			{"47 name and password of 32 CJK characters", unique, strings.Repeat("密", 32), ""},
			{"47 a name of 33 CJK characters", long("", 33), "pass1234", "用户名或密码不能超过32位"},
			{"48 an empty name", "", "pass1234", "用户名或密码不能为空"},
			{"48 a blank name", " \t\n", "pass1234", "*"},
			{"48 an empty password", "y" + taken.Name[:10], "", "用户名或密码不能为空"},
			{"a NUL in the name", "z\x00" + taken.Name[:10], "pass1234", "*"},
			{"invalid UTF-8 in the name", "z\xff\xfe" + taken.Name[:10], "pass1234", "*"},
			{"the reserved name", "系统通知", "pass1234", "用户名已存在"},
		} {
			t.Run(row.name, func(t *testing.T) {
				answer := w.Post(t, "/douyin/user/register/", "username", row.username, "password", row.password)
				if row.msg == "" {
					harness.OK(t, answer)
					if answer.UserID <= 0 || answer.Token == "" {
						t.Errorf("got %s", answer.Raw)
					}
					equal(t, "the profile's id", harness.OK(t, w.Get(t, "/douyin/user/", "token", answer.Token)).User.ID, answer.UserID)
					return
				}
				harness.Refused(t, answer)
				if row.msg != "*" {
					equal(t, "status_msg", answer.StatusMsg, row.msg)
				}
				if answer.Token != "" || answer.UserID != 0 || !strings.Contains(answer.Raw, `"token":""`) {
					t.Errorf("a failure brings a token: %s", answer.Raw)
				}
			})
		}
	})
}

// 62: the same name registered in parallel has one winner.
func TestRegisterRace(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		name := "race" + w.Register(t).Name[:20]
		var mu sync.Mutex
		won := 0
		var group sync.WaitGroup
		for range 12 {
			group.Go(func() {
				answer, err := w.Try(http.MethodPost, "/douyin/user/register/", harness.Query("username", name, "password", "pass1234"))
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				} else if answer.StatusCode == 0 {
					won++
				}
			})
		}
		group.Wait()
		equal(t, "winners", won, 1)
	})
}

func TestLogin(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		user := w.Register(t)
		answer := harness.OK(t, w.Post(t, "/douyin/user/login/", "username", user.Name, "password", user.Password))
		equal(t, "user_id", answer.UserID, user.ID)
		equal(t, "status_msg", answer.StatusMsg, "登录成功")
		for _, row := range []struct{ name, username, password string }{
			{"6 unknown name", "nobody" + user.Name[:8], "pass1234"},
			{"7 wrong password", user.Name, "pass12345"},
			{"7 empty name", "", "pass1234"},
			{"7 empty password", user.Name, ""},
			{"the system account", "系统通知", ""},
			{"the system account with a password", "系统通知", "x"},
			{"SQL in the name", user.Name + "' OR '1'='1", "pass1234"},
			{"a password beyond all bounds", user.Name, strings.Repeat("p", 4000)},
		} {
			t.Run(row.name, func(t *testing.T) {
				answer := harness.Refused(t, w.Post(t, "/douyin/user/login/", "username", row.username, "password", row.password))
				equal(t, "status_msg", answer.StatusMsg, "用户名或密码错误")
				equal(t, "token", answer.Token, "")
			})
		}
	})
}

func TestProfile(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		me, other := w.Register(t), w.Register(t)
		for _, row := range []struct {
			name  string
			pairs []any
			id    int64 // 0 is refused
		}{
			{"8 another's", []any{"token", me.Token, "user_id", other.ID}, other.ID},
			{"49 user_id 0 is oneself", []any{"token", me.Token, "user_id", 0}, me.ID},
			{"no user_id is oneself", []any{"token", me.Token}, me.ID},
			{"user_id as a float", []any{"token", me.Token, "user_id", asFloat(other.ID)}, other.ID},
			{"9 no token", []any{"user_id", other.ID}, 0},
			{"9 a bad token", []any{"token", "nonsense", "user_id", other.ID}, 0},
			{"10 unknown user", []any{"token", me.Token, "user_id", 424242}, 0},
			{"user_id no number", []any{"token", me.Token, "user_id", "abc"}, 0},
			{"user_id negative", []any{"token", me.Token, "user_id", -1}, 0},
			{"user_id overflowing", []any{"token", me.Token, "user_id", "99999999999999999999"}, 0},
		} {
			t.Run(row.name, func(t *testing.T) {
				answer := w.Get(t, "/douyin/user/", row.pairs...)
				if row.id == 0 {
					if harness.Refused(t, answer); !strings.Contains(answer.Raw, `"user":null`) {
						t.Errorf("got %s", answer.Raw)
					}
					return
				}
				if harness.OK(t, answer); answer.User == nil || answer.User.ID != row.id {
					t.Errorf("got %s", answer.Raw)
				}
			})
		}
	})
}

// Avatars and backgrounds must load, and differ from user to user.
func TestDefaultPicturesLoad(t *testing.T) {
	eachAndNginx(t, func(t *testing.T, w *world) {
		one, two := w.Register(t), w.Register(t)
		profiles := [2]harness.User{w.Profile(t, one, one.ID), w.Profile(t, one, two.ID)}
		if profiles[0].Signature == "" || profiles[0].Avatar == profiles[1].Avatar {
			t.Errorf("got %+v", profiles)
		}
		var seen []string
		for _, url := range []string{profiles[0].Avatar, profiles[1].Avatar, profiles[0].BackgroundImage} {
			body, header := fetch(t, w, url)
			if header.Get("Content-Type") != "image/png" || len(body) < 100 {
				t.Errorf("%s is %s of %d bytes", url, header.Get("Content-Type"), len(body))
			}
			seen = append(seen, body)
		}
		if seen[0] == seen[1] {
			t.Error("two users look alike")
		}
	})
}

// 63, 15, 68: a token says who one is and nothing else does.
func TestIdentityComesFromTheTokenAlone(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		me, other := w.Register(t), w.Register(t)
		_, video := w.video(t)
		parts := strings.Split(me.Token, ".")
		claims, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil || strings.Contains(string(claims), me.Name) || strings.Contains(string(claims), "argon2") {
			t.Errorf("the token holds %s, %v", claims, err)
		}
		added := harness.OK(t, w.Post(t, "/douyin/comment/action/", "token", me.Token, "video_id", video.ID, "action_type", 1, "comment_text", "谁写的",
			"actor_id", other.ID, "user_id", other.ID, "uid", other.ID))
		equal(t, "the comment's author", added.Comment.User.ID, me.ID)
		request, err := http.NewRequest(http.MethodGet, w.Base+"/douyin/user/?user_id=0", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+me.Token)
		request.Header.Set("Cookie", "token="+me.Token)
		answer, err := w.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		harness.Refused(t, answer)
		if me := w.Get(t, "/douyin/user/", "token", me.Token); strings.Contains(me.Raw, "argon2") || strings.Contains(me.Raw, "password") {
			t.Errorf("a password hash is shown: %s", me.Raw)
		}
	})
}

// An operator takes an account back from a thief: the sessions that began before end at
// every gateway within seconds, and nobody else's.
func TestAnOperatorTakesAnAccountBack(t *testing.T) {
	w := worlds[1]
	stolen, other := w.Register(t), w.Register(t)
	profile := func(gateway *world, of harness.Account, token string) harness.Answer {
		return gateway.Get(t, "/douyin/user/", "token", token, "user_id", of.ID)
	}
	for _, gateway := range []*world{w, behindNginx} {
		harness.OK(t, profile(gateway, stolen, stolen.Token))
	}
	said := w.operate(t.Context(), t, "user", "reset-password", stolen.Name)
	password := regexp.MustCompile(` is now (\w+)`).FindStringSubmatch(said)
	if password == nil {
		t.Fatalf("it prints %s", said)
	}
	back := harness.OK(t, w.Post(t, "/douyin/user/login/", "username", stolen.Name, "password", password[1]))
	for _, gateway := range []*world{w, behindNginx} {
		harness.Eventually(t, 10*time.Second, func() error {
			if answer := profile(gateway, stolen, stolen.Token); answer.StatusMsg != "token验证失败，请重新登录" {
				return fmt.Errorf("the old token is answered %s", answer.Raw)
			}
			return nil
		}, said)
		harness.OK(t, profile(gateway, stolen, back.Token))
		harness.OK(t, profile(gateway, other, other.Token))
	}
}
