package user

import (
	"context"
	"iter"

	"gorm.io/gorm"

	"backbeat/app/text"
	"backbeat/model"
)

// Empty reports whether there is no account but the system's.
func Empty(ctx context.Context, db *gorm.DB) (bool, error) {
	var ids []int64
	err := db.WithContext(ctx).Model(&model.User{}).Where("id <> ?", model.SystemUserID).Limit(1).Pluck("id", &ids).Error
	return len(ids) == 0, model.Wrap(err, "looking for accounts")
}

// Seed registers the names in bulk, all or none, and returns their ids in the
// same order. All have the one password, hashed once, so it is for accounts that
// guard nothing. Each is registered at what Deps.Now says when its turn comes. A
// taken name is a Conflict.
func Seed(ctx context.Context, deps Deps, password string, names iter.Seq[string]) ([]int64, error) {
	hash, err := deps.Passwords.Hash(ctx, password)
	if err != nil {
		return nil, err
	}
	var ids []int64
	// Not Transact: a stream can't be run again, and nobody contends for a database
	// that is being filled.
	err = deps.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		users := model.NewBulk[model.User](tx)
		for name := range names {
			if err := check(name, password); err != nil {
				return err
			}
			user := model.User{
				ID: deps.IDs.Next(), Name: name, NameKey: text.Key(name), PasswordHash: hash, CreatedAt: deps.Now().UnixMilli(),
			}
			if err := users.Add(user); err != nil {
				return err
			}
			ids = append(ids, user.ID)
		}
		return users.Flush()
	})
	return ids, model.Wrap(err, "registering users in bulk")
}
