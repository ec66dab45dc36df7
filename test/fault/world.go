package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"backbeat/deploy/local"
	"backbeat/test/harness"
)

// size is how many users and videos a world holds.
type size struct{ users, videos int }

// world is a cluster of its own, with people, videos and the ledger of what they
// were answered.
type world struct {
	app     *harness.App
	cluster *local.Cluster
	dir     string
	program string
	book    *ledger
	author  harness.Account
	users   []harness.Account
	videos  []int64
	clip    []byte
}

// newWorld starts two instances of everything, with env for each, and fills it.
// The video at clip is what is uploaded.
func newWorld(ctx context.Context, program, clip string, env []string, holds size) (w *world, err error) {
	dir, err := os.MkdirTemp("", "backbeat-fault-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // servers run as other users
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	w = &world{dir: dir, program: program, book: newLedger()}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.clip, err = os.ReadFile(clip); err != nil {
		return nil, err
	}
	w.cluster, err = local.StartCluster(ctx, dir, local.ClusterOptions{Program: program, Instances: 2, Env: env})
	if err != nil {
		return nil, err
	}
	w.app = &harness.App{Base: w.cluster.Base, HTTP: &http.Client{
		Timeout:   15 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: inFlight, IdleConnTimeout: 10 * time.Second},
	}}
	return w, w.fill(ctx, holds)
}

func (w *world) close() error {
	var faults []error
	if w.cluster != nil {
		for _, s := range w.cluster.Servers {
			_ = s.Resume() // one that a failed case left frozen; else there is nothing to do
		}
		faults = append(faults, w.cluster.Stop())
		for _, part := range w.cluster.Parts {
			faults = append(faults, clean(part))
		}
	}
	return errors.Join(append(faults, os.RemoveAll(w.dir))...)
}

// clean looks for what must never be in a log.
func clean(part *local.Server) error {
	log, err := os.ReadFile(filepath.Join(part.Dir, "log"))
	if err != nil {
		return err
	}
	for _, never := range []string{"DATA RACE", "panic", "eyJhbGciOi"} {
		if at := strings.Index(string(log), never); at >= 0 {
			return fmt.Errorf("%s logged %q: %.2000s", part.Name, never, log[max(0, at-200):])
		}
	}
	return nil
}

// fill registers people and publishes videos.
func (w *world) fill(ctx context.Context, holds size) error {
	people := make([]harness.Account, holds.users+1)
	registering, _ := errgroup.WithContext(ctx)
	registering.SetLimit(4)
	for i := range people {
		registering.Go(func() (err error) {
			name := fmt.Sprintf("person-%d", i)
			people[i], err = w.register(name)
			return err
		})
	}
	if err := registering.Wait(); err != nil {
		return err
	}
	w.author, w.users = people[0], people[1:]
	for i := range holds.videos {
		if answer, err := w.upload(fmt.Sprintf("filled %d", i)); err != nil || answer.StatusCode != 0 {
			return fmt.Errorf("filling: %w %s", err, answer.Raw)
		}
	}
	return within(ctx, 2*time.Minute, func() error {
		answer, err := w.get("/douyin/publish/list/", "user_id", w.author.ID)
		if err != nil {
			return err
		}
		if n := len(answer.VideoList); n < holds.videos {
			return fmt.Errorf("%d of %d videos are published", n, holds.videos)
		}
		for _, v := range answer.VideoList {
			w.videos = append(w.videos, v.ID)
		}
		return nil
	})
}

func (w *world) register(name string) (harness.Account, error) {
	const password = "pass1234"
	answer, err := w.app.Try(http.MethodPost, "/douyin/user/register/", harness.Query("username", name, "password", password))
	if err == nil && answer.StatusCode != 0 {
		err = errors.New(answer.Raw)
	}
	return harness.Account{ID: answer.UserID, Name: name, Password: password, Token: answer.Token}, err
}

// upload publishes the clip as the author, and notes it.
func (w *world) upload(title string) (harness.Answer, error) {
	work := fact{kind: "work", user: w.author.ID, text: title}
	if _, free := w.book.begin(work); !free {
		return harness.Answer{}, fmt.Errorf("%v is written already", work)
	}
	answer, err := w.app.Upload(harness.NewForm().File("data", "a.mp4", w.clip).
		Field("token", w.author.Token).Field("title", title))
	w.book.end(work, true, err == nil && answer.StatusCode == 0)
	return answer, err
}

// get asks, as nobody unless the pairs hold a token.
func (w *world) get(path string, pairs ...any) (harness.Answer, error) {
	answer, err := w.app.Try(http.MethodGet, path, harness.Query(pairs...))
	if err != nil {
		return answer, err
	}
	if answer.HTTP != http.StatusOK || answer.StatusCode != 0 || answer.Header.Get("Backbeat-Degraded") != "" {
		return answer, fmt.Errorf("%s: HTTP %d, without %q, %.200s", path, answer.HTTP, answer.Header.Get("Backbeat-Degraded"), answer.Raw)
	}
	return answer, nil
}

func (w *world) server(name string) *local.Server {
	return w.cluster.Servers[slices.IndexFunc(w.cluster.Servers, func(s *local.Server) bool { return s.Name == name })]
}

// within calls probe until it returns nil, and returns its last error if it
// hasn't by the end.
func within(ctx context.Context, limit time.Duration, probe func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := probe()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %v: %w", limit, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
