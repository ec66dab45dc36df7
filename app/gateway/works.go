package gateway

import (
	"context"
	"log/slog"
	"time"

	"backbeat/app/errs"
	"backbeat/app/media"
	"backbeat/app/text"
	"backbeat/proto/video"
)

// cleanupTimeout bounds the removal of an upload that was refused.
const cleanupTimeout = 10 * time.Second

// publish stores an upload under a random key and has it recorded (API §2.5).
// What comes later, the worker does.
func (g *Gateway) publish(ctx context.Context, q *request) (answer, error) {
	title, err := q.params.text("title")
	if err != nil {
		return nil, err
	}
	if !text.Valid(title, text.MaxTitle) {
		return nil, errs.New(errs.Invalid, "标题应为1到100个字")
	}
	if q.upload.file == nil {
		return nil, errs.New(errs.Invalid, "请选择要发布的视频")
	}
	key := media.NewKey("video", q.upload.ext)
	if err := media.Give(ctx, g.media, key, q.upload.file, q.upload.size, q.upload.contentType); err != nil {
		return nil, errs.Wrap(errs.Unavailable, err, "storing an upload of user %d", q.viewer)
	}
	_, err = g.rpc.publish.do(ctx, &video.PublishRequest{
		AuthorId: q.viewer, Title: title, OriginalKey: key, Size: q.upload.size,
	})
	if err != nil {
		if refused(err) {
			g.discard(ctx, key)
		}
		return nil, err
	}
	return &plainAnswer{success("发布成功")}, nil
}

// refused reports whether a write that failed certainly took no effect. A sick
// service may have done it before it failed to say so.
func refused(err error) bool { return !sick(err) || shortCircuited(err) }

// discard removes a stored file that no video names, also when its uploader has
// left.
func (g *Gateway) discard(ctx context.Context, key string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if err := g.media.Delete(ctx, key); err != nil {
		g.log.LogAttrs(ctx, slog.LevelWarn, "a refused upload stays stored",
			slog.String("key", key), slog.String("error", err.Error()), traceAttr(ctx))
	}
}

// works lists a user's videos (API §2.6).
func (g *Gateway) works(ctx context.Context, q *request) (answer, error) {
	id, err := q.userID()
	if err != nil {
		return nil, err
	}
	list := &videosAnswer{success("获取发布列表成功"), []videoView{}}
	if id == 0 {
		return list, nil
	}
	var found *video.ListByAuthorResponse
	err = together(
		func() error { return g.userSeen(ctx, q, id) },
		func() (err error) {
			found, err = g.rpc.works.do(ctx, &video.ListByAuthorRequest{AuthorId: id, ViewerId: q.viewer})
			return err
		})
	if err != nil {
		return nil, err
	}
	list.VideoList = g.videos(ctx, q, found.GetVideos(), map[int64]int64{id: found.GetWorkCount()})
	return list, nil
}
