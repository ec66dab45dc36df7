package model

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"backbeat/app/text"
)

// migration is one step of the schema. Steps are never changed once released;
// a new need is a new step at the end. Each must do nothing harmful when an
// earlier run of it stopped in the middle: MySQL can't undo a CREATE TABLE.
type migration struct {
	name string
	up   func(tx *gorm.DB) error
}

var migrations = []migration{
	{"tables", func(tx *gorm.DB) error {
		return tx.AutoMigrate(
			&User{},
			&Video{}, &VideoAuthor{},
			&Favorite{}, &FavoriteVideo{}, &FavoriteUser{},
			&Comment{}, &CommentVideo{},
			&Follow{}, &FollowUser{},
			&Message{}, &Conversation{},
			&QueueMessage{}, &QueueLease{},
		)
	}},
	{"system account", func(tx *gorm.DB) error {
		return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&User{
			ID: SystemUserID, Name: SystemUserName, NameKey: text.Key(SystemUserName),
			Signature: "这里会告诉你作品的处理结果", CreatedAt: time.Now().UnixMilli(),
		}).Error
	}},
}

// SchemaMigration records a step that was applied.
type SchemaMigration struct {
	// Number counts from 1.
	Number    int    `gorm:"primaryKey;autoIncrement:false"`
	Name      string `gorm:"size:64;not null"`
	AppliedAt int64  `gorm:"not null"`
}

const (
	lockName = "backbeat.migrate"
	// lockKey is lockName for PostgreSQL, which locks numbers.
	lockKey = 0x6261636b62656174
	// lockWait bounds the wait for another process's migrations, in seconds.
	lockWait = 60
)

// Migrate applies the steps that are missing, in order, under a lock of the
// database: of several processes that start at once one works, the others wait
// and find nothing to do.
func Migrate(ctx context.Context, db *gorm.DB) error {
	db = db.WithContext(ctx)
	var err error
	if db.Name() == "sqlite" {
		// A transaction is SQLite's lock; a failed step undoes them all.
		err = db.Transaction(apply)
	} else {
		// The lock belongs to its connection, so one is kept for it.
		err = db.Connection(func(connection *gorm.DB) error {
			unlock, err := lock(connection)
			if err != nil {
				return fmt.Errorf("taking the lock: %w", err)
			}
			defer unlock()
			return apply(connection)
		})
	}
	if err != nil {
		return fmt.Errorf("migrating the database: %w", err)
	}
	return nil
}

func apply(db *gorm.DB) error {
	if db.Name() == "mysql" {
		db = db.Set("gorm:table_options", "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin")
	}
	if err := db.AutoMigrate(&SchemaMigration{}); err != nil {
		return fmt.Errorf("its own table: %w", err)
	}
	var done int64
	if err := db.Model(&SchemaMigration{}).Count(&done).Error; err != nil {
		return err
	}
	for i := int(done); i < len(migrations); i++ {
		step := migrations[i]
		if err := step.up(db); err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, step.name, err)
		}
		record := SchemaMigration{Number: i + 1, Name: step.name, AppliedAt: time.Now().UnixMilli()}
		if err := db.Create(&record).Error; err != nil {
			return fmt.Errorf("recording step %d: %w", i+1, err)
		}
	}
	return nil
}

// lock keeps other processes out of a server's schema until unlock is called.
func lock(db *gorm.DB) (unlock func(), err error) {
	if db.Name() == "mysql" {
		var got sql.NullInt64
		if err := db.Raw("SELECT GET_LOCK(?, ?)", lockName, lockWait).Scan(&got).Error; err != nil {
			return nil, err
		}
		if got.Int64 != 1 {
			return nil, fmt.Errorf("another process has been migrating for %d s", lockWait)
		}
		return func() { db.Exec("DO RELEASE_LOCK(?)", lockName) }, nil
	}
	if err := db.Exec("SELECT pg_advisory_lock(?)", int64(lockKey)).Error; err != nil {
		return nil, err
	}
	return func() { db.Exec("SELECT pg_advisory_unlock(?)", int64(lockKey)) }, nil
}
