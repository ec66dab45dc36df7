// Package seed fills an empty database in bulk, for load tests and for whoever
// wants a big instance to play with. It decides who does what; each owner writes
// its own tables, counters included, so that what services promise of them holds
// from the first read on.
//
// A few people and videos get most of everything, as in life. The same seed and
// size make the same people do the same in the same order; ids, times, salts and
// media keys are of the day. Either all of it is made or nothing, in one
// transaction.
//
// Nothing is invalidated in Redis or in running services: ids that were never
// seen before have no pending likes and no cached cards, and an empty page of the
// feed is cached for half a second.
package seed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"time"

	"gorm.io/gorm"

	"backbeat/app/comment"
	"backbeat/app/favorite"
	"backbeat/app/media"
	"backbeat/app/message"
	"backbeat/app/password"
	"backbeat/app/relation"
	"backbeat/app/user"
	"backbeat/app/video"
)

// Password is that of every user.
const Password = "pass1234"

// Options say what to fill.
type Options struct {
	Size
	// Seed chooses one of many platforms of that size.
	Seed uint64
	// Clip is the video file that all videos play; empty for one that ffmpeg draws.
	Clip string
	// Video is how files are made playable and how long they may be.
	Video video.WorkerConfig
	// Progress gets a line for each part that is made.
	Progress io.Writer
}

// Deps is what is filled.
type Deps struct {
	// DB has been migrated.
	DB    *gorm.DB
	Media media.Store
	// Now is when everything has happened.
	Now func() time.Time
	Log *slog.Logger
}

// Fill makes all that the options say. A database that holds users already, and a
// size that can't be made, are refused before anything is written.
func Fill(ctx context.Context, deps Deps, o Options) error {
	if err := o.check(); err != nil {
		return err
	}
	empty, err := user.Empty(ctx, deps.DB)
	if err != nil {
		return err
	}
	if !empty {
		return errors.New("the database holds users already: seed fills an empty one only, so name another (db.dsn, data.dir)")
	}
	f := &filling{Deps: deps, Options: o, plan: newPlan(o.Size, o.Seed), now: deps.Now()}
	if o.Videos > 0 {
		if f.clip, err = storeClip(ctx, deps, o); err != nil {
			return err
		}
	}
	err = deps.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		f.DB = tx
		return f.run(ctx)
	})
	if err != nil && o.Videos > 0 {
		err = errors.Join(err, deps.Media.Delete(context.WithoutCancel(ctx), f.clip.Keys()...))
	}
	return err
}

// filling is one call of Fill.
type filling struct {
	Deps
	Options
	plan *plan
	now  time.Time
	clip video.Clip
	// users and videos are the ids that were drawn.
	users, videos []int64
}

func (f *filling) run(ctx context.Context) error {
	for _, part := range []struct {
		what string
		n    int
		fill func(ctx context.Context) error
	}{
		{"users", f.Users, f.register},
		{"videos", f.Videos, f.publish},
		{"likes", f.Likes, f.like},
		{"comments", f.Comments, f.comment},
		{"follows", f.Follows, f.follow},
		{"messages", f.Messages, f.chat},
	} {
		started := time.Now()
		if err := part.fill(ctx); err != nil {
			return fmt.Errorf("making %s: %w", part.what, err)
		}
		// A line that can't be printed is no reason to stop.
		_, _ = fmt.Fprintf(f.Progress, "%-9s %10d  %7.1f s\n", part.what, part.n, time.Since(started).Seconds())
	}
	return nil
}

func (f *filling) register(ctx context.Context) (err error) {
	passwords := password.New(password.Config{AtOnce: 1}, password.Deps{Log: f.Log})
	defer passwords.Close()
	c := newClock(f.now, 0)
	f.users, err = user.Seed(ctx, user.Deps{DB: f.DB, Passwords: passwords, IDs: c.ids, Now: c.read}, Password, spread(c, f.Users, f.plan.names()))
	return err
}

func (f *filling) publish(ctx context.Context) (err error) {
	c := newClock(f.now, 1)
	works := spread(c, f.Videos, each(f.plan.works(), func(author int, title string) video.Work {
		return video.Work{AuthorID: f.users[author], Title: title}
	}))
	f.videos, err = video.Seed(ctx, video.Deps{DB: f.DB, IDs: c.ids, Now: c.read}, f.clip, works)
	return err
}

func (f *filling) like(ctx context.Context) error {
	c := newClock(f.now, 2)
	return favorite.Seed(ctx, favorite.Deps{DB: f.DB, Now: c.read}, spread(c, f.Likes, each(f.plan.likes(), func(u, v int) favorite.Like {
		return favorite.Like{UserID: f.users[u], VideoID: f.videos[v], AuthorID: f.users[f.plan.authors[v]]}
	})))
}

func (f *filling) comment(ctx context.Context) error {
	c := newClock(f.now, 2)
	texts := func(yield func(comment.Text) bool) {
		for n := range spread(c, f.Comments, f.plan.comments()) {
			if !yield(comment.Text{UserID: f.users[n.from], VideoID: f.videos[n.about], Content: n.content}) {
				return
			}
		}
	}
	return comment.Seed(ctx, comment.Deps{DB: f.DB, IDs: c.ids, Now: c.read}, texts)
}

func (f *filling) follow(ctx context.Context) error {
	c := newClock(f.now, 2)
	return relation.Seed(ctx, relation.Deps{DB: f.DB, IDs: c.ids}, spread(c, f.Follows, each(f.plan.follows(), func(from, to int) relation.Pair {
		return relation.Pair{FollowerID: f.users[from], FolloweeID: f.users[to]}
	})))
}

func (f *filling) chat(ctx context.Context) error {
	c := newClock(f.now, 2)
	lines := func(yield func(message.Line) bool) {
		for n := range spread(c, f.Messages, f.plan.messages()) {
			if !yield(message.Line{FromUserID: f.users[n.from], ToUserID: f.users[n.about], Content: n.content}) {
				return
			}
		}
	}
	return message.Seed(ctx, message.Deps{DB: f.DB, IDs: c.ids, Now: c.read}, lines)
}

// each yields what of makes of every pair.
func each[A, B, T any](pairs iter.Seq2[A, B], of func(A, B) T) iter.Seq[T] {
	return func(yield func(T) bool) {
		for a, b := range pairs {
			if !yield(of(a, b)) {
				return
			}
		}
	}
}
