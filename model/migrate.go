package model

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
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
	{"revocations", func(tx *gorm.DB) error { return tx.AutoMigrate(&Revocation{}) }},
	{"heartbeat", func(tx *gorm.DB) error {
		if err := tx.AutoMigrate(&Heartbeat{}); err != nil {
			return err
		}
		return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&Heartbeat{ID: heartbeatID}).Error
	}},
}

// SchemaMigration records a step that was applied.
type SchemaMigration struct {
	// Number counts from 1.
	Number    int    `gorm:"primaryKey;autoIncrement:false"`
	Name      string `gorm:"size:64;not null"`
	AppliedAt int64  `gorm:"not null"`
}

// Step is one step of the schema.
type Step struct {
	// Number counts from 1.
	Number int
	Name   string
	// Applied is when it was; zero for a step that is missing.
	Applied time.Time
}

// Steps returns the steps that this program knows and those that were applied, in
// order, and changes nothing. A database that a newer program has migrated has more
// than this one knows.
func Steps(ctx context.Context, db *gorm.DB) ([]Step, error) {
	db = db.WithContext(ctx)
	tables, err := db.Migrator().GetTables()
	if err != nil {
		return nil, fmt.Errorf("listing the tables: %w", err)
	}
	var applied []SchemaMigration
	if slices.Contains(tables, "schema_migrations") {
		if err := db.Order("number").Find(&applied).Error; err != nil {
			return nil, fmt.Errorf("reading the steps of the schema: %w", err)
		}
	}
	var steps []Step
	for _, done := range applied {
		steps = append(steps, Step{done.Number, done.Name, time.UnixMilli(done.AppliedAt).UTC()})
	}
	for i := len(applied); i < len(migrations); i++ {
		steps = append(steps, Step{Number: i + 1, Name: migrations[i].name})
	}
	return steps, nil
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
	if err := locked(db.WithContext(ctx), apply); err != nil {
		return fmt.Errorf("migrating the database: %w", err)
	}
	return nil
}

// locked runs fn while no other process does. On SQLite and PostgreSQL that is a
// transaction, so that a failed step undoes all; MySQL has no such thing for
// tables, its lock belongs to a connection.
func locked(db *gorm.DB, fn func(db *gorm.DB) error) error {
	switch db.Name() {
	case "mysql":
		return db.Connection(func(connection *gorm.DB) (err error) {
			connection = connection.Session(&gorm.Session{NewDB: true, Context: db.Statement.Context})
			var got sql.NullInt64
			if err := connection.Raw("SELECT GET_LOCK(?, ?)", lockName, lockWait).Scan(&got).Error; err != nil {
				return err
			}
			if got.Int64 != 1 {
				return fmt.Errorf("another process has been at it for %d s", lockWait)
			}
			defer func() { err = errors.Join(err, connection.Exec("DO RELEASE_LOCK(?)", lockName).Error) }()
			return fn(connection)
		})
	case "postgres":
		return db.Transaction(func(tx *gorm.DB) error {
			if err := tx.Exec("SELECT pg_advisory_xact_lock(?)", int64(lockKey)).Error; err != nil {
				return err
			}
			return fn(tx)
		})
	default:
		return db.Transaction(fn)
	}
}

func apply(db *gorm.DB) error {
	if db.Name() == "mysql" {
		db = db.Set("gorm:table_options", "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin").Session(&gorm.Session{})
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
