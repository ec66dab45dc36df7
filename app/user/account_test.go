package user

import (
	"testing"
	"time"

	"gorm.io/gorm"

	"backbeat/app/errs"
	"backbeat/model"
	pb "backbeat/proto/user"
	"backbeat/test/harness/tables"
)

func TestFindTakesNameOrID(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s, _ := newServer(db)
		id, err := register(t, s, "Ａlice🎬", "p")
		if err != nil {
			t.Fatal(err)
		}
		numbered, err := register(t, s, "1", "p") // a name that is the system account's id
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range []struct {
			name, asked string
			want        int64
		}{
			{"a name", "alice🎬", id},
			{"a name that looks like an id", "1", numbered},
			{"nobody", "bob", 0},
			{"no id", "99", 0},
		} {
			found, err := Find(t.Context(), db, row.asked)
			if found.ID != row.want || (row.want == 0) != errs.Is(err, errs.NotFound) {
				t.Errorf("%s: got %d, %v", row.name, found.ID, err)
			}
		}
	})
}

func TestSetPassword(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s, _ := newServer(db)
		id, err := register(t, s, "alice", "old")
		if err != nil {
			t.Fatal(err)
		}
		account, err := Find(t.Context(), db, "alice")
		if err != nil {
			t.Fatal(err)
		}
		if err := SetPassword(t.Context(), db, &quick{}, account, "new", time.Now); err != nil {
			t.Fatal(err)
		}
		if _, err := login(t, s, "alice", "old"); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("the old password: %v", err)
		}
		if got, err := login(t, s, "alice", "new"); err != nil || got != id {
			t.Errorf("the new password: %d, %v", got, err)
		}
		if err := SetPassword(t.Context(), db, &quick{}, account, " ", time.Now); !errs.Is(err, errs.Invalid) {
			t.Errorf("a blank password: %v", err)
		}
		system, err := Find(t.Context(), db, model.SystemUserName)
		if err != nil {
			t.Fatal(err)
		}
		if err := SetPassword(t.Context(), db, &quick{}, system, "new", time.Now); !errs.Is(err, errs.Invalid) {
			t.Errorf("the system account: %v", err)
		}
	})
}

// Revocations come oldest first, the latest of each account, some at a time.
func TestRevocations(t *testing.T) {
	const at = 1_700_000_000_000
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s, _ := newServer(db)
		revoke := func(user, at int64) {
			t.Helper()
			if err := Revoke(t.Context(), db, model.User{ID: user}, time.UnixMilli(at)); err != nil {
				t.Fatal(err)
			}
		}
		revoke(7, at)
		revoke(8, at+1)
		revoke(7, at+2)
		var many []model.Revocation
		for i := range int64(maxRevocations) {
			many = append(many, model.Revocation{UserID: 100 + i, At: at + 10 + i})
		}
		if err := db.CreateInBatches(many, 500).Error; err != nil {
			t.Fatal(err)
		}
		for _, row := range []struct {
			name        string
			from        int64
			count       int
			first, last int64
		}{
			{"as many as are told at a time", 0, maxRevocations, 8, 100 + maxRevocations - 3},
			{"the rest", at + 10 + maxRevocations - 3, 3, 100 + maxRevocations - 3, 100 + maxRevocations - 1},
			{"an account's latest alone", at + 2, maxRevocations, 7, 100 + maxRevocations - 2},
		} {
			var out pb.RevocationsResponse
			if err := s.Revocations(t.Context(), &pb.RevocationsRequest{From: row.from}, &out); err != nil {
				t.Fatal(err)
			}
			got := out.Revocations
			if len(got) != row.count || got[0].UserId != row.first || got[len(got)-1].UserId != row.last {
				t.Errorf("%s: %d, from %v to %v", row.name, len(got), got[0], got[len(got)-1])
			}
		}
		var none pb.RevocationsResponse
		if err := s.Revocations(t.Context(), &pb.RevocationsRequest{From: at * 2}, &none); err != nil || len(none.Revocations) != 0 {
			t.Errorf("of the future: %v, %v", &none, err)
		}
	})
}

// Whoever logs in while the password is changed holds a token from before.
func TestSetPasswordRevokesWhatCameBefore(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		s, _ := newServer(db)
		id, err := register(t, s, "alice", "old")
		if err != nil {
			t.Fatal(err)
		}
		at := time.UnixMilli(1_700_000_000_000)
		changed := func() time.Time { // is asked when the old password opens nothing more
			if _, err := login(t, s, "alice", "old"); !errs.Is(err, errs.Unauthenticated) {
				t.Errorf("the old password when tokens are revoked: %v", err)
			}
			return at
		}
		if err := SetPassword(t.Context(), db, &quick{}, model.User{ID: id, Name: "alice"}, "new", changed); err != nil {
			t.Fatal(err)
		}
		var out pb.RevocationsResponse
		if err := s.Revocations(t.Context(), &pb.RevocationsRequest{}, &out); err != nil {
			t.Fatal(err)
		}
		if got := out.Revocations; len(got) != 1 || got[0].UserId != id || got[0].IssuedBefore != at.UnixMilli() {
			t.Errorf("revoked is %v", got)
		}
	})
}
