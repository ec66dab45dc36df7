// Package demo fills a running instance with people and short clips, through the
// public API alone, so that a newcomer sees a feed that lives. Running it again
// finds the same accounts and adds only what is missing.
package demo

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Options say what to fill.
type Options struct {
	// Base is the address one would type into the app, http://HOST:PORT.
	Base string
	// FFmpeg makes the clips: a program in PATH or a path.
	FFmpeg string
	// Users and Clips bound how much there will be, at most 30 and 60.
	Users, Clips int
	// Progress gets the progress bar.
	Progress io.Writer
}

// password of every demo account; the accounts are for show.
const password = "backbeat"

// workers bounds what is asked of the instance at once: it may be the same
// machine that makes the clips.
const workers = 4

// publishTimeout bounds the wait for the worker after the last upload.
const publishTimeout = 3 * time.Minute

// account is one demo user, logged in.
type account struct {
	id    int64
	name  string
	token string
}

// Fill makes accounts, uploads, likes, comments, follows and chats. What it does
// is the same on every run against an empty instance.
func Fill(ctx context.Context, o Options) error {
	api := newClient(o.Base)
	chance := rand.New(rand.NewPCG(1, 2))
	users := names[:min(o.Users, len(names))]
	works := clips(min(o.Clips, len(titles)), len(users))

	accounts, err := register(ctx, api, users, o.Progress)
	if err != nil {
		return fmt.Errorf("registering: %w", err)
	}
	uploaded, err := upload(ctx, api, o, accounts, works)
	if err != nil {
		return fmt.Errorf("publishing: %w", err)
	}
	videos, err := awaitPublished(ctx, api, accounts, o.Progress)
	if err != nil {
		return err
	}
	deeds := plan(chance, accounts, videos)
	if err := each(ctx, o.Progress, "互动", len(deeds), func(ctx context.Context, i int) error { return deeds[i](ctx, api) }); err != nil {
		return fmt.Errorf("liking, commenting, following and chatting: %w", err)
	}
	_, err = fmt.Fprintf(o.Progress, "%d users, %d videos (%d uploaded now), %d likes, comments, follows and messages.\nLog in as %q with the password %q.\n",
		len(accounts), len(videos), uploaded, len(deeds), accounts[0].name, password)
	return err
}

// register returns the accounts, making those that are not there yet.
func register(ctx context.Context, api *client, users []string, progress io.Writer) ([]account, error) {
	accounts := make([]account, len(users))
	err := each(ctx, progress, "注册", len(users), func(ctx context.Context, i int) error {
		var err error
		accounts[i], err = api.enter(ctx, users[i])
		return err
	})
	return accounts, err
}

// upload publishes the works that their authors do not have yet and returns how
// many those were.
func upload(ctx context.Context, api *client, o Options, accounts []account, works []clip) (int, error) {
	have := map[string]bool{}
	for _, author := range accounts {
		videos, err := api.works(ctx, author)
		if err != nil {
			return 0, err
		}
		for _, v := range videos {
			have[author.name+"\x00"+v.Title] = true
		}
	}
	folder, err := os.MkdirTemp("", "backbeat-demo-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(folder)
	var missing []clip
	for _, work := range works {
		if !have[accounts[work.author].name+"\x00"+work.title] {
			missing = append(missing, work)
		}
	}
	// Newest first is the feed's order: one at a time keeps authors mixed.
	for i, work := range missing {
		path := filepath.Join(folder, fmt.Sprintf("%d.mp4", i))
		if err := work.render(ctx, o.FFmpeg, path); err != nil {
			return i, err
		}
		if err := api.publish(ctx, accounts[work.author], path, work.title); err != nil {
			return i, err
		}
		if err := os.Remove(path); err != nil {
			return i, err
		}
		bar(o.Progress, "发布", i+1, len(missing))
	}
	return len(missing), nil
}

// awaitPublished returns all videos of the accounts once none is processing: the
// feed of a stranger shows as many of theirs as their own lists.
func awaitPublished(ctx context.Context, api *client, accounts []account, progress io.Writer) ([]video, error) {
	deadline := time.Now().Add(publishTimeout)
	for {
		var own, public []video
		for _, author := range accounts {
			mine, err := api.works(ctx, author)
			if err != nil {
				return nil, err
			}
			seen, err := api.works(ctx, account{id: author.id})
			if err != nil {
				return nil, err
			}
			own, public = append(own, mine...), append(public, seen...)
		}
		bar(progress, "处理", len(public), len(own))
		if len(public) == len(own) || time.Now().After(deadline) {
			return public, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// each runs do for 0 to n-1, a few at a time, and shows how far it is.
func each(ctx context.Context, progress io.Writer, label string, n int, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	var done atomic.Int64
	for i := range n {
		group.Go(func() error {
			if err := do(ctx, i); err != nil {
				return err
			}
			bar(progress, label, int(done.Add(1)), n)
			return nil
		})
	}
	return group.Wait()
}
