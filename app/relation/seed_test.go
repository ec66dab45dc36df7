package relation

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

func TestSeedFollowsAllOrNoneAndCounts(t *testing.T) {
	const ann, ben, cat = int64(100), int64(101), int64(102)
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		deps := Deps{DB: db, IDs: id.NewGenerator(time.Now)}
		for name, row := range map[string]struct {
			pairs []Pair
			want  errs.Kind
		}{
			"oneself":    {[]Pair{{ann, ben}, {ann, ann}}, errs.Invalid},
			"the system": {[]Pair{{ann, ben}, {ann, model.SystemUserID}}, errs.Invalid},
			"twice":      {[]Pair{{ann, ben}, {cat, ben}, {ann, ben}}, errs.Conflict},
		} {
			t.Run(name, func(t *testing.T) {
				if err := Seed(t.Context(), deps, slices.Values(row.pairs)); !errs.Is(err, row.want) {
					t.Errorf("got %v", err)
				}
				var left int64
				if err := db.Model(&model.Follow{}).Count(&left).Error; err != nil || left != 0 {
					t.Errorf("%d follows are left, %v", left, err)
				}
			})
		}
		if err := Seed(t.Context(), deps, slices.Values([]Pair{{ann, ben}, {ann, cat}, {ben, ann}})); err != nil {
			t.Fatal(err)
		}
		var counts []model.FollowUser
		if err := db.Order("user_id").Find(&counts).Error; err != nil {
			t.Fatal(err)
		}
		if want := []model.FollowUser{{UserID: ann, Follows: 2, Followers: 1}, {UserID: ben, Follows: 1, Followers: 1}, {UserID: cat, Followers: 1}}; !slices.Equal(counts, want) {
			t.Errorf("counted %v, want %v", counts, want)
		}
		var latest []int64
		if err := db.Model(&model.Follow{}).Where("follower_id = ?", ann).Order("seq DESC").Pluck("followee_id", &latest).Error; err != nil || !slices.Equal(latest, []int64{cat, ben}) {
			t.Errorf("ann follows %v, %v; want the latest first", latest, err)
		}
	})
}
