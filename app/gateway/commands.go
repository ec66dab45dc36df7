package gateway

import (
	"log/slog"

	"go-micro.dev/v4/client"

	"backbeat/app/batch"
	"backbeat/config"
	"backbeat/proto/comment"
	"backbeat/proto/entity"
	"backbeat/proto/favorite"
	"backbeat/proto/message"
	"backbeat/proto/relation"
	"backbeat/proto/user"
	"backbeat/proto/video"
)

// userLists are lists of users, asked for by many at once.
type userLists = batch.Group[*relation.ListsRequest_List, *relation.ListsResponse_List]

// How many times as long as a write what waits may take. Of the 5 s that the phone
// waits for an upload (API §2.5) the first leaves 2 for its place in the queue to
// become known, and the second 1 for a turn among the passwords being hashed.
const (
	publishTimes = 3
	hashTimes    = 4
)

// commands are all RPCs the gateway makes, each with its budget and fallback.
type commands struct {
	register *command[user.RegisterRequest, user.RegisterResponse]
	login    *command[user.LoginRequest, user.LoginResponse]
	users    *command[user.BatchGetRequest, user.BatchGetResponse]
	// target is whom a write is about: there it must be known that they exist.
	target *command[user.BatchGetRequest, user.BatchGetResponse]

	publish *command[video.PublishRequest, video.PublishResponse]
	feed    *command[video.FeedRequest, video.FeedResponse]
	works   *command[video.ListByAuthorRequest, video.ListByAuthorResponse]
	videos  *command[video.BatchGetRequest, video.BatchGetResponse]
	counts  *command[video.WorkCountsRequest, video.WorkCountsResponse]

	like *command[favorite.ActRequest, favorite.ActResponse]
	// likings like for many at once.
	likings *batch.Group[*favorite.ActRequest_Act, bool]
	liked   *command[favorite.ListLikedRequest, favorite.ListLikedResponse]
	likes   *command[favorite.StatsRequest, favorite.StatsResponse]
	// likedVideos and followedUsers are asked by videoFlags and userFlags.
	likedVideos *command[favorite.FlagsRequest, favorite.FlagsResponse]
	videoFlags  *flags

	comment *command[comment.AddRequest, comment.AddResponse]
	// remarks comment for many at once.
	remarks   *batch.Group[*comment.AddRequest_Draft, *entity.Comment]
	uncomment *command[comment.DeleteRequest, comment.DeleteResponse]
	comments  *command[comment.ListRequest, comment.ListResponse]
	versions  *command[comment.VersionsRequest, comment.VersionsResponse]
	// looks ask versions for many who look at comments at once.
	looks         *batch.Group[int64, uint64]
	commentCounts *command[comment.CountsRequest, comment.CountsResponse]

	follow    *command[relation.ActRequest, relation.ActResponse]
	following *command[relation.ListsRequest, relation.ListsResponse]
	followers *command[relation.ListsRequest, relation.ListsResponse]
	// followings and fans ask them for many at once.
	followings, fans *userLists
	friends          *command[relation.FriendsRequest, relation.FriendsResponse]
	follows          *command[relation.StatsRequest, relation.StatsResponse]
	followedUsers    *command[relation.FlagsRequest, relation.FlagsResponse]
	userFlags        *flags

	send  *command[message.SendRequest, message.SendResponse]
	chat  *command[message.ChatRequest, message.ChatResponse]
	newer *command[message.NewerRequest, message.NewerResponse]
	// polls ask newer for many phones at once.
	polls  *batch.Group[*message.NewerRequest_Chat, bool]
	latest *command[message.LatestRequest, message.LatestResponse]
}

// newCommands configures every circuit. Each command takes at most concurrency
// calls at a time. What is safe to do twice is tried twice.
func newCommands(c client.Client, m *memory, page *heldPage, times config.RPC, concurrency int, watch *instruments, log *slog.Logger) *commands {
	// A part of a page that something can stand in for is not worth a long wait.
	// What nothing stands in for is: a list, or what a write has to know.
	partBudget, readBudget := budget{times.ReadBudget, 2}, budget{times.WriteBudget, 2}
	writeBudget, rewriteBudget := budget{times.WriteBudget, 1}, budget{times.WriteBudget, 2}
	hashBudget, publishBudget := budget{hashTimes * times.WriteBudget, 1}, budget{publishTimes * times.WriteBudget, 1}
	users := user.NewUserService("user", c)
	videos := video.NewVideoService("video", c)
	favorites := favorite.NewFavoriteService("favorite", c)
	comments := comment.NewCommentService("comment", c)
	relations := relation.NewRelationService("relation", c)
	messages := message.NewMessageService("message", c)
	n := concurrency
	all := &commands{
		register: newCommand("user.Register", hashBudget, n, watch, log, users.Register),
		login:    newCommand("user.Login", hashBudget, n, watch, log, users.Login),
		users:    newCommand("user.BatchGet", partBudget, n, watch, log, users.BatchGet).remember(m.learnUsers, m.recallUsers),
		target:   newCommand("user.BatchGet(target)", readBudget, n, watch, log, users.BatchGet).remember(m.learnUsers, nil),

		publish: newCommand("video.Publish", publishBudget, n, watch, log, videos.Publish),
		feed:    newCommand("video.Feed", partBudget, n, watch, log, videos.Feed).remember(page.learn, page.recall),
		works:   newCommand("video.ListByAuthor", readBudget, n, watch, log, videos.ListByAuthor),
		videos:  newCommand("video.BatchGet", readBudget, n, watch, log, videos.BatchGet),
		counts:  newCommand("video.WorkCounts", partBudget, n, watch, log, videos.WorkCounts).remember(m.learnWorks, m.recallWorks),

		like:        newCommand("favorite.Act", rewriteBudget, n, watch, log, favorites.Act),
		liked:       newCommand("favorite.ListLiked", readBudget, n, watch, log, favorites.ListLiked),
		likes:       newCommand("favorite.Stats", partBudget, n, watch, log, favorites.Stats).remember(m.learnLikes, m.recallLikes),
		likedVideos: newCommand("favorite.Flags", partBudget, n, watch, log, favorites.Flags).remember(m.learnLiked, m.recallLiked),

		comment:       newCommand("comment.Add", writeBudget, n, watch, log, comments.Add),
		uncomment:     newCommand("comment.Delete", writeBudget, n, watch, log, comments.Delete),
		comments:      newCommand("comment.List", readBudget, n, watch, log, comments.List),
		versions:      newCommand("comment.Versions", partBudget, n, watch, log, comments.Versions),
		commentCounts: newCommand("comment.Counts", partBudget, n, watch, log, comments.Counts).remember(m.learnComments, m.recallComments),

		follow:        newCommand("relation.Act", rewriteBudget, n, watch, log, relations.Act),
		following:     newCommand("relation.Following", readBudget, n, watch, log, relations.Following),
		followers:     newCommand("relation.Followers", readBudget, n, watch, log, relations.Followers),
		friends:       newCommand("relation.Friends", readBudget, n, watch, log, relations.Friends),
		follows:       newCommand("relation.Stats", partBudget, n, watch, log, relations.Stats).remember(m.learnFollows, m.recallFollows),
		followedUsers: newCommand("relation.Flags", partBudget, n, watch, log, relations.Flags).remember(m.learnFollowed, m.recallFollowed),

		send:   newCommand("message.Send", writeBudget, n, watch, log, messages.Send),
		chat:   newCommand("message.Chat", readBudget, n, watch, log, messages.Chat),
		newer:  newCommand("message.Newer", readBudget, n, watch, log, messages.Newer),
		latest: newCommand("message.Latest", partBudget, n, watch, log, messages.Latest).remember(nil, noLatest),
	}
	all.videoFlags, all.userFlags = all.newVideoFlags(), all.newUserFlags()
	all.likings = batch.NewGroup(batch.MaxViewers, all.act)
	all.remarks = batch.NewGroup(batch.MaxViewers, all.remark)
	all.followings, all.fans = listsOf(all.following), listsOf(all.followers)
	all.polls = batch.NewGroup(batch.Max, all.poll)
	all.looks = batch.NewGroup(batch.Max, all.look)
	all.feed.part = "feed" // the service is there for the other lists' sake too
	return all
}
