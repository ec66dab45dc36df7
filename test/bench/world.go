package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"backbeat/app/token"
	"backbeat/config"
	"backbeat/deploy/local"
	"backbeat/model"
)

const (
	// databaseMemory holds a hundred times the seed's numbers: a database that reads its
	// indexes from disk is one that needs a larger machine, and no row says more.
	databaseMemory = "--innodb-buffer-pool-size=4G"
	// One of so many users has about 20 followers, and one of so many videos about 100
	// comments: pages of a size, whatever the size of the data.
	popularShare   = 20
	discussedShare = 10
	// loginNames is how many users log in.
	loginNames = 2000
	// freeLikes is how many likes that nobody has given are for the loads, unless so
	// many drawings bring fewer. It is asked of the database for some at once.
	freeLikes   = 50_000
	drawnLikes  = 400_000
	likesAtOnce = 1000
)

// world is a cluster of one instance of each role, filled, and what loads need to
// know of it.
type world struct {
	dir     string
	cluster *local.Cluster
	addr    string
	members []member
	store   *store
	redis   *redis.Client
	keys    *token.Keys
	// issued is when everybody logged in: each has one token.
	issued time.Time

	// users and videos are all there are, the most popular first.
	users, videos []int64
	// rank draws one of so many; the first are the most popular.
	rank func(n int) int
	// popular have about 20 followers, discussed about 100 comments.
	popular, discussed []int64
	chats              []model.Conversation
	// names log in.
	names []string
	clip  []byte
	// likes are for pairs that nobody has liked; mu guards them.
	mu    sync.Mutex
	likes []request
	// liked and published follow the likes and uploads answered.
	liked, published awaited
	// filling is how long the seed took.
	filling time.Duration
}

// newWorld starts the cluster and fills it with what seed makes of its arguments.
func newWorld(ctx context.Context, seed []string) (w *world, err error) {
	w = &world{rank: uniform}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.dir, err = os.MkdirTemp("", "backbeat-bench-"); err != nil {
		return w, err
	}
	if err := os.Chmod(w.dir, 0o755); err != nil { // servers run as other users
		return w, err
	}
	program, clip := filepath.Join(w.dir, "backbeat"), filepath.Join(w.dir, "clip.mp4")
	if err := run(ctx, nil, "go", "build", "-o", program, "backbeat/app"); err != nil {
		return w, err
	}
	if w.clip, err = makeClip(ctx, clip); err != nil {
		return w, err
	}
	w.cluster, err = local.StartCluster(ctx, filepath.Join(w.dir, "cluster"), local.ClusterOptions{
		Program: program, Instances: 1, Database: []string{databaseMemory},
	})
	if err != nil {
		return w, err
	}
	w.addr = strings.TrimPrefix(w.cluster.Base, "http://")
	w.members = members(w.cluster)
	env := append(slices.Clone(w.cluster.Env), "BACKBEAT_DATA_DIR="+filepath.Join(w.dir, "seed"))
	began := time.Now()
	if err := run(ctx, env, program, append([]string{"seed"}, seed...)...); err != nil {
		return w, err
	}
	w.filling = time.Since(began)
	return w, w.learn(ctx)
}

// hired names what roles have done by processes of their own.
var hired = map[string]string{"user": "argon2id", "video-worker": "ffmpeg"}

// members are the processes of a cluster by role or server.
func members(c *local.Cluster) (all []member) {
	for _, part := range c.Parts {
		for _, pid := range part.PIDs() {
			all = append(all, member{name: role(part), pid: pid, children: hired[role(part)]})
		}
	}
	for _, server := range c.Servers {
		for _, pid := range server.PIDs() {
			all = append(all, member{name: server.Name, pid: pid})
		}
	}
	return all
}

// server returns the one of this name.
func (w *world) server(name string) *local.Server {
	i := slices.IndexFunc(w.cluster.Servers, func(s *local.Server) bool { return s.Name == name })
	return w.cluster.Servers[i]
}

// role is what a part's name begins with.
func role(part *local.Server) string { return part.Name[:strings.LastIndexByte(part.Name, '-')] }

// learn opens the cluster's database, cache and keys, and looks who is there.
func (w *world) learn(ctx context.Context) error {
	cfg, err := config.Load("", w.cluster.Env)
	if err != nil {
		return err
	}
	w.issued = time.Now()
	if w.keys, err = token.ParseKeys(cfg.Token.Keys, cfg.Token.Life, time.Now); err != nil {
		return err
	}
	w.redis = redis.NewClient(&redis.Options{Addr: cfg.Redis.Addr})
	db, err := model.Open(ctx, cfg.DB.DSN, 1, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	w.store = &store{db: db}
	for _, list := range []struct {
		of   *[]int64
		read func() ([]int64, error)
	}{
		{&w.users, func() ([]int64, error) {
			return ids[model.FollowUser](ctx, w.store, "user_id", "followers DESC", all)
		}},
		{&w.videos, func() ([]int64, error) {
			return ids[model.FavoriteVideo](ctx, w.store, "video_id", "likes DESC", all)
		}},
		{&w.popular, func() ([]int64, error) {
			return ids[model.FollowUser](ctx, w.store, "user_id", "ABS(followers - 20)", max(1, len(w.users)/popularShare))
		}},
		{&w.discussed, func() ([]int64, error) {
			return ids[model.CommentVideo](ctx, w.store, "video_id", "ABS(comments - 100)", max(1, len(w.videos)/discussedShare))
		}},
	} {
		if *list.of, err = list.read(); err != nil {
			return err
		}
	}
	if w.chats, err = w.store.conversations(ctx); err != nil {
		return err
	}
	if err := w.store.read(ctx).Model(&model.User{}).Where("name LIKE 'user%'").Limit(loginNames).Pluck("name", &w.names).Error; err != nil {
		return err
	}
	if err := w.drawLikes(ctx); err != nil {
		return err
	}
	w.liked.what, w.liked.count = "likes", func(ctx context.Context) (n int64, err error) {
		return n, w.store.read(ctx).Model(&model.FavoriteVideo{}).Select("COALESCE(SUM(likes), 0)").Scan(&n).Error
	}
	w.published.what, w.published.count = "published videos", func(ctx context.Context) (n int64, err error) {
		return n, w.store.read(ctx).Model(&model.Video{}).Where("published_at IS NOT NULL").Count(&n).Error
	}
	return errors.Join(w.liked.begin(ctx), w.published.begin(ctx))
}

// drawLikes draws likes that nobody has given.
func (w *world) drawLikes(ctx context.Context) error {
	w.likes = nil
	known := map[like]bool{}
	for drawings := 0; drawings < drawnLikes && len(w.likes) < freeLikes; {
		var list []like
		for ; drawings < drawnLikes && len(list) < likesAtOnce; drawings++ {
			l := like{w.anyone(), w.anything()}
			if !known[l] {
				known[l] = true
				list = append(list, l)
			}
		}
		free, err := w.store.without(ctx, list)
		if err != nil {
			return err
		}
		for _, l := range free {
			r, err := w.like(l)
			if err != nil {
				return err
			}
			w.likes = append(w.likes, r)
		}
	}
	return nil
}

// settle waits until everything answered has taken effect, and returns how much
// has not.
func (w *world) settle(ctx context.Context) (missing int64, err error) {
	likes, err := w.liked.settle(ctx)
	if err != nil {
		return 0, err
	}
	videos, err := w.published.settle(ctx)
	return likes + videos, err
}

func (w *world) close() error {
	var faults []error
	if w.redis != nil {
		faults = append(faults, w.redis.Close())
	}
	if w.cluster != nil {
		faults = append(faults, w.cluster.Stop(), w.keepLogs())
	}
	if w.dir != "" {
		faults = append(faults, os.RemoveAll(w.dir))
	}
	return errors.Join(faults...)
}

// keepLogs leaves behind what our processes logged: a row may have had errors.
func (w *world) keepLogs() error {
	var faults []error
	for _, part := range w.cluster.Parts {
		log, err := os.ReadFile(filepath.Join(part.Dir, "log"))
		if err == nil {
			err = os.WriteFile(filepath.Join(out, part.Name+".log"), log, 0o644)
		}
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// clipBytes is the size of an upload.
const clipBytes = 2 << 20

// makeClip draws a second of video and fills it up to its size with a box that
// players pass over, of noise as in real videos: readers of forms look at each byte.
func makeClip(ctx context.Context, path string) ([]byte, error) {
	err := run(ctx, nil, "ffmpeg", "-y", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=1",
		"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-movflags", "+faststart", path)
	if err != nil {
		return nil, err
	}
	clip, err := os.ReadFile(path)
	if err != nil || len(clip) > clipBytes-8 {
		return clip, err
	}
	free := make([]byte, clipBytes-len(clip))
	noise := rand.NewChaCha8([32]byte{})
	_, _ = noise.Read(free) // it never fails
	copy(free, []byte{byte(len(free) >> 24), byte(len(free) >> 16), byte(len(free) >> 8), byte(len(free)), 'f', 'r', 'e', 'e'})
	return append(clip, free...), nil
}

// run runs a command with env over our own environment; what it prints is part of
// the error.
func run(ctx context.Context, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	if printed, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, printed)
	}
	return nil
}
