package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"backbeat/test/harness"
)

func contents(messages []harness.Message) []string {
	all := []string{}
	for _, m := range messages {
		all = append(all, m.Content)
	}
	return all
}

// 38, 41, 60, 61, D3, D4: strangers may chat; a poll brings what the peer wrote
// since, once, and never one's own. Defects 31, 32, 34.
func TestChat(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.Register(t), w.Register(t)
		if answer := harness.OK(t, w.Get(t, "/douyin/message/chat/", "token", a.Token, "to_user_id", b.ID)); !strings.Contains(answer.Raw, `"message_list":[]`) {
			t.Errorf("66 a chat without messages is %s", answer.Raw)
		}
		before := time.Now().UnixMilli()
		for _, m := range []struct {
			from, to harness.Account
			content  string
		}{{a, b, "一"}, {b, a, "二"}, {a, b, "三"}} {
			equal(t, "41 status_msg", harness.OK(t, w.send(t, m.from, m.to.ID, m.content)).StatusMsg, "发送消息成功！")
		}
		history := w.chat(t, b, a.ID, "")
		if got := contents(history); !slices.Equal(got, []string{"一", "二", "三"}) {
			t.Fatalf("61 without an earlier poll the history is %v", got)
		}
		for i, m := range history {
			if m.CreateTime < before-60_000 || m.CreateTime > time.Now().UnixMilli()+60_000 {
				t.Errorf("create_time %d is not in milliseconds", m.CreateTime)
			}
			if i > 0 && m.CreateTime <= history[i-1].CreateTime {
				t.Errorf("create_time does not rise: %d after %d", m.CreateTime, history[i-1].CreateTime)
			}
			equal(t, "sent by A", m.FromUserID == a.ID && m.ToUserID == b.ID, i != 1)
		}
		last := history[2].CreateTime
		for _, row := range []struct {
			name   string
			viewer harness.Account
			after  any
			want   []string
		}{
			{"38 all, without pre_msg_time", a, "", []string{"一", "二", "三"}},
			{"all, from 0", a, 0, []string{"一", "二", "三"}},
			{"all, from garbage", a, "never", []string{"一", "二", "三"}},
			{"all, from before the beginning", a, -1, []string{"一", "二", "三"}},
			{"60 nothing since the last", b, last, []string{}},
			{"60 nothing since the next second", b, last/1000 + 1, []string{}},
			{"60 since seconds ago: the peer's only", b, before/1000 - 5, []string{"一", "三"}},
			{"since the first: the peer's only", b, history[0].CreateTime, []string{"三"}},
			{"D3 own messages are not repeated", a, history[0].CreateTime, []string{"二"}},
			{"nothing from the future", b, last + 10_000, []string{}},
			{"nothing from the far future", b, "99999999999999", []string{}},
		} {
			t.Run(row.name, func(t *testing.T) {
				peer := a
				if row.viewer == a {
					peer = b
				}
				if got := contents(w.chat(t, row.viewer, peer.ID, row.after)); !slices.Equal(got, row.want) {
					t.Errorf("got %v, want %v", got, row.want)
				}
			})
		}
		harness.OK(t, w.send(t, a, b.ID, "四"))
		if got := contents(w.chat(t, b, a.ID, last)); !slices.Equal(got, []string{"四"}) {
			t.Errorf("60 the next poll brings %v", got)
		}
		if got := contents(w.chat(t, a, b.ID, last)); len(got) != 0 {
			t.Errorf("60 the sender's own poll brings %v", got)
		}
	})
}

// 38–42, D11: what is no message.
func TestMessageRefusals(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.Register(t), w.Register(t)
		chat := func(pairs ...any) harness.Answer {
			return w.Get(t, "/douyin/message/chat/", append([]any{"token", a.Token}, pairs...)...)
		}
		act := func(to int64, action any, content string) harness.Answer {
			return w.Post(t, "/douyin/message/action/", "token", a.Token, "to_user_id", to, "action_type", action, "content", content)
		}
		for _, row := range []struct {
			name   string
			answer harness.Answer
			msg    string // "" is any
		}{
			{"39 a chat with oneself", chat("to_user_id", a.ID), "不能查看与自己的聊天记录！"},
			{"D11 a chat with nobody", chat("to_user_id", 424242), "用户不存在"},
			{"a chat without a peer", chat(), ""},
			{"a message to oneself", act(a.ID, 1, "你好"), ""},
			{"a message to nobody", act(424242, 1, "你好"), "用户不存在"},
			{"another action", act(b.ID, 2, "你好"), "非发送消息操作！"},
			{"no action", act(b.ID, "", "你好"), "非发送消息操作！"},
			{"nothing", act(b.ID, 1, ""), ""},
			{"spaces", act(b.ID, 1, " 　\n"), ""},
			{"a NUL", act(b.ID, 1, "a\x00b"), ""},
			{"invalid UTF-8", act(b.ID, 1, "\xff\xfe"), ""},
			{"1025 characters", act(b.ID, 1, strings.Repeat("字", 1025)), ""},
		} {
			t.Run(row.name, func(t *testing.T) {
				if harness.Refused(t, row.answer); row.msg != "" {
					equal(t, "status_msg", row.answer.StatusMsg, row.msg)
				}
			})
		}
		equal(t, "messages", len(w.chat(t, b, a.ID, 0)), 0)
	})
}

func TestMessageText(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.Register(t), w.Register(t)
		var sent []string
		for _, row := range []struct{ name, text string }{
			{"emoji", "👨‍👩‍👧‍👦👍🏽"},
			{"1024 four-byte characters", strings.Repeat("𠮷", 1024)},
			{"SQL", `Robert'); DROP TABLE messages;--`},
			{"HTML", `<img src=x onerror=alert(1)>&nbsp;`},
			{"a backslash", `\u0041\n\`},
		} {
			t.Run(row.name, func(t *testing.T) {
				harness.OK(t, w.send(t, a, b.ID, row.text))
				sent = append(sent, row.text)
			})
		}
		if got := contents(w.chat(t, b, a.ID, 0)); !slices.Equal(got, sent) {
			t.Errorf("got %q", got)
		}
	})
}

// Two users write into one chat from several phones while both poll: each poll
// brings the peer's messages in order, none lost and none twice.
func TestChatRace(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.Register(t), w.Register(t)
		const phones, count = 3, 15
		var writers, readers sync.WaitGroup
		for _, side := range [][2]harness.Account{{a, b}, {b, a}} {
			from, to := side[0], side[1]
			for phone := range phones {
				writers.Go(func() {
					for n := range count {
						answer, err := w.Try(http.MethodPost, "/douyin/message/action/",
							harness.Query("token", from.Token, "to_user_id", to.ID, "action_type", do, "content", fmt.Sprintf("%d/%02d", phone, n)))
						if err != nil || answer.StatusCode != 0 {
							t.Errorf("%v %s", err, answer.Raw)
						}
					}
				})
			}
			readers.Go(func() {
				if err := w.poll(to, from, phones, count); err != nil {
					t.Error(err)
				}
			})
		}
		writers.Wait()
		readers.Wait()
		whole := w.chat(t, a, b.ID, 0)
		equal(t, "messages in all", len(whole), 2*phones*count)
		for i := 1; i < len(whole); i++ {
			if whole[i].CreateTime <= whole[i-1].CreateTime {
				t.Errorf("create_time %d follows %d", whole[i].CreateTime, whole[i-1].CreateTime)
			}
		}
	})
}

// poll reads as an open chat page does until it has seen as many messages as were
// written by each of the peer's phones, which count theirs up.
func (w *world) poll(viewer, peer harness.Account, phones, count int) error {
	next := make([]int, phones)
	seen, cursor := 0, int64(1)
	for deadline := time.Now().Add(time.Minute); seen < phones*count; {
		if time.Now().After(deadline) {
			return fmt.Errorf("only %d messages after a minute", seen)
		}
		answer, err := w.Try(http.MethodGet, "/douyin/message/chat/",
			harness.Query("token", viewer.Token, "to_user_id", peer.ID, "pre_msg_time", cursor))
		if err != nil {
			return err
		}
		for _, m := range answer.MessageList {
			var phone, n int
			if _, err := fmt.Sscanf(m.Content, "%d/%d", &phone, &n); err != nil {
				return err
			}
			if n != next[phone] || m.FromUserID != peer.ID {
				return fmt.Errorf("%+v came where number %d of the peer's was due", m, next[phone])
			}
			next[phone]++
			seen++
			cursor = m.CreateTime
		}
	}
	return nil
}
