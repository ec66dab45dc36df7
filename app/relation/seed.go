package relation

import (
	"context"
	"iter"
	"maps"
	"slices"

	"gorm.io/gorm"

	"backbeat/app/errs"
	"backbeat/model"
)

// Pair is a follower and whom they follow.
type Pair struct{ FollowerID, FolloweeID int64 }

// Seed writes follows in bulk, all or none, in the order they happened. Sorted by
// follower they go in fastest. It is for users that are new: a follow or a count
// that is there already is a Conflict.
func Seed(ctx context.Context, deps Deps, follows iter.Seq[Pair]) error {
	err := deps.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		rows, counts := model.NewBulk[model.Follow](tx), map[int64]model.FollowUser{}
		for pair := range follows {
			follower, followee := pair.FollowerID, pair.FolloweeID
			if follower == followee || followee == model.SystemUserID {
				return errs.New(errs.Invalid, "不能关注自己或系统账号")
			}
			if err := rows.Add(model.Follow{FollowerID: follower, FolloweeID: followee, Seq: deps.IDs.Next()}); err != nil {
				return err
			}
			from, to := counts[follower], counts[followee]
			from.Follows++
			to.Followers++
			counts[follower], counts[followee] = from, to
		}
		if err := rows.Flush(); err != nil {
			return err
		}
		users := model.NewBulk[model.FollowUser](tx)
		for _, id := range slices.Sorted(maps.Keys(counts)) {
			count := counts[id]
			count.UserID = id
			if err := users.Add(count); err != nil {
				return err
			}
		}
		return users.Flush()
	})
	return model.Wrap(err, "following in bulk")
}
