package favorite

import (
	"slices"
	"testing"
	"time"

	"gorm.io/gorm"

	"backbeat/app/errs"
	"backbeat/test/harness/tables"
)

// What was seeded is read, taken back and counted as if it had been liked.
func TestSeededLikesAreLikes(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		w := newWorld(t, db, memoryPending())
		past := func() time.Time { return time.Now().Add(-time.Hour) }
		deps := Deps{DB: db, Now: past}
		const other = film + 1
		err := Seed(t.Context(), deps, slices.Values([]Like{{alice, film, carol}, {alice, other, carol}, {carol, film, carol}}))
		if err != nil {
			t.Fatal(err)
		}
		w.sees(t, "after the seed", alice, true)
		w.counts(t, "after the seed", 2, 3, 2)
		if got := w.list(t, alice); !slices.Equal(got, []int64{other, film}) {
			t.Errorf("alice's list is %v", got)
		}
		if !w.act(t, alice, film, carol, true) {
			t.Error("a seeded like could be given again")
		}
		w.act(t, alice, film, carol, false)
		w.drain(t)
		w.sees(t, "after the unlike", alice, false)
		w.counts(t, "after the unlike", 1, 2, 1)

		if err := Seed(t.Context(), deps, slices.Values([]Like{{7, 8, 9}, {carol, film, carol}})); !errs.Is(err, errs.Conflict) {
			t.Errorf("a like again: %v", err)
		}
		if stats := w.statsOf(t, []int64{8}, []int64{9}); len(flagsOf(t, w.Service, 7, 8)) > 0 || stats.Users[9].TotalFavorited != 0 {
			t.Errorf("half of the refused likes were written: %v", stats)
		}
	})
}
