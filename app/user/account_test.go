package user

import (
	"testing"

	"gorm.io/gorm"

	"backbeat/app/errs"
	"backbeat/model"
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
		if err := SetPassword(t.Context(), db, &quick{}, account, "new"); err != nil {
			t.Fatal(err)
		}
		if _, err := login(t, s, "alice", "old"); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("the old password: %v", err)
		}
		if got, err := login(t, s, "alice", "new"); err != nil || got != id {
			t.Errorf("the new password: %d, %v", got, err)
		}
		if err := SetPassword(t.Context(), db, &quick{}, account, " "); !errs.Is(err, errs.Invalid) {
			t.Errorf("a blank password: %v", err)
		}
		system, err := Find(t.Context(), db, model.SystemUserName)
		if err != nil {
			t.Fatal(err)
		}
		if err := SetPassword(t.Context(), db, &quick{}, system, "new"); !errs.Is(err, errs.Invalid) {
			t.Errorf("the system account: %v", err)
		}
	})
}
