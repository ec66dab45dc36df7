package user

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"

	"backbeat/app/errs"
	"backbeat/app/id"
	"backbeat/app/text"
	"backbeat/model"
)

// draws bounds how often an id is drawn for one row. Two instances collide about
// once in 4,096 rows of the same millisecond.
const draws = 5

// store is the table users. Who logs in or takes a name asks the primary; cards are the
// reads that may be late.
type store struct {
	db  *gorm.DB
	ids *id.Generator
	now func() time.Time
}

// create inserts an account and returns its id; Conflict when the name is taken.
func (s *store) create(ctx context.Context, name, passwordHash string) (int64, error) {
	row := model.User{Name: name, NameKey: text.Key(name), PasswordHash: passwordHash, CreatedAt: s.now().UnixMilli()}
	var err error
	for range draws {
		row.ID = s.ids.Next()
		err = s.db.WithContext(ctx).Create(&row).Error
		if !errors.Is(err, gorm.ErrDuplicatedKey) {
			break
		}
		// The databases do not say alike which key it was, so look for the name.
		holder, lookup := s.credentials(ctx, name)
		if lookup != nil {
			return 0, lookup
		}
		if holder.ID != 0 {
			return 0, errs.New(errs.Conflict, "用户名已存在")
		}
	}
	return row.ID, model.Wrap(err, "creating user %d", row.ID)
}

// credentials returns the id and the password hash of the account with the name;
// both are zero when there is none.
func (s *store) credentials(ctx context.Context, name string) (model.User, error) {
	var row model.User
	err := s.db.WithContext(ctx).Select("id", "password_hash").Where("name_key = ?", text.Key(name)).Limit(1).Find(&row).Error
	return row, model.Wrap(err, "looking up an account by name")
}

// maxRevocations is how many are returned at a time.
const maxRevocations = 1000

// revocations returns the oldest since the time, in Unix milliseconds. Late they would
// let in whom they shut out.
func (s *store) revocations(ctx context.Context, from int64) ([]model.Revocation, error) {
	var rows []model.Revocation
	err := s.db.WithContext(ctx).Where("at >= ?", from).Order("at, user_id").Limit(maxRevocations).Find(&rows).Error
	return rows, model.Wrap(err, "reading revocations")
}

// byIDs returns the users with the ids, without their password hashes. Who is there
// stays and does not change, so a late card is right; who is missing may be new.
func (s *store) byIDs(ctx context.Context, ids []int64) (rows []model.User, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	err = model.Late(ctx, s.db, func(db *gorm.DB) error {
		err := db.Select("id", "name", "avatar", "background_image", "signature").Where("id IN ?", ids).Find(&rows).Error
		if err == nil && len(rows) < len(ids) {
			err = model.ErrMissing
		}
		return err
	})
	return rows, model.Wrap(err, "reading %d users", len(ids))
}
