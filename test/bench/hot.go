package main

import (
	"context"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"
)

// hotName is what -only finds it by.
const hotName = "hot"

// Both loads of the case are open ones, so that a slow system shows in latencies and
// is asked no less: one of ordinary users and one four times as large that goes to the
// star and the star's video, or to anybody's.
const (
	ordinaryRate = 150
	crowdedRate  = 600
	// hotFor is how long they last, hotRounds how often hot and even are in turn: a
	// machine differs from minute to minute.
	hotFor    = 4 * time.Second
	hotRounds = 2
)

// Hot is what it costs others that everybody asks for the same.
type Hot struct {
	Followers int `json:"followers"`
	// Even is the load spread evenly, Hot the same with four fifths of it about one
	// video and its author.
	Even HotLoad `json:"even"`
	Hot  HotLoad `json:"hot"`
	// Pages are the star's, and the same of ordinary users.
	Pages []Row `json:"pages"`
}

// HotLoad is what came of a load of both kinds. CPU is in ms per request.
type HotLoad struct {
	Requests int `json:"requests"`
	Errors   int `json:"errors"`
	Degraded int `json:"degraded"`
	// Fault is one of the errors.
	Fault string `json:"fault,omitempty"`
	// P50 and P99 are those of requests that are ordinary in both, CrowdP50 and CrowdP99
	// of those that are about the star in one.
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	CrowdP50 float64 `json:"crowd_p50_ms"`
	CrowdP99 float64 `json:"crowd_p99_ms"`
	CPU      float64 `json:"cpu_ms"`
	// By is CPU of each process, SQL and Redis what they were asked per request.
	By    map[string]float64 `json:"cpu_by"`
	SQL   float64            `json:"sql"`
	Redis float64            `json:"redis"`
	// Likes, Batches and WorkerCPU are what the worker of likes did each second: likes
	// applied, transactions' worth of messages, and ms of CPU.
	Likes     float64 `json:"likes_per_second"`
	Batches   float64 `json:"batches_per_second"`
	WorkerCPU float64 `json:"worker_ms_per_second"`
	Others    float64 `json:"others_cores"`
}

// hot measures the case.
func (b *bench) hot(ctx context.Context, f *fans) (*Hot, error) {
	likers := slices.Clone(f.ids)
	mathrand.Shuffle(len(likers), func(i, j int) { likers[i], likers[j] = likers[j], likers[i] })
	given := &given{fans: likers, about: map[int64]int{}}
	ordinary, err := b.about(f, given, false)
	if err != nil {
		return nil, err
	}
	star, err := b.about(f, given, true)
	if err != nil {
		return nil, err
	}
	result := &Hot{Followers: fanCount}
	even, hot := &gathered{}, &gathered{}
	for round := range hotRounds {
		for _, part := range []struct {
			to    *gathered
			crowd source
		}{{even, ordinary}, {hot, star}} {
			if round == 0 {
				if _, err := b.both(ctx, ordinary, part.crowd, warmFor); err != nil {
					return nil, err
				}
			}
			got, err := b.both(ctx, ordinary, part.crowd, hotFor)
			if err != nil {
				return nil, err
			}
			part.to.add(got)
		}
	}
	result.Even, result.Hot = even.load(), hot.load()
	result.Pages, err = b.pages(ctx, f)
	return result, err
}

// given remembers which fans have liked a video, so that each like is a new one.
type given struct {
	mu    sync.Mutex
	fans  []int64
	about map[int64]int
}

// next returns a fan who has not liked the video.
func (g *given) next(video int64) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.about[video]++
	return g.fans[g.about[video]%len(g.fans)]
}

// about returns requests for a video and its author: the star's or anybody's. A
// quarter of them are likes.
func (b *bench) about(f *fans, g *given, star bool) (source, error) {
	w := b.world
	draw := func() (video, author int64) {
		if star {
			return f.video, f.star
		}
		video = pick(w.videos)
		return video, f.authors[video]
	}
	reads := make([]request, poolSize)
	for i := range reads {
		video, author := draw()
		kinds := []func() (request, error){
			func() (request, error) {
				return w.ask(http.MethodGet, "/douyin/comment/list/", w.anyone(), "video_id", video)
			},
			func() (request, error) {
				return w.ask(http.MethodGet, "/douyin/user/", w.anyone(), "user_id", author)
			},
			func() (request, error) {
				return w.ask(http.MethodGet, "/douyin/publish/list/", w.anyone(), "user_id", author)
			},
			func() (request, error) {
				return w.ask(http.MethodGet, "/douyin/relation/follower/list/", w.anyone(), "user_id", author)
			},
		}
		var err error
		if reads[i], err = kinds[i%len(kinds)](); err != nil {
			return nil, err
		}
	}
	// Signing costs the driver little, and what is read goes round.
	var n atomic.Int64
	return func() (request, bool) {
		i := int(n.Add(1))
		if i%4 != 0 {
			return reads[mathrand.N(len(reads))], true
		}
		video, _ := draw()
		r, err := w.like(like{g.next(video), video})
		return r, err == nil
	}, nil
}

// measured is what came of both loads at once.
type measured struct {
	ordinary, crowd tally
	spent           account
	asked           counts
	// took is how long it was until all was done, others how many cores processes took
	// that have nothing to do with it.
	took            time.Duration
	others, batches float64
	likes, missing  int64
}

// both drives the two loads and counts until all that they caused is done.
func (b *bench) both(ctx context.Context, ordinary, crowd source, length time.Duration) (m measured, err error) {
	before, err := b.read(ctx)
	if err != nil {
		return m, err
	}
	begun, err := handled(ctx, b.part("favorite-worker"))
	if err != nil {
		return m, err
	}
	var driving sync.WaitGroup
	driving.Go(func() {
		m.ordinary = drive(ctx, load{addr: b.world.addr, connections: many, length: length, next: ordinary, rate: ordinaryRate})
	})
	driving.Go(func() {
		m.crowd = drive(ctx, load{addr: b.world.addr, connections: many, length: length, next: crowd, rate: crowdedRate})
	})
	driving.Wait()
	m.likes = b.world.liked.answered.Load()
	if m.missing, err = b.world.settle(ctx); err != nil {
		return m, err
	}
	after, err := b.read(ctx)
	if err != nil {
		return m, err
	}
	now, err := handled(ctx, b.part("favorite-worker"))
	m.batches = now - begun
	between := after.since(before)
	m.took, m.others = between.took, between.others()
	m.spent = between.cpu.beyond(b.idle.cpu, m.took, b.idle.took)
	m.asked = between.counts.beyond(b.idle.counts, m.took, b.idle.took)
	return m, err
}

// gathered is the sum of several rounds.
type gathered struct {
	measured
	rounds int
}

func (g *gathered) add(m measured) {
	g.rounds++
	g.ordinary.add(m.ordinary)
	g.crowd.add(m.crowd)
	if g.spent == nil {
		g.spent = account{}
	}
	for name, d := range m.spent {
		g.spent[name] += d
	}
	g.asked = counts{g.asked.sql + m.asked.sql, g.asked.redis + m.asked.redis, g.asked.rpc + m.asked.rpc}
	g.took, g.others, g.batches = g.took+m.took, g.others+m.others, g.batches+m.batches
	g.likes, g.missing = g.likes+m.likes, g.missing+m.missing
}

// load says what came of it.
func (g *gathered) load() HotLoad {
	all := g.ordinary
	all.add(g.crowd)
	all.took = g.took
	var r Row
	r.fill(row{}, many, all, g.spent, g.asked)
	r.lose(g.missing)
	slices.Sort(g.ordinary.latencies)
	slices.Sort(g.crowd.latencies)
	seconds := g.took.Seconds()
	return HotLoad{
		Requests: r.Requests, Errors: r.Errors, Degraded: r.Degraded, Fault: r.Fault,
		P50: g.ordinary.quantile(0.5), P99: g.ordinary.quantile(0.99), CrowdP50: g.crowd.quantile(0.5), CrowdP99: g.crowd.quantile(0.99),
		CPU: r.CPU, By: r.By, SQL: r.SQL, Redis: r.Redis,
		Likes: rounded(float64(g.likes) / seconds), Batches: rounded(g.batches / seconds),
		WorkerCPU: rounded(milliseconds(g.spent["favorite-worker"]) / seconds), Others: rounded(g.others / float64(g.rounds)),
	}
}

// pages measures the star's, each beside that of ordinary users.
func (b *bench) pages(ctx context.Context, f *fans) (rows []Row, err error) {
	star := func(path string) kind {
		return func(w *world) (request, error) {
			return w.ask(http.MethodGet, path, w.anyone(), "user_id", f.star)
		}
	}
	for _, page := range []row{
		{name: "user page of anybody", requests: pool(poolSize, userInfo)},
		{name: "user page of the star", requests: pool(poolSize, star("/douyin/user/"))},
		{name: "followers of anybody (20)", requests: pool(poolSize, followers)},
		{name: "followers of the star (1000)", requests: pool(poolSize, star("/douyin/relation/follower/list/"))},
	} {
		next, err := page.requests(b.world)
		if err != nil {
			return nil, err
		}
		l := load{addr: b.world.addr, connections: few, length: warmFor, next: next}
		drive(ctx, l)
		got, err := b.load(ctx, page, l)
		if err != nil {
			return nil, err
		}
		rows = append(rows, got)
	}
	return rows, nil
}

// print writes the case's tables.
func (h *Hot) print(w io.Writer) error {
	fmt.Fprintf(w, "\nhot: %d req/s of ordinary users beside %d req/s for anybody (even), or for one video and its author with %d followers (hot)\n",
		ordinaryRate, crowdedRate, h.Followers)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "load\trequests\terrors\tordinary p50\tp99\tcrowd p50\tp99\tCPU ms\tSQL\tRedis\tlikes/s\tbatches/s\tworker ms/s\tothers\t")
	for _, l := range []struct {
		name string
		HotLoad
	}{{"even", h.Even}, {"hot", h.Hot}} {
		fmt.Fprintf(table, "%s\t%d\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t%.3f\t%.2f\t%.2f\t%.0f\t%.0f\t%.0f\t%.2f\t\n",
			l.name, l.Requests, l.Errors, l.P50, l.P99, l.CrowdP50, l.CrowdP99, l.CPU, l.SQL, l.Redis, l.Likes, l.Batches, l.WorkerCPU, l.Others)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "  ordinary users' p99 %+.0f %% (goal: below +20 %%), CPU per request %+.0f %%\n",
		100*(ratio(h.Hot.P99, h.Even.P99)-1), 100*(ratio(h.Hot.CPU, h.Even.CPU)-1))
	fmt.Fprintf(w, "  even: %s\n  hot: %s\n", shares(h.Even.By, "%.3f"), shares(h.Hot.By, "%.3f"))
	for _, fault := range []string{h.Even.Fault, h.Hot.Fault} {
		if fault != "" {
			fmt.Fprintf(w, "    an error: %s\n", fault)
		}
	}
	table = tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "page\treq/s\tp50\tp99\terrors\tCPU ms\tSQL\tRedis\t")
	for _, r := range h.Pages {
		fmt.Fprintf(table, "%s\t%.0f\t%.1f\t%.1f\t%d\t%.3f\t%.2f\t%.2f\t\n", r.Name, r.RPS, r.P50, r.P99, r.Errors, r.CPU, r.SQL, r.Redis)
	}
	return table.Flush()
}
