package message

import (
	"slices"
	"testing"

	"gorm.io/gorm"

	"backbeat/app/errs"
	"backbeat/app/id"
	"backbeat/model"
	"backbeat/test/harness/tables"
)

// The clock stands still, so that only the store tells the messages apart.
func TestSeededChatsGoOn(t *testing.T) {
	const ann, ben, cat = int64(100), int64(101), int64(102)
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		deps := Deps{DB: db, IDs: id.NewGenerator(stopped), Now: stopped}
		err := Seed(t.Context(), deps, slices.Values([]Line{{ben, ann, "一"}, {ann, ben, "二"}, {ben, ann, "三"}, {cat, ann, "四"}}))
		if err != nil {
			t.Fatal(err)
		}
		s := newServer(db, stopped)
		wantChat(t, s, ann, ben, 0, 0, "一", "二", "三")
		wantChat(t, s, cat, ann, 0, 0, "四")
		last, err := latest(t.Context(), s, ann, ben, cat)
		if err != nil || last[ben].GetContent() != "三" || last[ben].GetFromUserId() != ben || last[cat].GetContent() != "四" {
			t.Errorf("the last messages are %v, %v", last, err)
		}
		next := mustSend(t, s, ann, ben, "五")
		if next.CreateTime <= last[ben].CreateTime {
			t.Errorf("a message at %d follows one at %d", next.CreateTime, last[ben].CreateTime)
		}
		wantChat(t, s, ben, ann, last[ben].CreateTime, 0, "五")
	})
}

func TestSeedWritesAllOrNone(t *testing.T) {
	tables.Each(t, func(t *testing.T, db *gorm.DB) {
		deps := Deps{DB: db, IDs: id.NewGenerator(stopped), Now: stopped}
		for name, row := range map[string]struct {
			lines []Line
			want  errs.Kind
		}{
			"to oneself":              {[]Line{{100, 101, "一"}, {100, 100, "二"}}, errs.Invalid},
			"to the system":           {[]Line{{100, 101, "一"}, {100, model.SystemUserID, "二"}}, errs.Invalid},
			"a pair that comes again": {[]Line{{100, 101, "一"}, {100, 102, "二"}, {101, 100, "三"}}, errs.Conflict},
		} {
			t.Run(name, func(t *testing.T) {
				if err := Seed(t.Context(), deps, slices.Values(row.lines)); !errs.Is(err, row.want) {
					t.Errorf("got %v", err)
				}
				var left int64
				if err := db.Model(&model.Message{}).Count(&left).Error; err != nil || left != 0 {
					t.Errorf("%d messages are left, %v", left, err)
				}
			})
		}
	})
}
