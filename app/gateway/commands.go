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
	// revocations is asked by followRevocations.
	revocations *command[user.RevocationsRequest, user.RevocationsResponse]

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

	*wiring
}

// newCommands returns all commands, which are to be set before they are used. Each
// takes at most concurrency calls at a time. What is safe to do twice is tried twice.
func newCommands(c client.Client, m *memory, page *heldPage, concurrency int, watch *instruments, log *slog.Logger) *commands {
	// A part of a page that something can stand in for is not worth a long wait.
	// What nothing stands in for is: a list, or what a write has to know.
	partBudget := func(times config.RPC) budget { return budget{times.ReadBudget, 2} }
	readBudget := func(times config.RPC) budget { return budget{times.WriteBudget, 2} }
	writeBudget := func(times config.RPC) budget { return budget{times.WriteBudget, 1} }
	rewriteBudget := readBudget
	hashBudget := func(times config.RPC) budget { return budget{hashTimes * times.WriteBudget, 1} }
	publishBudget := func(times config.RPC) budget { return budget{publishTimes * times.WriteBudget, 1} }
	users := user.NewUserService("user", c)
	videos := video.NewVideoService("video", c)
	favorites := favorite.NewFavoriteService("favorite", c)
	comments := comment.NewCommentService("comment", c)
	relations := relation.NewRelationService("relation", c)
	messages := message.NewMessageService("message", c)
	with := &wiring{concurrency: concurrency, watch: watch, log: log}
	all := &commands{
		wiring:      with,
		register:    newCommand(with, "user.Register", hashBudget, users.Register),
		login:       newCommand(with, "user.Login", hashBudget, users.Login),
		users:       newCommand(with, "user.BatchGet", partBudget, users.BatchGet).remember(m.learnUsers, m.recallUsers),
		target:      newCommand(with, "user.BatchGet(target)", readBudget, users.BatchGet).remember(m.learnUsers, nil),
		revocations: newCommand(with, "user.Revocations", readBudget, users.Revocations),

		publish: newCommand(with, "video.Publish", publishBudget, videos.Publish),
		feed:    newCommand(with, "video.Feed", partBudget, videos.Feed).remember(page.learn, page.recall),
		works:   newCommand(with, "video.ListByAuthor", readBudget, videos.ListByAuthor),
		videos:  newCommand(with, "video.BatchGet", readBudget, videos.BatchGet),
		counts:  newCommand(with, "video.WorkCounts", partBudget, videos.WorkCounts).remember(m.learnWorks, m.recallWorks),

		like:        newCommand(with, "favorite.Act", rewriteBudget, favorites.Act),
		liked:       newCommand(with, "favorite.ListLiked", readBudget, favorites.ListLiked),
		likes:       newCommand(with, "favorite.Stats", partBudget, favorites.Stats).remember(m.learnLikes, m.recallLikes),
		likedVideos: newCommand(with, "favorite.Flags", partBudget, favorites.Flags).remember(m.learnLiked, m.recallLiked),

		comment:       newCommand(with, "comment.Add", writeBudget, comments.Add),
		uncomment:     newCommand(with, "comment.Delete", writeBudget, comments.Delete),
		comments:      newCommand(with, "comment.List", readBudget, comments.List),
		versions:      newCommand(with, "comment.Versions", partBudget, comments.Versions),
		commentCounts: newCommand(with, "comment.Counts", partBudget, comments.Counts).remember(m.learnComments, m.recallComments),

		follow:        newCommand(with, "relation.Act", rewriteBudget, relations.Act),
		following:     newCommand(with, "relation.Following", readBudget, relations.Following),
		followers:     newCommand(with, "relation.Followers", readBudget, relations.Followers),
		friends:       newCommand(with, "relation.Friends", readBudget, relations.Friends),
		follows:       newCommand(with, "relation.Stats", partBudget, relations.Stats).remember(m.learnFollows, m.recallFollows),
		followedUsers: newCommand(with, "relation.Flags", partBudget, relations.Flags).remember(m.learnFollowed, m.recallFollowed),

		send:   newCommand(with, "message.Send", writeBudget, messages.Send),
		chat:   newCommand(with, "message.Chat", readBudget, messages.Chat),
		newer:  newCommand(with, "message.Newer", readBudget, messages.Newer),
		latest: newCommand(with, "message.Latest", partBudget, messages.Latest).remember(nil, noLatest),
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
