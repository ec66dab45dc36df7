package comment

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

func TestSeedWritesAllOrNoneAndCounts(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		deps := Deps{DB: db, IDs: id.NewGenerator(time.Now), Now: time.Now}
		rows := func() (comments []model.Comment, counts map[int64]int64) {
			var counters []model.CommentVideo
			if err := db.Order("id").Find(&comments).Error; err != nil {
				t.Fatal(err)
			}
			if err := db.Find(&counters).Error; err != nil {
				t.Fatal(err)
			}
			counts = map[int64]int64{}
			for _, c := range counters {
				counts[c.VideoID] = c.Comments
			}
			return comments, counts
		}
		texts := []Text{{ada, 7, "一"}, {bob, 8, "二👍"}, {bob, 7, "三"}}
		if err := Seed(t.Context(), deps, slices.Values(texts)); err != nil {
			t.Fatal(err)
		}
		comments, counts := rows()
		if len(comments) != 3 || counts[7] != 2 || counts[8] != 1 {
			t.Fatalf("%d comments, counted %v", len(comments), counts)
		}
		for i, c := range comments {
			if (Text{c.UserID, c.VideoID, c.Content}) != texts[i] || c.CreatedAt == 0 {
				t.Errorf("comment %d is %+v", i, c)
			}
		}
		if err := Seed(t.Context(), deps, slices.Values([]Text{{ada, 9, "四"}, {ada, 7, "五"}})); !errs.Is(err, errs.Conflict) {
			t.Errorf("a video that is counted already: %v", err)
		}
		if comments, _ := rows(); len(comments) != 3 {
			t.Errorf("%d comments after a refusal", len(comments))
		}
	})
}
