package favorite

import (
	"iter"
	"testing"
	"time"

	"gorm.io/gorm"

	"backbeat/test/harness/tables"
)

// No query of the hot paths reads a table from end to end.
func TestQueriesUseIndexes(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		w := newWorld(t, db, memoryPending())
		must(t, Seed(t.Context(), Deps{DB: db, Now: time.Now}, crowd(100, 40)))
		tables.Indexed(t, db, func() {
			w.act(t, alice, film, carol, false)
			w.drain(t)
			w.act(t, alice, film, carol, true)
			w.list(t, alice)
			w.statsOf(t, []int64{film, clip}, []int64{alice, carol})
			flagsOf(t, w.other, alice, film, clip)
			_, err := w.store.rowsAmong(t.Context(), []wanted{{alice, []int64{film, clip}}, {bob, []int64{clip}}})
			must(t, err)
		})
	})
}

// crowd are likes of so many users for so many videos, alice and film the first.
func crowd(users, videos int64) iter.Seq[Like] {
	return func(yield func(Like) bool) {
		for user := range users {
			for video := range videos {
				if !yield(Like{alice + user, film + video, carol}) {
					return
				}
			}
		}
	}
}
