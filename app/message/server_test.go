package message

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"
	"pgregory.net/rapid"

	"backbeat/app/batch"
	"backbeat/app/errs"
	"backbeat/app/id"
	"backbeat/model"
	"backbeat/proto/entity"
	pb "backbeat/proto/message"
	"backbeat/test/harness/tables"
)

const (
	ada   = int64(100)
	bob   = int64(101)
	carol = int64(99)
)

// stopped is a clock that stands still.
func stopped() time.Time { return time.UnixMilli(1_700_000_000_000) }

func newServer(db *gorm.DB, now func() time.Time) *Server {
	return New(Deps{DB: db, IDs: id.NewGenerator(time.Now), Now: now})
}

func send(ctx context.Context, s *Server, from, to int64, content string) (*entity.Message, error) {
	var out pb.SendResponse
	err := s.Send(ctx, &pb.SendRequest{FromUserId: from, ToUserId: to, Content: content}, &out)
	return out.Message, err
}

func mustSend(tb testing.TB, s *Server, from, to int64, content string) *entity.Message {
	tb.Helper()
	message, err := send(tb.Context(), s, from, to, content)
	if err != nil {
		tb.Fatal(err)
	}
	return message
}

func chat(ctx context.Context, s *Server, viewer, peer, after int64, limit int32) ([]*entity.Message, error) {
	var out pb.ChatResponse
	err := s.Chat(ctx, &pb.ChatRequest{ViewerId: viewer, PeerId: peer, After: after, Limit: limit}, &out)
	return out.Messages, err
}

func wantChat(t *testing.T, s *Server, viewer, peer, after int64, limit int32, want ...string) {
	t.Helper()
	messages, err := chat(t.Context(), s, viewer, peer, after, limit)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, message := range messages {
		got = append(got, message.Content)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("user %d reads %q with %d after %d (limit %d), want %q", viewer, got, peer, after, limit, want)
	}
}

func latest(ctx context.Context, s *Server, viewer int64, peers ...int64) (map[int64]*entity.Message, error) {
	var out pb.LatestResponse
	err := s.Latest(ctx, &pb.LatestRequest{ViewerId: viewer, PeerIds: peers}, &out)
	return out.Messages, err
}

func TestSendChecksWhoAndWhat(t *testing.T) {
	tests := []struct {
		name     string
		from, to int64
		content  string
		refused  bool
		kind     errs.Kind
	}{
		{"text with emoji", ada, bob, "在吗🎬", false, 0},
		{"longest", bob, ada, strings.Repeat("信", 1024), false, 0},
		{"too long", ada, bob, strings.Repeat("信", 1025), true, errs.Invalid},
		{"empty", ada, bob, "", true, errs.Invalid},
		{"blank", ada, bob, " \n", true, errs.Invalid},
		{"NUL", ada, bob, "a\x00", true, errs.Invalid},
		{"not UTF-8", ada, bob, "\xff", true, errs.Invalid},
		{"to oneself", ada, ada, "hi", true, errs.Invalid},
		{"to the system account", ada, model.SystemUserID, "hi", true, errs.Forbidden},
		{"from the system account", model.SystemUserID, ada, "hi", true, errs.Forbidden},
		{"to nobody", ada, 0, "hi", true, errs.Invalid},
		{"from nobody", -1, ada, "hi", true, errs.Invalid},
	}
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(db, stopped)
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				message, err := send(t.Context(), s, tt.from, tt.to, tt.content)
				if tt.refused {
					if !errs.Is(err, tt.kind) || message != nil {
						t.Errorf("Send returned %v, %v, want %v", message, err, tt.kind)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if message.Id <= 0 || message.FromUserId != tt.from || message.ToUserId != tt.to || message.Content != tt.content {
					t.Errorf("Send returned %v", message)
				}
			})
		}
		var rows int64
		if err := db.Model(&model.Message{}).Count(&rows).Error; err != nil || rows != 2 {
			t.Errorf("%d messages were written, %v", rows, err)
		}
	})
}

func TestChat(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		now := stopped()
		s := newServer(db, func() time.Time { return now })
		base := now.UnixMilli()
		mustSend(t, s, ada, bob, "1") // base
		mustSend(t, s, bob, ada, "2") // base + 1: the clock stands still
		now = now.Add(-time.Hour)
		mustSend(t, s, ada, bob, "3") // base + 2: it went back
		now = now.Add(2 * time.Hour)
		last := mustSend(t, s, bob, ada, "4")
		mustSend(t, s, ada, carol, "to another")
		if last.CreateTime != now.UnixMilli() {
			t.Errorf("the last message is of %d, want %d", last.CreateTime, now.UnixMilli())
		}
		tests := []struct {
			name                string
			viewer, peer, after int64
			limit               int32
			want                []string
		}{
			{"everything", ada, bob, 0, 0, []string{"1", "2", "3", "4"}},
			{"everything, the other side", bob, ada, 0, 0, []string{"1", "2", "3", "4"}},
			{"negative is nothing", ada, bob, -5, 0, []string{"1", "2", "3", "4"}},
			{"the newest", ada, bob, 0, 2, []string{"3", "4"}},
			{"poll: the peer's only", ada, bob, base - 1, 0, []string{"2", "4"}},
			{"poll: the peer's only, the other side", bob, ada, base - 1, 0, []string{"1", "3"}},
			{"poll: strictly newer", ada, bob, base + 1, 0, []string{"4"}},
			{"poll: the oldest first", ada, bob, base - 1, 1, []string{"2"}},
			{"poll: nothing new", ada, bob, last.CreateTime, 0, nil},
			{"nobody wrote", bob, carol, 0, 0, nil},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) { wantChat(t, s, tt.viewer, tt.peer, tt.after, tt.limit, tt.want...) })
		}
		statements := tables.Statements(t, db)
		wantChat(t, s, ada, bob, last.CreateTime, 0)
		if statements.Load() != 1 {
			t.Errorf("an empty poll took %d statements", statements.Load())
		}
		for _, pair := range [][2]int64{{ada, ada}, {ada, 0}, {0, ada}, {ada, -bob}} {
			_, err := chat(t.Context(), s, pair[0], pair[1], 0, 0)
			if !errs.Is(err, errs.Invalid) || pair[0] == pair[1] && errs.Text(err) != "不能查看与自己的聊天记录！" {
				t.Errorf("Chat of %v returned %v", pair, err)
			}
		}
	})
}

func TestNewerAsksForAllChatsAtOnce(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(db, stopped)
		first := mustSend(t, s, ada, bob, "one").CreateTime
		last := mustSend(t, s, bob, ada, "two").CreateTime
		rows := []struct {
			name                string
			viewer, peer, after int64
			newer               bool
		}{
			{"before both", ada, bob, first - 1, true},
			{"between", ada, bob, first, true},
			{"after both", ada, bob, last, false},
			{"the other side", bob, ada, first, true},
			{"the other side, after both", bob, ada, last, false},
			{"no chat", ada, carol, 1, false},
		}
		var in pb.NewerRequest
		for _, row := range rows {
			in.Chats = append(in.Chats, &pb.NewerRequest_Chat{ViewerId: row.viewer, PeerId: row.peer, After: row.after})
		}
		statements := tables.Statements(t, db)
		var out pb.NewerResponse
		if err := s.Newer(t.Context(), &in, &out); err != nil || len(out.Newer) != len(rows) {
			t.Fatalf("%v, %v", out.Newer, err)
		}
		for i, row := range rows {
			if out.Newer[i] != row.newer {
				t.Errorf("%s: newer is %t", row.name, out.Newer[i])
			}
		}
		if n := statements.Load(); n != 1 {
			t.Errorf("%d statements, want 1", n)
		}
		for name, chats := range map[string][]*pb.NewerRequest_Chat{
			"nobody":   {{ViewerId: ada, After: 1}},
			"too many": slices.Repeat(in.Chats[:1], batch.Max+1),
		} {
			if err := s.Newer(t.Context(), &pb.NewerRequest{Chats: chats}, &out); !errs.Is(err, errs.Invalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := s.Newer(t.Context(), &pb.NewerRequest{Chats: slices.Repeat(in.Chats[:1], batch.Max)}, &out); err != nil || len(out.Newer) != batch.Max {
			t.Errorf("as many as may be: %d, %v", len(out.Newer), err)
		}
	})
}

func TestChatIsBounded(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(db, stopped)
		rows := make([]model.Message, 1002)
		for i := range rows {
			rows[i] = model.Message{ID: int64(i + 1), Low: ada, High: bob, CreateTime: int64(i + 1), FromUserID: bob, Content: "x"}
		}
		if err := db.CreateInBatches(rows, 500).Error; err != nil {
			t.Fatal(err)
		}
		for name, tt := range map[string]struct{ after, first, last int64 }{
			"the newest":       {0, 3, 1002},
			"the oldest after": {1, 2, 1001},
		} {
			messages, err := chat(t.Context(), s, ada, bob, tt.after, 5000)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(messages); n != 1000 || messages[0].CreateTime != tt.first || messages[n-1].CreateTime != tt.last {
				t.Errorf("%s: %d messages from %d to %d", name, n, messages[0].CreateTime, messages[n-1].CreateTime)
			}
		}
	})
}

func TestLatestIsTheLastOfEitherSideInOneStatement(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(db, stopped)
		mustSend(t, s, ada, bob, "to bob")
		fromBob := mustSend(t, s, bob, ada, "from bob")
		mustSend(t, s, carol, ada, "from carol")
		toCarol := mustSend(t, s, ada, carol, "to carol")
		mustSend(t, s, bob, carol, "none of ada's")

		statements := tables.Statements(t, db)
		many := []int64{bob, carol, ada, 7}
		for peer := int64(1000); len(many) < batch.Max; peer++ {
			many = append(many, peer)
		}
		got, err := latest(t.Context(), s, ada, many...)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 2 || got[bob].String() != fromBob.String() || got[carol].String() != toCarol.String() {
			t.Errorf("Latest returned %v, want %v and %v", got, fromBob, toCarol)
		}
		if statements.Load() != 1 {
			t.Errorf("it took %d statements", statements.Load())
		}
		if got, err := latest(t.Context(), s, ada); err != nil || len(got) != 0 || statements.Load() != 1 {
			t.Errorf("no peers: %v, %v, %d statements", got, err, statements.Load()-1)
		}
		if _, err := latest(t.Context(), s, ada, append(many, 8)...); !errs.Is(err, errs.Invalid) {
			t.Errorf("too many peers: %v", err)
		}
		if _, err := latest(t.Context(), s, 0, bob); !errs.Is(err, errs.Invalid) {
			t.Errorf("no viewer: %v", err)
		}
	})
}

func TestATakenIDIsDrawnAgain(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(db, stopped)
		now := time.Now()
		s.store.ids = id.NewGenerator(func() time.Time { return now })
		taken := s.store.ids.Next() + 1
		now = now.Add(-time.Hour) // a clock that went back makes the next id predictable
		theirs := model.Message{ID: taken, Low: 1, High: 2, CreateTime: 1, FromUserID: 1, Content: "theirs"}
		if err := db.Create(&theirs).Error; err != nil {
			t.Fatal(err)
		}
		got := mustSend(t, s, ada, bob, "mine")
		if got.Id != taken+1 || got.CreateTime != stopped().UnixMilli() {
			t.Errorf("Send returned %v, want id %d at %d", got, taken+1, stopped().UnixMilli())
		}
		wantChat(t, s, bob, ada, 0, 0, "mine")
	})
}

// Two devices of ada and one of bob write at once while bob polls from the last
// message he saw: he sees each of ada's once and in order.
func TestAPollingReaderLosesAndRepeatsNothing(t *testing.T) {
	const each = 40
	clocks := map[string]func() time.Time{"a running clock": time.Now, "a stopped clock": stopped}
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		for name, clock := range clocks {
			t.Run(name, func(t *testing.T) {
				s := newServer(db, clock)
				ada, bob := s.store.ids.Next(), s.store.ids.Next() // a pair of its own for each clock
				var writers sync.WaitGroup
				for device, pair := range [][2]int64{{ada, bob}, {ada, bob}, {bob, ada}} {
					writers.Go(func() {
						for i := range each {
							if _, err := send(t.Context(), s, pair[0], pair[1], fmt.Sprintf("%d/%d", device, i)); err != nil {
								t.Error(err)
							}
						}
					})
				}
				done := make(chan struct{})
				go func() {
					writers.Wait()
					close(done)
				}()
				var seen []*entity.Message
				cursor := int64(1)
				for ended := false; ; {
					page, err := chat(t.Context(), s, bob, ada, cursor, 7)
					if err != nil {
						t.Fatal(err)
					}
					seen = append(seen, page...)
					if len(page) > 0 {
						cursor = page[len(page)-1].CreateTime
					} else if ended {
						break // nothing came after the last writer had gone
					}
					select {
					case <-done:
						ended = true
					default:
					}
				}
				wantEachOnceInOrder(t, seen, ada, 2*each)
				all, err := chat(t.Context(), s, ada, bob, 0, 0)
				if err != nil {
					t.Fatal(err)
				}
				wantRising(t, all, 3*each)
			})
		}
	})
}

func wantEachOnceInOrder(t *testing.T, seen []*entity.Message, from int64, want int) {
	t.Helper()
	wantRising(t, seen, want)
	contents := map[string]bool{}
	for _, message := range seen {
		if message.FromUserId != from {
			t.Errorf("the reader got a message of their own: %v", message)
		}
		contents[message.Content] = true
	}
	if len(contents) != want {
		t.Errorf("%d different messages, want %d", len(contents), want)
	}
}

func wantRising(t *testing.T, messages []*entity.Message, want int) {
	t.Helper()
	if len(messages) != want {
		t.Errorf("%d messages, want %d", len(messages), want)
	}
	for i := 1; i < len(messages); i++ {
		if messages[i].CreateTime <= messages[i-1].CreateTime {
			t.Errorf("create_time %d follows %d", messages[i].CreateTime, messages[i-1].CreateTime)
		}
	}
}

// Whoever writes to whomever at once, the conversation's last message is the
// last of its messages.
func TestTheLastMessageIsTheLastOfTheChat(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s := newServer(db, stopped)
		var base int64
		rapid.Check(t, func(rt *rapid.T) {
			base += 1000
			const users = 3
			type step struct{ from, to int64 }
			steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
				from := rapid.IntRange(0, users-1).Draw(rt, "from")
				to := (from + rapid.IntRange(1, users-1).Draw(rt, "to")) % users
				return step{base + int64(from), base + int64(to)}
			}), 1, 10).Draw(rt, "steps")
			sent := map[step]int{}
			var group sync.WaitGroup
			for i, step := range steps {
				sent[step]++
				group.Go(func() {
					if _, err := send(t.Context(), s, step.from, step.to, fmt.Sprint(i)); err != nil {
						t.Error(err)
					}
				})
			}
			group.Wait()
			for viewer := base; viewer < base+users; viewer++ {
				last, err := latest(t.Context(), s, viewer, base, base+1, base+2)
				if err != nil {
					rt.Fatal(err)
				}
				for peer := base; peer < base+users; peer++ {
					if peer == viewer {
						continue
					}
					all, err := chat(t.Context(), s, viewer, peer, 0, 0)
					if err != nil {
						rt.Fatal(err)
					}
					if want := sent[step{viewer, peer}] + sent[step{peer, viewer}]; len(all) != want {
						rt.Fatalf("%d messages, want %d", len(all), want)
					}
					if len(all) == 0 {
						if last[peer] != nil {
							rt.Fatalf("the last of none is %v", last[peer])
						}
						continue
					}
					if newest := all[len(all)-1]; last[peer].String() != newest.String() {
						rt.Fatalf("the last message is %v, the newest %v", last[peer], newest)
					}
				}
			}
		})
	})
}

func BenchmarkSend(b *testing.B) {
	tables.EachBench(b, func(b *testing.B, db *gorm.DB) {
		s := newServer(db, time.Now)
		b.Run("one pair", func(b *testing.B) {
			b.RunParallel(func(loop *testing.PB) {
				for loop.Next() {
					if _, err := send(b.Context(), s, ada, bob, "在吗"); err != nil {
						b.Error(err)
					}
				}
			})
		})
		b.Run("many pairs", func(b *testing.B) {
			b.RunParallel(func(loop *testing.PB) {
				from := s.store.ids.Next()
				for loop.Next() {
					if _, err := send(b.Context(), s, from, bob, "在吗"); err != nil {
						b.Error(err)
					}
				}
			})
		})
	})
}

func BenchmarkEmptyPoll(b *testing.B) {
	tables.EachBench(b, func(b *testing.B, db *gorm.DB) {
		s := newServer(db, time.Now)
		last := mustSend(b, s, bob, ada, "在吗")
		b.ReportAllocs()
		for b.Loop() {
			if _, err := chat(b.Context(), s, ada, bob, last.CreateTime, 0); err != nil {
				b.Fatal(err)
			}
		}
	})
}
