package user

import (
	"context"
	"strconv"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"backbeat/app/errs"
	"backbeat/app/text"
	"backbeat/model"
)

// Find returns the account with the name, or with the id if no name fits; NotFound
// when there is none. It is for an operator.
func Find(ctx context.Context, db *gorm.DB, name string) (model.User, error) {
	var rows []model.User
	err := db.WithContext(ctx).Where("name_key = ?", text.Key(name)).Limit(1).Find(&rows).Error
	if id, number := strconv.ParseInt(name, 10, 64); err == nil && len(rows) == 0 && number == nil {
		err = db.WithContext(ctx).Where("id = ?", id).Limit(1).Find(&rows).Error
	}
	if err == nil && len(rows) == 0 {
		err = errs.New(errs.NotFound, "用户不存在")
	}
	if err != nil {
		return model.User{}, model.Wrap(err, "looking for the account %q", name)
	}
	return rows[0], nil
}

// SetPassword gives the account a password. Invalid for one that could not be
// registered, and for the system account, which nobody logs in to. Tokens that were
// issued before are revoked.
func SetPassword(ctx context.Context, db *gorm.DB, passwords Passwords, account model.User, password string, now func() time.Time) error {
	if account.ID == model.SystemUserID {
		return errs.New(errs.Invalid, "系统账号不能登录")
	}
	if err := check(account.Name, password); err != nil {
		return err
	}
	hash, err := passwords.Hash(ctx, password)
	if err != nil {
		return err
	}
	err = db.WithContext(ctx).Model(&model.User{}).Where("id = ?", account.ID).Update("password_hash", hash).Error
	if err != nil {
		return model.Wrap(err, "setting the password of user %d", account.ID)
	}
	// Only now: whoever has still got in by the old password began before.
	return Revoke(ctx, db, account, now())
}

// Revoke ends the sessions of the account that began before the time. Gateways know
// it within seconds.
func Revoke(ctx context.Context, db *gorm.DB, account model.User, before time.Time) error {
	row := model.Revocation{UserID: account.ID, At: before.UnixMilli()}
	err := db.WithContext(ctx).Clauses(clause.OnConflict{UpdateAll: true}).Create(&row).Error
	return model.Wrap(err, "revoking the tokens of user %d", account.ID)
}

// Keys yields the media keys that accounts use, reading a bounded number of rows at
// a time.
func Keys(ctx context.Context, db *gorm.DB, yield func(keys ...string)) error {
	var rows []model.User
	err := db.WithContext(ctx).Select("id", "avatar", "background_image").Where("avatar <> '' OR background_image <> ''").
		FindInBatches(&rows, 1000, func(*gorm.DB, int) error {
			for _, row := range rows {
				yield(row.Avatar, row.BackgroundImage)
			}
			return nil
		}).Error
	return model.Wrap(err, "reading the media keys of accounts")
}
