package relation

import (
	"backbeat/model"
	pb "backbeat/proto/relation"
)

// toStats returns an entry for every id; a user without a row has no follows.
func toStats(userIDs []int64, rows []model.FollowUser) map[int64]*pb.UserStat {
	stats := make(map[int64]*pb.UserStat, len(userIDs))
	for _, row := range rows {
		stats[row.UserID] = &pb.UserStat{FollowCount: row.Follows, FollowerCount: row.Followers}
	}
	for _, userID := range userIDs {
		if stats[userID] == nil {
			stats[userID] = &pb.UserStat{}
		}
	}
	return stats
}
