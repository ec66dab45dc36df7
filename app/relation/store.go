package relation

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"backbeat/app/batch"
	"backbeat/app/id"
	"backbeat/model"
)

// store is the tables follows and follow_users. None of its reads may be late: lists and
// flags are held under a version that ends with a write, for whoever follows too, friends
// are one's own, and counts are asked for right after a change was announced.
type store struct {
	db  *gorm.DB
	ids *id.Generator
}

// follow reports whether the follow is new.
func (s *store) follow(ctx context.Context, followerID, followeeID int64) (changed bool, err error) {
	row := model.Follow{FollowerID: followerID, FolloweeID: followeeID, Seq: s.ids.Next()}
	err = model.Transact(ctx, s.db, func(tx *gorm.DB) error {
		inserted := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&row)
		changed = inserted.RowsAffected > 0
		if inserted.Error != nil || !changed {
			return inserted.Error
		}
		return count(tx, followerID, followeeID, 1)
	})
	return changed, model.Wrap(err, "user %d following user %d", followerID, followeeID)
}

// unfollow reports whether there was a follow.
func (s *store) unfollow(ctx context.Context, followerID, followeeID int64) (changed bool, err error) {
	err = model.Transact(ctx, s.db, func(tx *gorm.DB) error {
		deleted := tx.Where("follower_id = ? AND followee_id = ?", followerID, followeeID).Delete(&model.Follow{})
		changed = deleted.RowsAffected > 0
		if deleted.Error != nil || !changed {
			return deleted.Error
		}
		return count(tx, followerID, followeeID, -1)
	})
	return changed, model.Wrap(err, "user %d unfollowing user %d", followerID, followeeID)
}

// count adds to the counters of both users, last in the transaction and in the
// order of their ids: two users who follow each other at once must not wait for
// one another.
func count(tx *gorm.DB, followerID, followeeID, change int64) error {
	first := model.FollowUser{UserID: followerID, Follows: change}
	second := model.FollowUser{UserID: followeeID, Followers: change}
	if second.UserID < first.UserID {
		first, second = second, first
	}
	for _, row := range []model.FollowUser{first, second} {
		err := tx.Clauses(clause.OnConflict{
			Columns: []clause.Column{{Name: "user_id"}},
			DoUpdates: clause.Assignments(map[string]any{
				"follows":   gorm.Expr("follow_users.follows + ?", row.Follows),
				"followers": gorm.Expr("follow_users.followers + ?", row.Followers),
			}),
		}).Create(&row).Error
		if err != nil {
			return err
		}
	}
	return nil
}

// wanted are some users whom a viewer may follow.
type wanted struct {
	viewer int64
	users  []int64
}

// maxWanted bounds the viewers of one statement; of each there are at most batch.Max
// users.
const maxWanted = 32

// followed returns whom of those wanted the viewers follow, by viewer, one perhaps
// more than once. It reads no others, however many a viewer follows.
func (s *store) followed(ctx context.Context, asked []wanted) (map[int64][]int64, error) {
	const part = "SELECT follower_id, followee_id FROM follows WHERE follower_id = ? AND followee_id IN ?"
	found := make(map[int64][]int64, len(asked))
	asked = slices.DeleteFunc(slices.Clone(asked), func(w wanted) bool { return len(w.users) == 0 })
	for some := range slices.Chunk(asked, maxWanted) {
		some = batch.Padded(some)
		args := make([]any, 0, 2*len(some))
		for _, w := range some {
			args = append(args, w.viewer, batch.Padded(w.users))
		}
		var rows []model.Follow
		err := s.db.WithContext(ctx).Raw(strings.Repeat(part+" UNION ALL ", len(some)-1)+part, args...).Scan(&rows).Error
		if err != nil {
			return nil, model.Wrap(err, "reading whom %d users follow", len(some))
		}
		for _, row := range rows {
			found[row.FollowerID] = append(found[row.FollowerID], row.FolloweeID)
		}
	}
	return found, nil
}

// follows returns up to limit users whom each of the users follows, by user, latest
// first.
func (s *store) follows(ctx context.Context, userIDs []int64, limit int) (map[int64][]int64, error) {
	const part = "SELECT follower_id, followee_id, seq FROM (SELECT follower_id, followee_id, seq FROM follows WHERE follower_id = ? ORDER BY seq DESC, followee_id DESC LIMIT ?) AS part"
	found := make(map[int64][]model.Follow, len(userIDs))
	for users := range slices.Chunk(userIDs, maxUnion) {
		users = batch.Padded(users)
		args := make([]any, 0, 2*len(users))
		for _, user := range users {
			args = append(args, user, limit)
		}
		rows, err := s.db.WithContext(ctx).Raw(strings.Repeat(part+" UNION ALL ", len(users)-1)+part, args...).Rows()
		if err == nil {
			err = scanFollows(rows, found)
		}
		if err != nil {
			return nil, model.Wrap(err, "reading whom %d users follow", len(users))
		}
	}
	latest := make(map[int64][]int64, len(found))
	for user, rows := range found { // a union is in no order, and padded
		slices.SortFunc(rows, func(a, b model.Follow) int {
			return cmp.Or(cmp.Compare(b.Seq, a.Seq), cmp.Compare(b.FolloweeID, a.FolloweeID))
		})
		for _, row := range slices.Compact(rows) {
			latest[user] = append(latest[user], row.FolloweeID)
		}
	}
	return latest, nil
}

// maxUnion bounds the parts of one statement.
const maxUnion = 64

func scanFollows(rows *sql.Rows, into map[int64][]model.Follow) error {
	defer rows.Close()
	for rows.Next() {
		var row model.Follow
		if err := rows.Scan(&row.FollowerID, &row.FolloweeID, &row.Seq); err != nil {
			return err
		}
		into[row.FollowerID] = append(into[row.FollowerID], row)
	}
	return rows.Err()
}

// followers returns up to limit users who follow the user, latest first.
func (s *store) followers(ctx context.Context, userID int64, limit int) ([]int64, error) {
	var ids []int64
	err := s.db.WithContext(ctx).Model(&model.Follow{}).Where("followee_id = ?", userID).
		Order("seq DESC, follower_id DESC").Limit(limit).Pluck("follower_id", &ids).Error
	return ids, model.Wrap(err, "listing the followers of user %d", userID)
}

// friends returns up to limit users who follow the user and are followed back,
// the latest to become so first.
func (s *store) friends(ctx context.Context, userID int64, limit int) ([]int64, error) {
	var ids []int64
	err := s.db.WithContext(ctx).Table("follows AS mine").
		Joins("JOIN follows AS theirs ON theirs.follower_id = mine.followee_id AND theirs.followee_id = mine.follower_id").
		Where("mine.follower_id = ?", userID).
		Order("CASE WHEN mine.seq > theirs.seq THEN mine.seq ELSE theirs.seq END DESC, mine.followee_id DESC").
		Limit(limit).Pluck("mine.followee_id", &ids).Error
	return ids, model.Wrap(err, "listing the friends of user %d", userID)
}

// stats returns the counters of those of the users who were ever in a follow.
func (s *store) stats(ctx context.Context, userIDs []int64) ([]model.FollowUser, error) {
	if len(userIDs) == 0 {
		return nil, nil
	}
	var rows []model.FollowUser
	err := s.db.WithContext(ctx).Where("user_id IN ?", batch.Padded(userIDs)).Find(&rows).Error
	return rows, model.Wrap(err, "reading the follow counters of %d users", len(userIDs))
}
