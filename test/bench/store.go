package main

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"gorm.io/gorm"

	"backbeat/model"
)

// store reads from the system's database what the bench has to know of it.
type store struct {
	db *gorm.DB
	// asked counts its own statements, which are no request's.
	asked atomic.Int64
}

// read counts one statement.
func (s *store) read(ctx context.Context) *gorm.DB {
	s.asked.Add(1)
	return s.db.WithContext(ctx)
}

// questions returns how many statements others have sent.
func (s *store) questions(ctx context.Context) (int64, error) {
	var status struct {
		Name  string `gorm:"column:Variable_name"`
		Value int64  `gorm:"column:Value"`
	}
	err := s.read(ctx).Raw("SHOW GLOBAL STATUS LIKE 'Questions'").Scan(&status).Error
	return status.Value - s.asked.Load(), err
}

// deadlocks returns how many transactions the server has ended for one.
func (s *store) deadlocks(ctx context.Context) (int64, error) {
	var status struct {
		Value int64 `gorm:"column:Value"`
	}
	err := s.read(ctx).Raw("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'").Scan(&status).Error
	return status.Value, err
}

// tallied returns an error when what counts likes does not say how many there are.
func (s *store) tallied(ctx context.Context) error {
	var n struct{ Likes, Videos, Received, Given int64 }
	err := s.read(ctx).Raw("SELECT (SELECT COUNT(*) FROM favorites WHERE liked) AS likes, (SELECT SUM(likes) FROM favorite_videos) AS videos, " +
		"SUM(received) AS received, SUM(given) AS given FROM favorite_users").Scan(&n).Error
	if err == nil && (n.Videos != n.Likes || n.Received != n.Likes || n.Given != n.Likes) {
		err = fmt.Errorf("there are %d likes; videos have %d, authors got %d and users gave %d", n.Likes, n.Videos, n.Received, n.Given)
	}
	return err
}

// all is no bound on how much is read.
const all = -1

// ids returns a column of a table, ordered as by says, most of them at most.
func ids[T any](ctx context.Context, s *store, column, by string, most int) (list []int64, err error) {
	err = s.read(ctx).Model(new(T)).Order(by).Limit(most).Pluck(column, &list).Error
	return list, err
}

// conversations returns all, in no order.
func (s *store) conversations(ctx context.Context) (list []model.Conversation, err error) {
	err = s.read(ctx).Select("low", "high", "last_time").Order("RAND()").Find(&list).Error
	return list, err
}

// like is a user and a video.
type like struct{ user, video int64 }

// without returns the likes that there are no rows of.
func (s *store) without(ctx context.Context, likes []like) (free []like, err error) {
	if len(likes) == 0 {
		return nil, nil
	}
	pairs := make([][]any, len(likes))
	for i, l := range likes {
		pairs[i] = []any{l.user, l.video}
	}
	var rows []model.Favorite
	if err := s.read(ctx).Select("user_id", "video_id").Where("(user_id, video_id) IN ?", pairs).Find(&rows).Error; err != nil {
		return nil, err
	}
	taken := map[like]bool{}
	for _, row := range rows {
		taken[like{row.UserID, row.VideoID}] = true
	}
	return slices.DeleteFunc(slices.Clone(likes), func(l like) bool { return taken[l] }), nil
}

// awaited is a number in the database that each good answer raises by one, sooner
// or later.
type awaited struct {
	what     string
	count    func(ctx context.Context) (int64, error)
	base     int64
	answered atomic.Int64
}

// settleWithin bounds the wait for queues to drain. Between two looks for that lies
// settleEvery, or a share of the wait so far: what looking costs the database counts as
// the row's.
const (
	settleWithin = 3 * time.Minute
	settleEvery  = 50 * time.Millisecond
	settleShare  = 20
)

// begin takes the number as it is now.
func (a *awaited) begin(ctx context.Context) (err error) {
	a.base, err = a.count(ctx)
	return err
}

// settle waits until what was answered is there, and returns how much of it is
// missing when it stops to wait.
func (a *awaited) settle(ctx context.Context) (missing int64, err error) {
	answered := a.answered.Swap(0)
	if answered == 0 {
		return 0, nil
	}
	want := a.base + answered
	for start := time.Now(); ; time.Sleep(max(settleEvery, time.Since(start)/settleShare)) {
		a.base, err = a.count(ctx)
		switch {
		case err != nil:
			return 0, fmt.Errorf("counting %s: %w", a.what, err)
		case a.base >= want:
			return 0, nil
		case time.Since(start) > settleWithin:
			return want - a.base, nil
		}
	}
}
