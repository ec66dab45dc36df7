package user

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"

	"backbeat/app/batch"
	"backbeat/app/errs"
	"backbeat/app/id"
	"backbeat/model"
	"backbeat/proto/entity"
	pb "backbeat/proto/user"
	"backbeat/test/harness"
	"backbeat/test/harness/tables"
)

// quick stands for the slow hashes, and counts the passwords that were hashed.
type quick struct{ hashed atomic.Int64 }

func (q *quick) Hash(_ context.Context, password string) (string, error) {
	q.hashed.Add(1)
	return fmt.Sprintf("%x", sha256.Sum256([]byte(password))), nil
}

func (q *quick) Verify(ctx context.Context, password, hash string) (bool, error) {
	own, err := q.Hash(ctx, password)
	return own == hash, err
}

// newServer returns a service, and how many passwords it had hashed.
func newServer(db *gorm.DB) (*Server, *atomic.Int64) {
	var passwords quick
	return New(Deps{DB: db, Passwords: &passwords, IDs: id.NewGenerator(time.Now), Now: time.Now}), &passwords.hashed
}

func register(tb testing.TB, s *Server, name, password string) (int64, error) {
	var out pb.RegisterResponse
	err := s.Register(tb.Context(), &pb.RegisterRequest{Name: name, Password: password}, &out)
	return out.UserId, err
}

func login(tb testing.TB, s *Server, name, password string) (int64, error) {
	var out pb.LoginResponse
	err := s.Login(tb.Context(), &pb.LoginRequest{Name: name, Password: password}, &out)
	return out.UserId, err
}

func TestRegisterChecksNameAndPassword(t *testing.T) {
	const (
		empty   = "用户名或密码不能为空"
		long    = "用户名或密码不能超过32位"
		strange = "用户名或密码含有无效字符"
	)
	tests := map[string]struct{ name, password, want string }{
		"as long as allowed":       {strings.Repeat("影", 32), strings.Repeat("密", 32), ""},
		"space around the longest": {" " + strings.Repeat("片", 32) + "\n", "p", ""},
		"emoji":                    {"🎬", "🔑", ""},
		"name too long":            {strings.Repeat("影", 33), "p", long},
		"password too long":        {"a", strings.Repeat("密", 33), long},
		"a megabyte":               {"a", strings.Repeat("p", 1<<20), long},
		"no name":                  {"", "p", empty},
		"blank name":               {" \t\u3000", "p", empty},
		"invisible name":           {"\u200b", "p", strange},
		"no password":              {"a", "", empty},
		"blank password":           {"a", "   ", empty},
		"NUL in the name":          {"a\x00b", "p", strange},
		"NUL in the password":      {"a", "p\x00", strange},
		"name not UTF-8":           {"a\xff", "p", strange},
		"password not UTF-8":       {"a", "\xc3\x28", strange},
	}
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s, hashed := newServer(db)
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				before := hashed.Load()
				userID, err := register(t, s, tt.name, tt.password)
				if tt.want == "" {
					if err != nil || userID <= 0 || userID > id.Max {
						t.Fatalf("Register returned %d, %v", userID, err)
					}
					if same, err := login(t, s, tt.name, tt.password); err != nil || same != userID {
						t.Errorf("Login returned %d, %v, want %d", same, err, userID)
					}
					return
				}
				if !errs.Is(err, errs.Invalid) || errs.Text(err) != tt.want || userID != 0 {
					t.Errorf("Register returned %d, %v, want %s", userID, err, tt.want)
				}
				if hashed.Load() != before {
					t.Error("a password was hashed for it")
				}
			})
		}
	})
}

func TestNamesThatLookAlikeAreOne(t *testing.T) {
	tests := map[string]struct{ taken, asked string }{
		"the same":                {"阿明", "阿明"},
		"case":                    {"Ada", "aDA"},
		"width":                   {"ｂｏｂ", "bob"},
		"space around":            {"carol", "  carol "},
		"zero-width space":        {"dave", "da\u200bve"},
		"composition":             {"é1", "e\u03011"},
		"the system account":      {"", model.SystemUserName},
		"its name in disguise":    {"", " 系统\u200d通知\ufe0f"},
		"a compatibility variant": {"㍿公司", "株式会社公司"},
	}
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s, _ := newServer(db)
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				if tt.taken != "" {
					if _, err := register(t, s, tt.taken, "p"); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := register(t, s, tt.asked, "p"); !errs.Is(err, errs.Conflict) || errs.Text(err) != "用户名已存在" {
					t.Errorf("registering %q after %q returned %v", tt.asked, tt.taken, err)
				}
			})
		}
		for _, name := range []string{"用户🎬", "用户👍", "用户", "用户🎬 2"} {
			if _, err := register(t, s, name, "p"); err != nil {
				t.Errorf("%q is a name of its own: %v", name, err)
			}
		}
	})
}

func TestParallelRegistrationsOfANameHaveOneWinner(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s, _ := newServer(db)
		for round := range 5 {
			names := []string{"racer%d", "RACER%d", " racer%d ", "ｒacer%d"}
			var winners, losers atomic.Int64
			var group sync.WaitGroup
			for i := range 16 {
				group.Go(func() {
					_, err := register(t, s, fmt.Sprintf(names[i%len(names)], round), "p")
					switch {
					case err == nil:
						winners.Add(1)
					case errs.Is(err, errs.Conflict):
						losers.Add(1)
					default:
						t.Error(err)
					}
				})
			}
			group.Wait()
			if winners.Load() != 1 || losers.Load() != 15 {
				t.Errorf("%d won, %d lost", winners.Load(), losers.Load())
			}
		}
	})
}

// Another instance may draw the same id in the same millisecond; that is no
// reason to say that the name is taken.
func TestATakenIDIsDrawnAgain(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s, _ := newServer(db)
		now := time.Now()
		s.store.ids = id.NewGenerator(func() time.Time { return now })
		taken := s.store.ids.Next() + 1
		now = now.Add(-time.Hour) // a clock that went back makes the next id predictable
		if err := db.Create(&model.User{ID: taken, Name: "other", NameKey: []byte("other")}).Error; err != nil {
			t.Fatal(err)
		}
		userID, err := register(t, s, "newcomer", "p")
		if err != nil || userID != taken+1 {
			t.Errorf("Register returned %d, %v, want %d", userID, err, taken+1)
		}
	})
}

func TestLoginTellsNothingApart(t *testing.T) {
	tests := map[string]struct {
		name, password string
		hashes         int64
	}{
		"unknown name":        {"bob", "secret", 1},
		"wrong password":      {"ada", "Secret", 1},
		"empty password":      {"ada", "", 1},
		"empty name":          {"", "secret", 1},
		"name not UTF-8":      {"ada\xff", "secret", 1},
		"NUL in the password": {"ada", "secret\x00", 1},
		"the system account":  {model.SystemUserName, "secret", 1},
		"without a password":  {model.SystemUserName, "", 1},
		"longest possible":    {strings.Repeat("影", 32), strings.Repeat("密", 32), 1},
		"name too long":       {strings.Repeat("a", 33), "secret", 0},
		"password too long":   {"ada", strings.Repeat("p", 1<<20), 0},
	}
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s, hashed := newServer(db)
		if _, err := register(t, s, "ada", "secret"); err != nil {
			t.Fatal(err)
		}
		statements := tables.Statements(t, db)
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				hashesBefore, statementsBefore := hashed.Load(), statements.Load()
				userID, err := login(t, s, tt.name, tt.password)
				if !errs.Is(err, errs.Unauthenticated) || errs.Text(err) != "用户名或密码错误" || userID != 0 {
					t.Errorf("Login returned %d, %v", userID, err)
				}
				hashes, queries := hashed.Load()-hashesBefore, statements.Load()-statementsBefore
				if hashes != tt.hashes || queries != tt.hashes {
					t.Errorf("it took %d hashes and %d statements, want %d of each", hashes, queries, tt.hashes)
				}
			})
		}
	})
}

func TestBatchGet(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s, _ := newServer(db)
		adaID, err := register(t, s, " Ada ", "p")
		if err != nil {
			t.Fatal(err)
		}
		bobID, err := register(t, s, "bob", "p")
		if err != nil {
			t.Fatal(err)
		}
		statements := tables.Statements(t, db)
		many := make([]int64, batch.Max+1)
		for i := range many {
			many[i] = int64(i + 1_000_000)
		}
		tests := map[string]struct {
			ids        []int64
			want       map[int64]string
			statements int64
		}{
			"both":             {[]int64{adaID, bobID}, map[int64]string{adaID: "Ada", bobID: "bob"}, 1},
			"twice":            {[]int64{adaID, adaID}, map[int64]string{adaID: "Ada"}, 1},
			"one of them gone": {[]int64{bobID, bobID + 1}, map[int64]string{bobID: "bob"}, 1},
			"the system":       {[]int64{model.SystemUserID}, map[int64]string{model.SystemUserID: model.SystemUserName}, 1},
			"none":             {nil, map[int64]string{}, 0},
			"as many":          {many[:batch.Max], map[int64]string{}, 1},
		}
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				before := statements.Load()
				var out pb.BatchGetResponse
				if err := s.BatchGet(t.Context(), &pb.BatchGetRequest{Ids: tt.ids}, &out); err != nil {
					t.Fatal(err)
				}
				if got := names(out.Users); fmt.Sprint(got) != fmt.Sprint(tt.want) || len(out.Users) != len(tt.want) {
					t.Errorf("got %v, want %v", got, tt.want)
				}
				if took := statements.Load() - before; took != tt.statements {
					t.Errorf("it took %d statements, want %d", took, tt.statements)
				}
			})
		}
		for name, ids := range map[string][]int64{"too many": many, "zero": {0}, "negative": {adaID, -1}} {
			t.Run(name, func(t *testing.T) {
				if err := s.BatchGet(t.Context(), &pb.BatchGetRequest{Ids: ids}, &pb.BatchGetResponse{}); !errs.Is(err, errs.Invalid) {
					t.Errorf("BatchGet returned %v", err)
				}
			})
		}
	})
}

func names(users []*entity.User) map[int64]string {
	names := map[int64]string{}
	for _, user := range users {
		names[user.Id] = user.Name
	}
	return names
}

func TestADatabaseThatIsGoneIsUnavailable(t *testing.T) {
	server := harness.PostgresServer(t)
	s, _ := newServer(tables.Open(t, server.URL))
	if _, err := register(t, s, "ada", "p"); err != nil {
		t.Fatal(err)
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := register(t, s, "bob", "p"); !errs.Is(err, errs.Unavailable) {
		t.Errorf("Register returned %v", err)
	}
	if _, err := login(t, s, "ada", "p"); !errs.Is(err, errs.Unavailable) {
		t.Errorf("Login returned %v", err)
	}
}
