package model_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"backbeat/app/errs"
	"backbeat/app/text"
	"backbeat/model"
	"backbeat/test/harness"
)

// open connects to a fresh database that has not been migrated.
func open(t *testing.T, dsn string) *gorm.DB {
	t.Helper()
	db, err := model.Open(t.Context(), dsn, 8, harness.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := model.Close(db); err != nil {
			t.Error(err)
		}
	})
	return db
}

func onEach(t *testing.T, test func(t *testing.T, dsn string)) {
	for _, database := range harness.Databases() {
		t.Run(database.Name, func(t *testing.T) { test(t, database.Open(t)) })
	}
}

func TestProcessesMigrateTogether(t *testing.T) {
	onEach(t, func(t *testing.T, dsn string) {
		var group sync.WaitGroup
		for range 6 {
			db := open(t, dsn) // a pool of its own, as another process has
			group.Go(func() {
				if err := model.Migrate(t.Context(), db); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		db := open(t, dsn)
		var steps, users int64
		if err := db.Model(&model.SchemaMigration{}).Count(&steps).Error; err != nil {
			t.Fatal(err)
		}
		if err := db.Model(&model.User{}).Where("id = ? AND password_hash = ''", model.SystemUserID).Count(&users).Error; err != nil {
			t.Fatal(err)
		}
		if steps == 0 || users != 1 {
			t.Errorf("%d steps recorded, %d system accounts", steps, users)
		}
	})
}

func TestTextSurvivesAndUniquenessIsOurs(t *testing.T) {
	onEach(t, func(t *testing.T, dsn string) {
		db := open(t, dsn)
		if err := model.Migrate(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		for i, name := range []string{"用户🎬", "用户👍", "ß", "straße", "Ａlice", "a' OR 1=1 --"} {
			user := model.User{ID: int64(100 + i), Name: name, NameKey: text.Key(name), CreatedAt: 1}
			if err := db.Create(&user).Error; err != nil {
				t.Fatalf("%q: %v", name, err)
			}
			var read model.User
			if err := db.Where("name_key = ?", text.Key(name)).Take(&read).Error; err != nil || read.Name != name {
				t.Errorf("%q came back as %q, %v", name, read.Name, err)
			}
		}
		twin := model.User{ID: 200, Name: "alice", NameKey: text.Key("alice"), CreatedAt: 1}
		if err := model.Wrap(db.Create(&twin).Error, "creating"); !errs.Is(err, errs.Conflict) {
			t.Errorf("a second Ａlice: %v", err)
		}
		if err := model.Wrap(db.Where("id = ?", 999).Take(&model.User{}).Error, "reading"); !errs.Is(err, errs.NotFound) {
			t.Errorf("a missing row: %v", err)
		}
	})
}

// Statements that nobody has run before must get through when transactions hold
// every connection.
func TestStatementsDoNotWaitForEachOther(t *testing.T) {
	onEach(t, func(t *testing.T, dsn string) {
		db := open(t, dsn)
		if err := model.Migrate(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for round := range 30 {
			fresh := fmt.Sprintf("UPDATE comment_videos SET comments = comments WHERE video_id = 0 AND comments = %d", round)
			var group sync.WaitGroup
			for range 24 {
				group.Go(func() {
					if err := model.Transact(ctx, db, func(tx *gorm.DB) error { return tx.Exec(fresh).Error }); err != nil {
						t.Error(err)
					}
				})
				group.Go(func() {
					if err := db.WithContext(ctx).Exec(fresh).Error; err != nil {
						t.Error(err)
					}
				})
			}
			group.Wait()
			if t.Failed() {
				return
			}
		}
	})
}

// Writers that lock two rows in opposite order must all get through.
func TestTransactOutlastsDeadlocks(t *testing.T) {
	onEach(t, func(t *testing.T, dsn string) {
		db := open(t, dsn)
		if err := model.Migrate(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		for id := int64(1); id <= 2; id++ {
			if err := db.Create(&model.CommentVideo{VideoID: id}).Error; err != nil {
				t.Fatal(err)
			}
		}
		const writers, rounds = 2, 5 // PostgreSQL looks for a deadlock after a second
		add := func(tx *gorm.DB, id int64) error {
			return tx.Model(&model.CommentVideo{}).Where("video_id = ?", id).Update("comments", gorm.Expr("comments + 1")).Error
		}
		var group sync.WaitGroup
		for writer := range writers {
			group.Go(func() {
				first := int64(1 + writer%2)
				for range rounds {
					err := model.Transact(t.Context(), db, func(tx *gorm.DB) error {
						if err := add(tx, first); err != nil {
							return err
						}
						return add(tx, 3-first)
					})
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		group.Wait()
		var rows []model.CommentVideo
		if err := db.Order("video_id").Find(&rows).Error; err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			if row.Comments != writers*rounds {
				t.Errorf("row %d counts %d, want %d", row.VideoID, row.Comments, writers*rounds)
			}
		}
	})
}

func TestADatabaseThatIsAwayIsUnavailable(t *testing.T) {
	server := harness.MariaDBServer(t)
	db := open(t, server.URL)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	err := model.Wrap(db.WithContext(t.Context()).Exec("SELECT 1").Error, "asking")
	if !errs.Is(err, errs.Unavailable) {
		t.Errorf("got %v", err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 10*time.Second, func() error { return db.Exec("SELECT 1").Error }, "the pool reconnects")
}

func TestOpenRefusesNonsenseAndStopsWaiting(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for _, row := range []struct{ name, dsn, want string }{
		{"unknown kind", "oracle://bob:hush@db/x", "unknown kind"},
		{"no address", "mysql://bob:hush@:%zz/x", "mysql://USER"},
		{"nobody there", "mysql://bob:hush@127.0.0.1:1/x", "does not answer"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := model.Open(ctx, row.dsn, 1, harness.Logger(t))
			if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "hush") {
				t.Errorf("got %v", err)
			}
		})
	}
}
