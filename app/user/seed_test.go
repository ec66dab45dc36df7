package user

import (
	"slices"
	"testing"
	"time"

	"gorm.io/gorm"

	"backbeat/app/errs"
	"backbeat/app/id"
	"backbeat/model"
	"backbeat/test/harness/tables"
)

func TestSeededUsersLogIn(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		deps := Deps{DB: db, Passwords: &quick{}, IDs: id.NewGenerator(time.Now), Now: time.Now}
		if empty, err := Empty(t.Context(), db); err != nil || !empty {
			t.Fatalf("a fresh database is empty: %t, %v", empty, err)
		}
		ids, err := Seed(t.Context(), deps, "pass1234", slices.Values([]string{"Ａnn", "bob"}))
		if err != nil || len(ids) != 2 || ids[0] >= ids[1] {
			t.Fatalf("got %v, %v", ids, err)
		}
		s := New(deps)
		for name, want := range map[string]int64{"ann": ids[0], "BOB": ids[1]} {
			if got, err := login(t, s, name, "pass1234"); err != nil || got != want {
				t.Errorf("%s logs in as %d, %v; want %d", name, got, err, want)
			}
		}
		if _, err := login(t, s, "bob", "pass12345"); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("a wrong password: %v", err)
		}
		if _, err := register(t, s, "ANN", "x"); !errs.Is(err, errs.Conflict) {
			t.Errorf("registering a seeded name: %v", err)
		}
		if empty, err := Empty(t.Context(), db); err != nil || empty {
			t.Errorf("a seeded database is empty: %t, %v", empty, err)
		}
	})
}

func TestSeedRegistersAllOrNone(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		deps := Deps{DB: db, Passwords: &quick{}, IDs: id.NewGenerator(time.Now), Now: time.Now}
		for name, row := range map[string]struct {
			names []string
			want  errs.Kind
		}{
			"a name twice":      {[]string{"carol", "dave", "CAROL"}, errs.Conflict},
			"the system's name": {[]string{"erin", model.SystemUserName}, errs.Conflict},
			"no name":           {[]string{"frank", ""}, errs.Invalid},
		} {
			t.Run(name, func(t *testing.T) {
				if _, err := Seed(t.Context(), deps, "pass1234", slices.Values(row.names)); !errs.Is(err, row.want) {
					t.Errorf("got %v", err)
				}
				if empty, err := Empty(t.Context(), db); err != nil || !empty {
					t.Errorf("some were registered: %v", err)
				}
			})
		}
	})
}
