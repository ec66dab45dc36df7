package model_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"gorm.io/gorm"

	"backbeat/model"
	"backbeat/test/harness"
)

// lag is what these tests allow a replica: enough for a machine that does much else.
const lag = 2 * time.Second

// replicated is a database with a replica, as a process has it.
type replicated struct {
	harness.Replicated
	db      *gorm.DB
	metrics *prometheus.Registry
}

func onEachReplicated(t *testing.T, test func(t *testing.T, r *replicated)) {
	for _, kind := range harness.Replications() {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			test(t, newReplicated(t, kind.Start(t)))
		})
	}
}

func newReplicated(t *testing.T, servers harness.Replicated) *replicated {
	t.Helper()
	r := &replicated{servers, open(t, servers.Primary.URL), prometheus.NewRegistry()}
	if err := model.Migrate(t.Context(), r.db); err != nil {
		t.Fatal(err)
	}
	err := model.Replicate(r.db, model.ReplicaConfig{DSNs: []string{servers.Replica.URL}, MaxOpen: 4, Lag: lag},
		model.ReplicaDeps{Log: harness.Logger(t), Metrics: r.metrics})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// port asks which server answers.
func port(db *gorm.DB) (port string, err error) {
	statement := "SELECT CAST(@@port AS CHAR)"
	if db.Name() == "postgres" {
		statement = "SELECT CAST(current_setting('port') AS TEXT)"
	}
	return port, db.Raw(statement).Scan(&port).Error
}

func portOf(t *testing.T, dsn string) string {
	t.Helper()
	at, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return at.Port()
}

// answeredBy returns an error unless the server with the DSN answers a late read.
func (r *replicated) answeredBy(t *testing.T, dsn string) error {
	t.Helper()
	var by string
	err := model.Late(t.Context(), r.db, func(db *gorm.DB) (err error) { by, err = port(db); return err })
	if err != nil {
		t.Errorf("a read that may be late fails: %v", err) // whatever becomes of the replica
	}
	if want := portOf(t, dsn); by != want {
		return fmt.Errorf("port %s answered, want %s", by, want)
	}
	return nil
}

func (r *replicated) used(t *testing.T) {
	t.Helper()
	harness.Eventually(t, 30*time.Second, func() error { return r.answeredBy(t, r.Replica.URL) }, "the replica is used")
}

func TestLateReadsGoToTheReplicaAndNothingElse(t *testing.T) {
	onEachReplicated(t, func(t *testing.T, r *replicated) {
		r.used(t)
		primary := portOf(t, r.Primary.URL)
		t.Run("other reads", func(t *testing.T) {
			if by, err := port(r.db.WithContext(t.Context())); err != nil || by != primary {
				t.Errorf("port %s, %v", by, err)
			}
		})
		t.Run("in a transaction", func(t *testing.T) {
			err := model.Transact(t.Context(), r.db, func(tx *gorm.DB) error {
				return model.Late(t.Context(), tx, func(db *gorm.DB) error {
					by, err := port(db)
					if by != primary {
						t.Errorf("port %s answered", by)
					}
					return err
				})
			})
			if err != nil {
				t.Error(err)
			}
		})
		t.Run("what is not there yet", func(t *testing.T) {
			r.Pause(t)
			defer r.Resume(t)
			if err := r.db.Create(&model.CommentVideo{VideoID: 7, Comments: 1}).Error; err != nil {
				t.Fatal(err)
			}
			var row model.CommentVideo
			err := model.Late(t.Context(), r.db, func(db *gorm.DB) error { return db.Where("video_id = ?", 7).Take(&row).Error })
			if err != nil || row.Comments != 1 {
				t.Errorf("the primary's row is %+v, %v", row, err)
			}
		})
		t.Run("a write", func(t *testing.T) {
			err := model.Late(t.Context(), r.db, func(db *gorm.DB) error { return db.Create(&model.CommentVideo{VideoID: 8}).Error })
			if err != nil {
				t.Errorf("it went to the replica: %v", err)
			}
		})
	})
}

// The rows of a table and a paused replica: whoever asks gets nothing older than the lag.
func TestNothingIsLaterThanTheLag(t *testing.T) {
	onEachReplicated(t, func(t *testing.T, r *replicated) {
		if err := r.db.Create(&model.CommentVideo{VideoID: 1}).Error; err != nil {
			t.Fatal(err)
		}
		r.used(t)
		read := func() (n int64) {
			var row model.CommentVideo
			if err := model.Late(t.Context(), r.db, func(db *gorm.DB) error { return db.Where("video_id = ?", 1).Take(&row).Error }); err != nil {
				t.Error(err)
			}
			return row.Comments
		}
		r.Pause(t)
		type written struct {
			n  int64
			at time.Time
		}
		var writes []written
		late := 0
		for end := time.Now().Add(2 * lag); time.Now().Before(end); {
			n := int64(len(writes) + 1)
			if err := r.db.Model(&model.CommentVideo{}).Where("video_id = ?", 1).Update("comments", n).Error; err != nil {
				t.Fatal(err)
			}
			writes = append(writes, written{n, time.Now()})
			asked := time.Now()
			got := read()
			for _, w := range writes {
				if w.n > got && asked.Sub(w.at) > lag {
					t.Fatalf("%d was answered, which %d replaced %v before", got, w.n, asked.Sub(w.at))
				}
			}
			if got < n {
				late++
			}
		}
		if late == 0 {
			t.Error("nothing was late: the replica was not asked, so this proves nothing")
		}
		if got := read(); got != int64(len(writes)) {
			t.Errorf("the replica is still asked: %d of %d", got, len(writes))
		}
		shown := harness.Metrics(t, r.metrics)
		if shown[`backbeat_db_replica_in_use{replica="replica-1"}`] != 0 || shown[`backbeat_db_replica_lag_seconds{replica="replica-1"}`] < lag.Seconds() {
			t.Errorf("metrics say %v", shown)
		}
		r.Resume(t)
		r.used(t)
		if got := read(); got != int64(len(writes)) {
			t.Errorf("the replica that caught up says %d of %d", got, len(writes))
		}
		shown = harness.Metrics(t, r.metrics)
		if shown[`backbeat_db_replica_in_use{replica="replica-1"}`] != 1 ||
			shown[`backbeat_db_replica_reads_total{node="replica-1"}`] == 0 || shown[`backbeat_db_replica_reads_total{node="primary"}`] == 0 {
			t.Errorf("metrics say %v", shown)
		}
	})
}

func TestAReplicaThatIsAwayIsNobodysConcern(t *testing.T) {
	for _, kind := range harness.Replications() {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			r := newReplicated(t, kind.Start(t))
			r.used(t)
			for _, row := range []struct {
				name          string
				harm, recover func() error
			}{
				{"killed", r.Replica.Kill, func() error { return r.Replica.Start(t.Context()) }},
				{"frozen", r.Replica.Pause, r.Replica.Resume},
			} {
				t.Run(row.name, func(t *testing.T) {
					if err := row.harm(); err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					var by string
					// The connections in the pool are dead or silent, which nobody knows yet.
					err := model.Late(ctx, r.db, func(db *gorm.DB) (err error) { by, err = port(db); return err })
					if err != nil || by != portOf(t, r.Primary.URL) {
						t.Errorf("port %s answered, %v", by, err)
					}
					for range 20 { // and now everybody does
						if err := r.answeredBy(t, r.Primary.URL); err != nil {
							t.Error(err)
						}
					}
					if err := row.recover(); err != nil {
						t.Fatal(err)
					}
					r.used(t)
				})
			}
		})
	}
}

// A read that fails on the way, after its first rows, is asked again.
func TestAFailedReadRunsAgain(t *testing.T) {
	servers := harness.Replications()[0].Start(t)
	r := newReplicated(t, servers)
	r.used(t)
	var ran []string
	err := model.Late(t.Context(), r.db, func(db *gorm.DB) error {
		by, err := port(db)
		ran = append(ran, by)
		if err == nil && by == portOf(t, r.Replica.URL) {
			err = errors.New("broken off")
		}
		return err
	})
	if err != nil || len(ran) != 2 || ran[1] != portOf(t, r.Primary.URL) {
		t.Errorf("%v answered, %v", ran, err)
	}
	t.Run("not for a caller who left", func(t *testing.T) {
		r.used(t)
		ctx, cancel := context.WithCancel(t.Context())
		runs := 0
		err := model.Late(ctx, r.db, func(db *gorm.DB) error {
			runs++
			cancel()
			return db.Exec("SELECT 1").Error
		})
		if runs != 1 || !errors.Is(err, context.Canceled) {
			t.Errorf("%d runs, %v", runs, err)
		}
		if err := r.answeredBy(t, r.Replica.URL); err != nil {
			t.Errorf("the replica pays for it: %v", err)
		}
	})
}

// Of several processes one makes the heart beat, and another when that one ends.
func TestOneProcessMakesTheHeartBeat(t *testing.T) {
	servers := harness.Replications()[0].Start(t)
	var all []*replicated
	for range 4 {
		all = append(all, newReplicated(t, servers))
	}
	for _, r := range all {
		r.used(t)
	}
	beats := func() (n int) {
		const interval = lag / 5
		seen := map[int64]bool{}
		for end := time.Now().Add(10 * interval); time.Now().Before(end); {
			var row model.Heartbeat
			if err := all[0].db.Take(&row).Error; err != nil {
				t.Fatal(err)
			}
			seen[row.Beat] = true
		}
		return len(seen)
	}
	if n := beats(); n > 13 { // ten, the one before, and what two clocks differ by
		t.Errorf("%d beats in ten intervals", n)
	}
}

func TestNoReplicasCostNothing(t *testing.T) {
	db := open(t, harness.SQLite(t))
	if err := model.Replicate(db, model.ReplicaConfig{Lag: lag}, model.ReplicaDeps{Log: harness.Logger(t)}); err != nil {
		t.Fatal(err)
	}
	var one int
	if err := model.Late(t.Context(), db, func(db *gorm.DB) error { return db.Raw("SELECT 1").Scan(&one).Error }); err != nil || one != 1 {
		t.Errorf("%d, %v", one, err)
	}
}

func TestReplicateHidesPasswords(t *testing.T) {
	db := open(t, harness.MariaDB(t))
	err := model.Replicate(db, model.ReplicaConfig{DSNs: []string{"mysql://bob:hush@:%zz/x"}, MaxOpen: 1, Lag: lag}, model.ReplicaDeps{Log: harness.Logger(t)})
	if err == nil || !strings.Contains(err.Error(), "replica 1") || strings.Contains(err.Error(), "hush") {
		t.Errorf("got %v", err)
	}
}
