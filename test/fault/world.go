package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"gorm.io/gorm"

	"backbeat/app/seed"
	"backbeat/app/token"
	"backbeat/deploy/local"
	"backbeat/model"
	"backbeat/test/harness"
)

// size is how many users and videos a world holds.
type size struct{ users, videos int }

// world is a cluster of its own, with people, videos and the ledger of what they
// were answered.
type world struct {
	app *harness.App
	// cluster is nil when one process is all there is.
	cluster *local.Cluster
	// env is what every process of the world is started with, dsn its database and
	// keys the file with its token keys.
	env       []string
	dsn, keys string
	dir       string
	program   string
	book      *ledger
	// author is the user who uploads; users are the others.
	author harness.Account
	users  []harness.Account
	videos []int64
	// makers are those who made the videos.
	makers []int64
	// db is what an operator would look at when nobody answers for it.
	db *gorm.DB
	// clip is what is uploaded, and the file it is in.
	clip     []byte
	clipFile string
	// file is the path of a large download, fileSum its checksum.
	file    string
	fileSum [sha256.Size]byte
}

// newWorld starts two instances of everything, with env for each, and fills it.
// The video at clip is what is uploaded.
func newWorld(ctx context.Context, program, clip string, env []string, holds size) (_ *world, err error) {
	dir, err := os.MkdirTemp("", "backbeat-fault-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // servers run as other users
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	w := &world{dir: dir, program: program, book: newLedger(), clipFile: clip}
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
	w.env, w.dsn, w.keys = w.cluster.Env, w.server("mariadb").URL, filepath.Join(dir, "token.keys")
	w.app = newApp(w.cluster.Base)
	if err := w.seed(ctx, holds); err != nil {
		return nil, err
	}
	return w, w.meet(ctx, holds)
}

func newApp(base string) *harness.App {
	return &harness.App{Base: base, HTTP: &http.Client{
		Timeout:   time.Minute,
		Transport: &http.Transport{MaxIdleConnsPerHost: inFlight, IdleConnTimeout: 10 * time.Second},
	}}
}

func (w *world) close() error {
	var faults []error
	if w.db != nil {
		faults = append(faults, model.Close(w.db))
	}
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
	log, err := part.Log()
	if err != nil {
		return err
	}
	return harness.Inspect(part.Name+"'s log", provoked.ReplaceAllString(log, ""))
}

// provoked are the lines of panics that a case asked for.
var provoked = regexp.MustCompile(`(?m)^.*provoked.*$`)

// seed makes users and videos in bulk.
func (w *world) seed(ctx context.Context, holds size) error {
	_, err := w.backbeat(ctx, "seed", "-clip", w.clipFile, "-users", strconv.Itoa(holds.users+1), "-videos", strconv.Itoa(holds.videos),
		"-likes", "0", "-comments", "0", "-follows", "0", "-messages", "0")
	return err
}

// meet learns who the users are and finds the videos as the app would.
func (w *world) meet(ctx context.Context, holds size) error {
	if err := w.introduce(ctx, holds); err != nil {
		return err
	}
	w.author, w.users = w.users[0], w.users[1:]
	made := map[int64]bool{}
	for next := ""; ; {
		var page harness.Answer
		if err := within(ctx, 30*time.Second, func() (err error) { // cold, a page may lack parts
			page, err = w.get("/douyin/feed/", "latest_time", next)
			return err
		}); err != nil {
			return err
		}
		if len(page.VideoList) == 0 {
			break
		}
		for _, v := range page.VideoList {
			w.videos, made[v.Author.ID] = append(w.videos, v.ID), true
			if v.Author.ID == w.author.ID {
				w.note(fact{kind: "work", user: w.author.ID, text: v.Title})
			}
		}
		next = strconv.FormatInt(page.NextTime, 10)
	}
	if len(w.videos) != holds.videos {
		return fmt.Errorf("the feed shows %d of %d videos", len(w.videos), holds.videos)
	}
	made[w.author.ID] = true
	w.makers = slices.Collect(maps.Keys(made))
	return nil
}

// note enters in the ledger what was so before anybody asked for it.
func (w *world) note(f fact) {
	w.book.begin(f)
	w.book.end(f, true, true)
}

// introduce reads the users and gives them tokens, of the world's own key: a log-in
// takes 30 ms of a core.
func (w *world) introduce(ctx context.Context, holds size) error {
	var err error
	if w.db, err = model.Open(ctx, w.dsn, 1, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	var rows []model.User
	if err := w.db.WithContext(ctx).Select("id", "name").Order("name").Find(&rows, "name LIKE ?", "user%").Error; err != nil {
		return err
	}
	if len(rows) != holds.users+1 {
		return fmt.Errorf("%d of %d users are there", len(rows), holds.users+1)
	}
	list, err := os.ReadFile(w.keys)
	if err != nil {
		return err
	}
	keys, err := token.ParseKeys(string(list), time.Hour*24, time.Now)
	if err != nil {
		return err
	}
	for _, row := range rows {
		signed, err := keys.Sign(row.ID, time.Now())
		if err != nil {
			return err
		}
		w.users = append(w.users, harness.Account{ID: row.ID, Name: row.Name, Password: seed.Password, Token: signed})
	}
	return nil
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

// startPart starts one more process of the cluster, with env over the others'.
func (w *world) startPart(ctx context.Context, name string, env []string) (*local.Server, error) {
	return w.cluster.StartPart(ctx, filepath.Join(w.dir, name), name, w.program, env, local.Options{})
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
