package linear

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"backbeat/app/errs"
	pbcomment "backbeat/proto/comment"
	"backbeat/proto/entity"
	pbfavorite "backbeat/proto/favorite"
	pbmessage "backbeat/proto/message"
	pbrelation "backbeat/proto/relation"
	pbvideo "backbeat/proto/video"
	"backbeat/test/harness"
)

// cast is who takes part in one history, and to what.
type cast struct {
	*world
	*history
	users  [users]int64
	videos [videos]int64
	// cancels is whether callers go away when a step says so.
	cancels bool
	// drawn numbers texts, so that each is one of a kind.
	drawn atomic.Int64

	mu sync.Mutex
	// written are the comments that were acknowledged, by user and video.
	written map[object][]*entity.Comment
	// pages are the comments that a gateway has, by video.
	pages map[int64]*pbcomment.ListResponse
	// cursors are how far a user's app has read a conversation.
	cursors map[object]int64
}

// soon is far more than an idle machine needs to drain the queues.
const soon = time.Minute

// play performs the program in the world and returns what is wrong with what
// happened, and how many calls there were.
func play(tb testing.TB, w *world, p program, cancels bool) (wrong []string, calls int) {
	c := &cast{world: w, history: newHistory(), cancels: cancels, written: map[object][]*entity.Comment{}, pages: map[int64]*pbcomment.ListResponse{}, cursors: map[object]int64{}}
	for i := range c.users {
		c.users[i] = w.ids.Add(1)
	}
	for i := range c.videos {
		c.videos[i] = w.ids.Add(1)
	}
	failed := w.redis.n.Load()
	var goroutines sync.WaitGroup
	for _, steps := range p {
		goroutines.Go(func() {
			for _, s := range steps {
				c.perform(tb.Context(), s)
			}
		})
	}
	goroutines.Wait()
	harness.Eventually(tb, soon, w.idle, "queues drain")
	if n := w.traffic.lost(); n > 0 {
		c.reject("%d messages were taken and have not arrived", n)
	}
	w.traffic.forget()
	ends := c.lookBack(tb.Context())
	c.likesKnown = w.redis.n.Load() == failed
	return append(c.check(), c.audit(tb.Context(), ends)...), c.calls()
}

// perform does one step, and once more when the outcome stayed unknown and
// repeating it changes nothing.
func (c *cast) perform(ctx context.Context, s step) {
	user, other, film := c.users[s.User], c.users[(s.User+1+s.Item)%users], c.videos[s.Item]
	switch s.Do {
	case like, unlike:
		if c.like(ctx, s, user, film, s.Do == like) {
			c.like(ctx, s.undisturbed(), user, film, s.Do == like)
		}
	case readLike:
		c.likes(ctx, s, user, film)
	case follow, unfollow:
		if c.follow(ctx, s, user, other, s.Do == follow) {
			c.follow(ctx, s.undisturbed(), user, other, s.Do == follow)
		}
	case readFollow:
		c.follows(ctx, s, user, other)
	case remark:
		c.remark(ctx, s, user, film)
	case retract:
		c.retract(ctx, s, user, film)
	case trespass:
		c.trespass(ctx, s, user, other, film)
	case readComments:
		c.comments(ctx, s, user, film)
	case publish:
		c.publish(ctx, s, user)
	case readWorks:
		c.works(ctx, s, user)
	case send:
		c.send(ctx, s, user, other)
	case poll, readChat:
		c.chat(ctx, s, user, other)
	}
}

func (s step) undisturbed() step {
	s.Fault = none
	return s
}

var errLost = errs.New(errs.Unavailable, "")

// call makes a call under the step's fault. A nil error is an answer, an error
// after which unknown is true leaves open whether it took effect.
func (c *cast) call(ctx context.Context, s step, do func(context.Context) error) (unknown bool, err error) {
	ctx = inject(ctx, s.Fault, 1+s.Vary%3)
	if s.Fault == canceled && c.cancels {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(s.Vary)*10*time.Microsecond)
		defer cancel()
	}
	err = do(ctx)
	if err == nil && s.Fault == lost {
		return true, errLost
	}
	if err == nil {
		return false, nil
	}
	switch kind := errs.KindOf(err); {
	case kind == errs.Unavailable, kind == errs.Internal && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return true, err
	case kind != errs.NotFound:
		c.reject("%s: %v", s.Do, err)
	}
	return false, err
}

// like reports whether its outcome stayed unknown.
func (c *cast) like(ctx context.Context, s step, user, film int64, liked bool) bool {
	var out pbfavorite.ActResponse
	r := record{}
	r.Call = c.now()
	unknown, err := c.call(ctx, s, func(ctx context.Context) error {
		act := &pbfavorite.ActRequest_Act{UserId: user, VideoId: film, AuthorId: c.author(film), Liked: liked}
		return c.favorite(s).Act(ctx, &pbfavorite.ActRequest{Acts: []*pbfavorite.ActRequest_Act{act}}, &out)
	})
	r.Return = c.now()
	c.addWrite(object{likes, user, film}, r, liked, slices.Equal(out.Already, []bool{true}), unknown, err)
	return unknown
}

// addWrite adds a write of a register.
func (c *cast) addWrite(of object, r record, value, already, unknown bool, err error) {
	r.Input, r.Output = registerCall{write: true, value: value}, registerAnswer(nil)
	switch {
	case err == nil:
		before := value == already
		r.Output = registerAnswer(&before)
	case unknown:
		if !errors.Is(err, errLost) {
			r.takenBack = r.Return
		}
		r.Return = never
	default:
		c.reject("%v: %v", of, err)
		return
	}
	c.add(of, r)
}

func (c *cast) favorite(s step) pbfavorite.FavoriteHandler {
	return c.favorites[s.Vary%len(c.favorites)]
}

// author is who made the video: one of the users, as it happens.
func (c *cast) author(film int64) int64 { return c.users[slices.Index(c.videos[:], film)] }

// likes returns whether the user sees the video as liked; either RPC must say so.
func (c *cast) likes(ctx context.Context, s step, user, film int64) (liked bool) {
	c.read(ctx, s, object{likes, user, film}, func(ctx context.Context) (bool, error) {
		if s.Vary&2 == 0 {
			var out pbfavorite.ListLikedResponse
			err := c.favorite(s).ListLiked(ctx, &pbfavorite.ListLikedRequest{UserId: user}, &out)
			liked = slices.Contains(out.VideoIds, film)
			return liked, err
		}
		var out pbfavorite.FlagsResponse
		err := c.favorite(s).Flags(ctx, &pbfavorite.FlagsRequest{Viewers: []*pbfavorite.FlagsRequest_Viewer{{Id: user, VideoIds: []int64{film}}}}, &out)
		liked = err == nil && len(out.Viewers[0].VideoIds) > 0
		return liked, err
	})
	return liked
}

// read adds a read of a register that was answered.
func (c *cast) read(ctx context.Context, s step, of object, get func(context.Context) (bool, error)) {
	var value bool
	r := record{}
	r.Call = c.now()
	_, err := c.call(ctx, s, func(ctx context.Context) (err error) { value, err = get(ctx); return err })
	r.Return = c.now()
	if err == nil {
		r.Input, r.Output = registerCall{}, registerAnswer(&value)
		c.add(of, r)
	}
}

// follow reports whether its outcome stayed unknown.
func (c *cast) follow(ctx context.Context, s step, user, other int64, follow bool) bool {
	var out pbrelation.ActResponse
	r := record{}
	r.Call = c.now()
	unknown, err := c.call(ctx, s, func(ctx context.Context) error {
		return c.relation.Act(ctx, &pbrelation.ActRequest{UserId: user, TargetId: other, Follow: follow}, &out)
	})
	r.Return = c.now()
	c.addWrite(object{follows, user, other}, r, follow, out.Already, unknown, err)
	return unknown
}

func (c *cast) follows(ctx context.Context, s step, user, other int64) (following bool) {
	c.read(ctx, s, object{follows, user, other}, func(ctx context.Context) (bool, error) {
		if s.Vary&2 == 0 {
			var out pbrelation.ListsResponse
			err := c.relation.Following(ctx, &pbrelation.ListsRequest{Lists: []*pbrelation.ListsRequest_List{{UserId: user}}}, &out)
			following = err == nil && slices.Contains(out.Lists[0].UserIds, other)
			return following, err
		}
		var out pbrelation.FlagsResponse
		err := c.relation.Flags(ctx, &pbrelation.FlagsRequest{Viewers: []*pbrelation.FlagsRequest_Viewer{{Id: user, UserIds: []int64{other}}}}, &out)
		following = err == nil && len(out.Viewers[0].UserIds) > 0
		return following, err
	})
	return following
}

// text is one of a kind.
func (c *cast) text(kind string) string { return kind + strconv.FormatInt(c.drawn.Add(1), 10) }

func (c *cast) remark(ctx context.Context, s step, user, film int64) {
	of, text := object{comments, user, film}, c.text("comment")
	var out pbcomment.AddResponse
	unknown, err := c.change(ctx, s, of, setCall{"add", text}, func(ctx context.Context) error {
		return c.services.comment.Add(ctx, &pbcomment.AddRequest{Drafts: []*pbcomment.AddRequest_Draft{{UserId: user, VideoId: film, Content: text}}}, &out)
	})
	if err == nil && !unknown {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.written[of] = append(c.written[of], out.Comments[0])
	}
}

// change adds a change of a set.
func (c *cast) change(ctx context.Context, s step, of object, call setCall, do func(context.Context) error) (unknown bool, err error) {
	r := record{}
	r.Call = c.now()
	unknown, err = c.call(ctx, s, do)
	r.Return = c.now()
	r.Input, r.Output = call, setAnswer(nil)
	switch {
	case unknown:
		r.Return = never
	case call.do == "remove" && (err == nil || errs.Is(err, errs.NotFound)):
		r.Output = setAnswer(&struct {
			members string
			removed bool
		}{removed: err == nil})
	case err != nil:
		c.reject("%v: %v", of, err)
		return unknown, err
	}
	c.add(of, r)
	return unknown, err
}

// pick returns one of the user's comments, deleted ones among them; nil without any.
func (c *cast) pick(s step, user, film int64) *entity.Comment {
	c.mu.Lock()
	defer c.mu.Unlock()
	written := c.written[object{comments, user, film}]
	if len(written) == 0 {
		return nil
	}
	return written[s.Vary%len(written)]
}

func (c *cast) retract(ctx context.Context, s step, user, film int64) {
	target := c.pick(s, user, film)
	if target == nil {
		return
	}
	_, _ = c.change(ctx, s, object{comments, user, film}, setCall{"remove", target.Content}, func(ctx context.Context) error {
		in := &pbcomment.DeleteRequest{UserId: user, VideoId: film, CommentId: target.Id}
		return c.services.comment.Delete(ctx, in, &pbcomment.DeleteResponse{})
	})
}

// trespass tries to delete another user's comment, which must show no trace of it.
func (c *cast) trespass(ctx context.Context, s step, user, other, film int64) {
	target := c.pick(s, other, film)
	if target == nil {
		return
	}
	_, err := c.call(ctx, s, func(ctx context.Context) error {
		in := &pbcomment.DeleteRequest{UserId: user, VideoId: film, CommentId: target.Id}
		return c.services.comment.Delete(ctx, in, &pbcomment.DeleteResponse{})
	})
	if err == nil {
		c.reject("user %d deleted %v", user, target)
	}
}

func (c *cast) comments(ctx context.Context, s step, user, film int64) []string {
	return c.members(ctx, s, object{comments, user, film}, func(ctx context.Context) (texts []string, err error) {
		out, err := c.page(ctx, film)
		for i, one := range out.GetComments() {
			if i > 0 && one.Id >= out.GetComments()[i-1].Id {
				c.reject("comments of video %d out of order: %v", film, out.Comments)
			}
			if one.UserId == user {
				texts = append(texts, one.Content)
			}
		}
		return texts, err
	})
}

// page returns a video's comments as the gateway gets them: those it has, if their
// version still stands.
func (c *cast) page(ctx context.Context, film int64) (*pbcomment.ListResponse, error) {
	c.mu.Lock()
	held := c.pages[film]
	c.mu.Unlock()
	if held != nil {
		var now pbcomment.VersionsResponse
		if err := c.services.comment.Versions(ctx, &pbcomment.VersionsRequest{VideoIds: []int64{film}}, &now); err != nil {
			return nil, err
		}
		if now.Versions[0] == held.Version {
			return held, nil
		}
	}
	var out pbcomment.ListResponse
	if err := c.services.comment.List(ctx, &pbcomment.ListRequest{VideoId: film}, &out); err != nil {
		return nil, err
	}
	if out.Version != 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.pages[film] = &out
	}
	return &out, nil
}

// members adds a read of a set that was answered and returns what it saw.
func (c *cast) members(ctx context.Context, s step, of object, list func(context.Context) ([]string, error)) []string {
	var texts []string
	r := record{}
	r.Call = c.now()
	_, err := c.call(ctx, s, func(ctx context.Context) (err error) { texts, err = list(ctx); return err })
	r.Return = c.now()
	if err != nil {
		return nil
	}
	r.Input = setCall{do: "read"}
	r.Output = setAnswer(&struct {
		members string
		removed bool
	}{members: join(texts)})
	c.add(of, r)
	return texts
}

func (c *cast) publish(ctx context.Context, s step, user int64) {
	title := c.text("work")
	_, _ = c.change(ctx, s, object{works, user, 0}, setCall{"add", title}, func(ctx context.Context) error {
		in := &pbvideo.PublishRequest{AuthorId: user, Title: title, OriginalKey: "upload/" + title + ".mp4", Size: 1}
		return c.video.Publish(ctx, in, &pbvideo.PublishResponse{})
	})
}

func (c *cast) works(ctx context.Context, s step, user int64) []string {
	return c.members(ctx, s, object{works, user, 0}, func(ctx context.Context) (titles []string, err error) {
		var out pbvideo.ListByAuthorResponse
		err = c.video.ListByAuthor(ctx, &pbvideo.ListByAuthorRequest{AuthorId: user, ViewerId: user}, &out)
		for _, one := range out.Videos {
			titles = append(titles, one.Title)
		}
		return titles, err
	})
}

func conversation(user, other int64) object { return object{chats, min(user, other), max(user, other)} }

func (c *cast) send(ctx context.Context, s step, user, other int64) {
	call := logCall{send: true, line: line{from: user, text: c.text("message")}}
	var out pbmessage.SendResponse
	r := record{}
	r.Call = c.now()
	unknown, err := c.call(ctx, s, func(ctx context.Context) error {
		return c.message.Send(ctx, &pbmessage.SendRequest{FromUserId: user, ToUserId: other, Content: call.line.text}, &out)
	})
	r.Return = c.now()
	switch {
	case unknown:
		r.Return = never
	case err != nil:
		c.reject("user %d writing to %d: %v", user, other, err)
		return
	default:
		call.line.at = out.Message.CreateTime
	}
	r.Input = call
	c.add(conversation(user, other), r)
}

// all is more messages than a history has in one conversation.
const all = 1000

// chat reads a conversation: the last message alone, all of it, or, as the app
// does, what is new since the user's last look at it, a few at a time.
func (c *cast) chat(ctx context.Context, s step, user, other int64) logAnswer {
	call := logCall{viewer: user, limit: all}
	switch {
	case s.Do == poll:
		call.after, call.limit = c.cursor(user, other, 0), 1+s.Vary%4
	case s.Vary&1 == 1:
		return c.readLog(ctx, s, other, logCall{viewer: user, limit: 1}, c.latest)
	}
	answer := c.readLog(ctx, s, other, call, c.messages)
	if len(answer) > 0 {
		c.cursor(user, other, answer[len(answer)-1].at)
	}
	return answer
}

// pollAll polls a conversation from its beginning until there is no more.
func (c *cast) pollAll(ctx context.Context, user, other int64) {
	for after := int64(1); ; {
		answer := c.readLog(ctx, step{Do: poll}, other, logCall{viewer: user, after: after, limit: 2}, c.messages)
		if len(answer) == 0 {
			return
		}
		after = answer[len(answer)-1].at
	}
}

// cursor returns the time of the last message that the user's app has seen, now
// that it has seen that of at.
func (c *cast) cursor(user, other, at int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := object{chats, user, other}
	c.cursors[seen] = max(c.cursors[seen], at)
	return c.cursors[seen]
}

// readLog adds a read of a conversation that was answered.
func (c *cast) readLog(ctx context.Context, s step, other int64, call logCall, read func(context.Context, int64, logCall) (logAnswer, error)) logAnswer {
	var answer logAnswer
	r := record{}
	r.Call = c.now()
	_, err := c.call(ctx, s, func(ctx context.Context) (err error) { answer, err = read(ctx, other, call); return err })
	r.Return = c.now()
	if err != nil {
		return nil
	}
	r.Input, r.Output = call, answer
	c.add(conversation(call.viewer, other), r)
	return answer
}

func (c *cast) messages(ctx context.Context, other int64, call logCall) (logAnswer, error) {
	if call.after > 0 {
		var newer pbmessage.NewerResponse
		ask := &pbmessage.NewerRequest_Chat{ViewerId: call.viewer, PeerId: other, After: call.after}
		err := c.message.Newer(ctx, &pbmessage.NewerRequest{Chats: []*pbmessage.NewerRequest_Chat{ask}}, &newer)
		if err != nil || !newer.Newer[0] {
			return nil, err
		}
	}
	var answer logAnswer
	var out pbmessage.ChatResponse
	err := c.message.Chat(ctx, &pbmessage.ChatRequest{ViewerId: call.viewer, PeerId: other, After: call.after, Limit: int32(call.limit)}, &out)
	for _, m := range out.Messages {
		answer = append(answer, line{m.CreateTime, m.FromUserId, m.Content})
	}
	return answer, err
}

func (c *cast) latest(ctx context.Context, other int64, call logCall) (logAnswer, error) {
	var out pbmessage.LatestResponse
	err := c.message.Latest(ctx, &pbmessage.LatestRequest{ViewerId: call.viewer, PeerIds: []int64{other}}, &out)
	if m := out.Messages[other]; m != nil {
		return logAnswer{{m.CreateTime, m.FromUserId, m.Content}}, err
	}
	return nil, err
}

// ends are what everybody sees when everything is over.
type ends struct {
	likes, follows map[object]bool
	comments       map[object][]string
	works          map[int64][]string
	chats          map[object]logAnswer
}

// lookBack lets everybody look at everything once more. It is part of the history.
func (c *cast) lookBack(ctx context.Context) ends {
	e := ends{map[object]bool{}, map[object]bool{}, map[object][]string{}, map[int64][]string{}, map[object]logAnswer{}}
	for i, user := range c.users {
		for _, film := range c.videos {
			e.likes[object{likes, user, film}] = c.likes(ctx, step{Do: readLike, Vary: i}, user, film)
			e.comments[object{comments, user, film}] = c.comments(ctx, step{Do: readComments}, user, film)
		}
		for _, other := range c.users {
			if other != user {
				e.follows[object{follows, user, other}] = c.follows(ctx, step{Do: readFollow, Vary: i}, user, other)
				e.chats[conversation(user, other)] = c.chat(ctx, step{Do: readChat}, user, other)
				c.chat(ctx, step{Do: readChat, Vary: 1}, user, other)
				c.pollAll(ctx, user, other)
			}
		}
		e.works[user] = c.works(ctx, step{Do: readWorks}, user)
	}
	return e
}

// count counts the objects that hold what pass wants.
func count(registers map[object]bool, pass func(object) bool) (n int64) {
	for of := range maps.Keys(registers) {
		if registers[of] && pass(of) {
			n++
		}
	}
	return n
}

func (o object) String() string { return fmt.Sprintf("%s of %d, %d", o.kind, o.user, o.item) }
