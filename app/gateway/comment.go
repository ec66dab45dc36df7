package gateway

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"backbeat/app/errs"
	"backbeat/proto/comment"
	"backbeat/proto/entity"
)

// comment adds or deletes a comment (API §2.9).
func (g *Gateway) comment(ctx context.Context, q *request) (answer, error) {
	add, err := q.params.action()
	if err != nil {
		return nil, err
	}
	videoID, err := q.params.id("video_id")
	if err != nil {
		return nil, err
	}
	if add {
		return g.addComment(ctx, q, videoID)
	}
	return g.deleteComment(ctx, q, videoID)
}

func (g *Gateway) addComment(ctx context.Context, q *request, videoID int64) (answer, error) {
	content, err := q.params.text("comment_text")
	if err != nil {
		return nil, err
	}
	if _, err := g.video(ctx, q, videoID); err != nil {
		return nil, err
	}
	added, err := g.rpc.remarks.Do(ctx, &comment.AddRequest_Draft{UserId: q.viewer, VideoId: videoID, Content: content})
	if err != nil {
		return nil, err
	}
	// The comment stands; whatever is missing of its author must not deny that.
	view := commentView{ID: added.GetId(), Content: added.GetContent(), CreateDate: g.createDate(added.GetCreatedAt())}
	if cards := g.users(ctx, q, []int64{q.viewer}, nil); len(cards) > 0 {
		view.User = cards[0]
	}
	return &commentAnswer{success("评论成功"), &view}, nil
}

// remark writes what many comment now.
func (c *commands) remark(ctx context.Context, drafts []*comment.AddRequest_Draft) ([]*entity.Comment, error) {
	added, err := c.comment.do(ctx, &comment.AddRequest{Drafts: drafts})
	return added.GetComments(), err
}

// deleteComment needs the comment's id: without one it would have to guess.
func (g *Gateway) deleteComment(ctx context.Context, q *request, videoID int64) (answer, error) {
	id, err := q.params.id("comment_id")
	if err != nil {
		return nil, err
	}
	_, err = g.rpc.uncomment.do(ctx, &comment.DeleteRequest{UserId: q.viewer, VideoId: videoID, CommentId: id})
	if errs.Is(err, errs.NotFound) {
		return nil, errs.New(errs.NotFound, "评论不存在")
	}
	if err != nil {
		return nil, err
	}
	return &commentAnswer{success("删除评论成功"), nil}, nil
}

// comments lists what was written under a video, newest first (API §2.10).
func (g *Gateway) comments(ctx context.Context, q *request) (answer, error) {
	videoID, err := q.params.id("video_id")
	if err != nil {
		return nil, err
	}
	key := commentsKey{q.links, videoID}
	held := g.heldComments(ctx, key)
	known := uint64(0)
	if held != nil {
		known = held.version
	}
	var found *comment.ListResponse
	err = together(
		func() error { return g.videoSeen(ctx, q, videoID) },
		func() (err error) {
			found, err = g.newest(ctx, videoID, known)
			return err
		})
	if err != nil {
		return nil, err
	}
	if known != 0 && found.GetVersion() == known {
		return g.show(ctx, q, held.page), nil
	}
	p, err := g.makeComments(ctx, q.links, found)
	if err != nil {
		return nil, err
	}
	if p.version != 0 && len(p.missing) == 0 && len(p.body) <= maxHeldPage {
		g.held.comments.Put(key, p)
	}
	return g.show(ctx, q, p.page), nil
}

// newest returns a video's comments, or nothing when they are those that known
// names. Mostly they are: all who look are told together whether that is so.
func (g *Gateway) newest(ctx context.Context, videoID int64, known uint64) (*comment.ListResponse, error) {
	if known != 0 {
		version, err := g.rpc.looks.Do(ctx, videoID)
		if err == nil && version == known {
			return &comment.ListResponse{Version: known}, nil
		}
	}
	return g.rpc.comments.do(ctx, &comment.ListRequest{VideoId: videoID, Known: known})
}

// look asks which versions the comments of videos have now.
func (c *commands) look(ctx context.Context, videoIDs []int64) ([]uint64, error) {
	found, err := c.versions.do(ctx, &comment.VersionsRequest{VideoIds: videoIDs})
	if err != nil {
		c.versions.logFailure(ctx, "comments are asked for whether they changed or not", err)
	}
	return found.GetVersions(), err
}

// commentsKey names the page of a video's comments with these links.
type commentsKey struct {
	links
	video int64
}

// commentsPage is the page of a video's comments and what it was made of. It is right
// as long as that is.
type commentsPage struct {
	*page
	// version is that of the comments, 0 for none.
	version uint64
	// authors have cards, nil where there is none, and counts.
	authors  []int64
	cards    []*entity.User
	subjects []subject
	counts   []counts
	// looked is when those were last looked at, in Unix nanoseconds.
	looked atomic.Int64
}

// authorBytes is what all that takes for one author.
const authorBytes = 80

func (p *commentsPage) weight() int { return p.page.weight() + authorBytes*len(p.authors) }

// heldComments returns the page held if it still says of its authors what others do
// now, which is looked at as often as pages are made elsewhere.
func (g *Gateway) heldComments(ctx context.Context, key commentsKey) *commentsPage {
	p, found := g.held.comments.Peek(key)
	if !found {
		return nil
	}
	now := g.now().UnixNano()
	if now-p.looked.Load() < g.held.pages.Load() {
		return p
	}
	cards, err := g.held.users.Get(ctx, p.authors...)
	if err != nil || !slices.Equal(cards, p.cards) { // of one load if they are the same
		return nil
	}
	counts, err := g.held.counts.GetYounger(ctx, time.Duration(g.held.pageCounts.Load()), p.subjects...)
	if err != nil || !slices.Equal(counts, p.counts) {
		return nil
	}
	p.looked.Store(now)
	return p
}

// makeComments renders comments as somebody sees them who follows nobody.
func (g *Gateway) makeComments(ctx context.Context, l links, found *comment.ListResponse) (*commentsPage, error) {
	p := &commentsPage{version: found.GetVersion(), authors: make([]int64, 0, len(found.GetComments()))}
	for _, c := range found.GetComments() {
		p.authors = append(p.authors, c.GetUserId())
	}
	p.authors = slices.Clip(distinct(p.authors))
	p.looked.Store(g.now().UnixNano())
	q := forAll(l)
	f := g.facts(ctx, q, nil, p.authors, nil)
	for _, id := range p.authors {
		about := subject{false, id}
		p.cards, p.subjects, p.counts = append(p.cards, f.users[id]), append(p.subjects, about), append(p.counts, f.counts[about])
	}
	list := &commentsAnswer{success("获取评论列表成功"), make([]commentView, 0, len(found.GetComments()))}
	var flagged []subject
	for _, c := range found.GetComments() {
		if author, found := f.user(l, c.GetUserId()); found {
			list.CommentList = append(list.CommentList, commentView{c.GetId(), author, c.GetContent(), g.createDate(c.GetCreatedAt())})
			flagged = append(flagged, subject{false, author.ID})
		}
	}
	var err error
	if p.page, err = newPage(list, flagged); err != nil {
		return nil, err
	}
	p.missing = q.missing.list()
	return p, nil
}

// videoSeen says whether the viewer may see a video. While the video service is
// away it does not stand between people and the comments.
func (g *Gateway) videoSeen(ctx context.Context, q *request, id int64) error {
	_, err := g.video(ctx, q, id)
	if err != nil && !errs.Is(err, errs.NotFound) {
		q.missing.add(g.rpc.videos.part)
		g.rpc.videos.logFailure(ctx, "comments are shown without asking for their video", err)
		return nil
	}
	return err
}
