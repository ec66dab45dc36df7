package linear

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"backbeat/model"
	pbcomment "backbeat/proto/comment"
	pbfavorite "backbeat/proto/favorite"
	pbrelation "backbeat/proto/relation"
	pbvideo "backbeat/proto/video"
)

// audit compares what the services count, what the tables hold and what everybody
// saw at the end, and returns where they differ.
func (c *cast) audit(ctx context.Context, e ends) (wrong []string) {
	differ := func(what string, id int64, counted, rows, seen int64) {
		if counted != rows || rows != seen {
			wrong = append(wrong, fmt.Sprintf("%s of %d: counted %d, rows %d, seen %d", what, id, counted, rows, seen))
		}
	}
	failed := func(err error) {
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("audit: %v", err))
		}
	}
	rows := func(table any, where string, args ...any) (n int64) {
		failed(c.db.WithContext(ctx).Session(&gorm.Session{}).Model(table).Where(where, args...).Count(&n).Error)
		return n
	}

	var liked pbfavorite.StatsResponse
	failed(c.favorites[0].Stats(ctx, &pbfavorite.StatsRequest{VideoIds: c.videos[:], UserIds: c.users[:]}, &liked))
	var commented pbcomment.CountsResponse
	failed(c.services.comment.Counts(ctx, &pbcomment.CountsRequest{VideoIds: c.videos[:]}, &commented))
	for _, film := range c.videos {
		differ("likes", film, liked.Videos[film].GetFavoriteCount(), rows(&model.Favorite{}, "video_id = ? AND liked = ?", film, true),
			count(e.likes, func(of object) bool { return of.item == film }))
		seen := 0
		for of, texts := range e.comments {
			if of.item == film {
				seen += len(texts)
			}
		}
		differ("comments", film, commented.Counts[film], rows(&model.Comment{}, "video_id = ?", film), int64(seen))
	}

	var followed pbrelation.StatsResponse
	failed(c.relation.Stats(ctx, &pbrelation.StatsRequest{UserIds: c.users[:]}, &followed))
	for _, user := range c.users {
		differ("likes given", user, liked.Users[user].GetFavoriteCount(), rows(&model.Favorite{}, "user_id = ? AND liked = ?", user, true),
			count(e.likes, func(of object) bool { return of.user == user }))
		differ("likes received", user, liked.Users[user].GetTotalFavorited(), rows(&model.Favorite{}, "author_id = ? AND liked = ?", user, true),
			count(e.likes, func(of object) bool { return c.author(of.item) == user }))
		differ("follows", user, followed.Users[user].GetFollowCount(), rows(&model.Follow{}, "follower_id = ?", user),
			count(e.follows, func(of object) bool { return of.user == user }))
		differ("followers", user, followed.Users[user].GetFollowerCount(), rows(&model.Follow{}, "followee_id = ?", user),
			count(e.follows, func(of object) bool { return of.item == user }))
		var works pbvideo.ListByAuthorResponse
		failed(c.video.ListByAuthor(ctx, &pbvideo.ListByAuthorRequest{AuthorId: user, ViewerId: user}, &works))
		differ("works", user, works.WorkCount, rows(&model.Video{}, "author_id = ?", user), int64(len(e.works[user])))
	}
	for of, seen := range e.chats {
		differ("messages", of.user, int64(len(seen)), rows(&model.Message{}, "low = ? AND high = ?", of.user, of.item), int64(len(seen)))
	}

	// An upload has its job, or is known to have none and the sweep will send it.
	var uploads []model.Video
	failed(c.db.WithContext(ctx).Where("author_id IN ?", c.users[:]).Find(&uploads).Error)
	for _, row := range uploads {
		if _, ok := c.jobs.Load(row.ID); !ok && row.QueuedAt != 0 {
			wrong = append(wrong, fmt.Sprintf("upload %d is marked as queued and has no job", row.ID))
		}
	}
	return wrong
}
