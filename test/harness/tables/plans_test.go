package tables

import (
	"testing"

	"gorm.io/gorm"

	"backbeat/model"
)

func TestScansAreSeen(t *testing.T) {
	Each(t, func(t *testing.T, db *gorm.DB) {
		rows := model.NewBulk[model.FollowUser](db)
		for n := range int64(3000) {
			if err := rows.Add(model.FollowUser{UserID: n + 1, Follows: n}); err != nil {
				t.Fatal(err)
			}
		}
		if err := rows.Flush(); err != nil {
			t.Fatal(err)
		}
		for _, row := range []struct {
			name  string
			where string
			seen  bool
		}{
			{"by key", "user_id = ?", false},
			{"by another column", "follows = ?", true},
			{"by what an index can't find", "user_id + 1 = ?", true},
		} {
			t.Run(row.name, func(t *testing.T) {
				faults := scans(t, db, func() {
					var found []model.FollowUser
					if err := db.Where(row.where, 7).Find(&found).Error; err != nil {
						t.Error(err)
					}
				})
				if (len(faults) > 0) != row.seen {
					t.Errorf("%q", faults)
				}
			})
		}
		if len(scans(t, db, func() {})) == 0 {
			t.Error("nothing was asked, and that was fine")
		}
	})
}
