package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	clientv3 "go.etcd.io/etcd/client/v3"

	"backbeat/test/sluice"
)

// cases is the table.
func cases() []faultCase {
	return []faultCase{
		{
			name: "histories", fault: "lost answers, canceled requests, conflicts, refusing, repeating and reordering queues, a slow cache",
			promise: "what users see of their own acts is linearizable; counters exact; every broken variant caught",
			suite:   histories,
		},
		{
			name: "broker-killed", fault: "kill -9 of RabbitMQ, back after 20 s",
			promise: "nothing acknowledged lost or counted twice; p99 while down < 250 ms; drained ≤ 15 s after",
			mix:     likes, rate: 300, before: 10 * time.Second, after: 30 * time.Second, drain: 15 * time.Second,
			hurt: func(ctx context.Context, r *run) error {
				return r.killed(ctx, "rabbitmq", 20*time.Second)
			},
			excuse: rarely,
			judge:  func(r *run) (string, []string) { return r.tail("p99 while down", r.faulty(), 250*time.Millisecond) },
		},
		{
			name: "worker-killed", fault: "kill -9 of the favorite and video workers every 3 s",
			promise: "exactly once in effect, with redeliveries; every upload published once; no job stuck",
			mix:     append(repeat(request{"like", like}, 200), request{"upload", upload}), rate: 200,
			before: 3 * time.Second, after: 3 * time.Second, drain: time.Minute,
			hurt: workersKilled, excuse: rarely, judge: handedOverAgain,
		},
		{
			name: "instance-killed", fault: "one instance of each service in turn: kill -9, then SIGTERM",
			promise: "kill: only writes in flight fail, reads are retried; SIGTERM: none",
			mix:     mixed, rate: 150, before: 3 * time.Second, after: 3 * time.Second, drain: 10 * time.Second,
			hurt: instancesKilled, excuse: writeInFlightAtKill,
		},
		{
			name: "instance-hung", fault: "SIGSTOP of one of two of each service in turn, then SIGCONT",
			promise: "errors end ≤ 1 s; no circuit opens",
			mix:     mixed, rate: 150, before: 3 * time.Second, after: 3 * time.Second, drain: 10 * time.Second,
			hurt: instancesHung, excuse: atFirst(time.Second), judge: passedOver,
		},
		{
			name: "discovery-lost", fault: "etcd stopped for 60 s, its data wiped, started",
			promise: "0 failures from discovery; every instance registered again ≤ 10 s",
			mix:     mixed, rate: 100, before: 3 * time.Second, after: 5 * time.Second, drain: 10 * time.Second,
			hurt: discoveryLost,
		},
		{
			name: "database-killed", fault: "kill -9 of MariaDB, back after 5 s, three times",
			promise: "0 lost, 0 half-applied; refusals only during the outage + 2 s; the feed answers",
			mix:     mixed, rate: 300, before: 5 * time.Second, after: 10 * time.Second, drain: 30 * time.Second,
			hurt: databaseKilled, excuse: while(2 * time.Second), judge: feedAnswers,
		},
		{
			name: "cache-lost", fault: "Redis killed and back after 5 s; FLUSHALL; a stall of 10 s",
			promise: "no wrong flag or count after; feed success ≥ 99.9 %; no stampede",
			mix:     append(repeat(request{"feed", feed}, 2), request{"like", like}), rate: 300,
			before: 3 * time.Second, after: 5 * time.Second, drain: 15 * time.Second,
			arrange: recorded, hurt: cacheLost, excuse: rarely, judge: feedAnswers,
		},
		{
			name: "poison", fault: "100 unreadable messages, 100 of unknown type, version or upload, 10 that panic, in the middle of good ones",
			promise: "all good ones applied; the 210 among the dead, with reasons; dead list, show and replay handle them",
			mix:     likes, rate: 300, before: 2 * time.Second, after: 5 * time.Second, drain: 15 * time.Second,
			hurt: poisoned, excuse: rarely,
		},
		{
			name: "dead-service", fault: "both instances of each service stopped, one service at a time",
			promise: "every endpoint answers, by fallback or clear refusal, never 5xx, never a hang",
			mix:     mixed, rate: 20, before: time.Second, after: 5 * time.Second, drain: 10 * time.Second,
			hurt: servicesDead, excuse: func(*run, sample) bool { return true },
		},
		{
			name: "slow-service", fault: "favorite's database and cache 2 s late for 10 s, after a minute of healthy traffic",
			promise: "circuit opens ≤ 2 s; feed p99 < 250 ms, the header naming the part; closed again ≤ 3 s after healing; goroutines flat",
			mix:     pages, rate: 150, before: time.Minute, after: 8 * time.Second, drain: 10 * time.Second,
			arrange: slowableFavorite, hurt: favoriteSlow, judge: circuitOpens,
		},
		{
			name: "login-flood", fault: "300 logins/s for 20 s",
			promise: "the p99 of a feed at 100/s rises by less than 30 % or 10 ms",
			mix:     pages, rate: 100, drain: 10 * time.Second,
			play: loginFlood,
		},
		{
			name: "overload", fault: "twice the peak for 60 s, 2,000 idle and 200 byte-at-a-time connections, all on one core",
			promise: "goodput ≥ 75 % of the peak, no circuit opens, refused early, memory flat, recovered ≤ 5 s after",
			mix:     mixed, rate: 100, drain: 30 * time.Second,
			play: overload, excuse: func(*run, sample) bool { return true },
		},
		{
			name: "rolling-restart", fault: "every process of ours in turn by SIGTERM, two gateways, a key rotation on the way",
			promise: "0 failed, uploads and downloads of 20 MB in flight included",
			mix:     append(slices.Repeat(mixed, 9), request{"upload", upload}, request{"download", download}), rate: 100,
			before: 2 * time.Second, after: 3 * time.Second, drain: time.Minute,
			arrange: secondGateway, hurt: restartedInTurn, judge: restarts,
		},
		{
			name: "disk-full", fault: "the data folder of an embedded instance on a full disk",
			promise: "clear refusals, nothing corrupted, goes on without a restart",
			mix:     mixed, rate: 30, drain: time.Minute,
			play: diskFull, excuse: while(3 * time.Second),
		},
		{
			name: "fd-limit", fault: "128 descriptors for an embedded instance, 300 connections that ask for nothing",
			promise: "clear refusals, nothing corrupted, goes on without a restart",
			mix:     mixed, rate: 30, drain: time.Minute,
			play: fewDescriptors, excuse: while(time.Second),
		},
		{
			name: "soak", fault: "none, 20 minutes", apart: true,
			promise: "heap, goroutines and descriptors do not grow",
			mix:     mixed, rate: 500, drain: 30 * time.Second, // about half of the peak that overload prints
			play: soak, excuse: rarely,
		},
	}
}

func repeat(one request, n int) (mix []request) {
	for range n {
		mix = append(mix, one)
	}
	return mix
}

// services are the roles that the gateway calls.
var services = []string{"user", "video", "favorite", "comment", "relation", "message"}

// tail is a figure of the slowest hundredth, and whether it is below a bound.
func (r *run) tail(what string, samples []sample, bound time.Duration) (figure string, wrong []string) {
	p99 := quantile(samples, 0.99)
	if p99 >= bound {
		wrong = []string{fmt.Sprintf("%s is %v", what, p99)}
	}
	return fmt.Sprintf("%s %v (p50 %v)", what, p99, quantile(samples, 0.5)), wrong
}

// killed ends a server with SIGKILL and starts it again after a while.
func (r *run) killed(ctx context.Context, name string, down time.Duration) error {
	server := r.server(name)
	return r.during(name+" down", server.Kill,
		func() error { return r.hold(ctx, down) },
		func() error { return server.Start(ctx) })
}

// handedOverAgain counts, in the logs of the workers, the messages that a consumer
// left in hand when it was killed.
func handedOverAgain(r *run) (figure string, wrong []string) {
	n := 0
	for _, part := range r.cluster.Parts {
		log, err := part.Log()
		if err != nil {
			return "", []string{err.Error()}
		}
		for _, found := range again.FindAllStringSubmatch(log, -1) {
			messages, _ := strconv.Atoi(found[1]) // of digits
			n += messages
		}
	}
	if n == 0 {
		wrong = []string{"nothing was handed over again"}
	}
	return fmt.Sprintf("%d messages handed over again", n), wrong
}

var again = regexp.MustCompile(`"messages are handed over again".*"messages":(\d+)`)

// workersKilled kills, in a minute, one and the other instance of both workers
// in turn, so that one of two is always there.
func workersKilled(ctx context.Context, r *run) error {
	rounds := max(2, int(20*r.scale.time))
	for n := range rounds {
		for _, role := range []string{"favorite-worker", "video-worker"} {
			part := r.cluster.Part(fmt.Sprintf("%s-%d", role, n%2+1))
			if err := r.during(part.Name+" killed", part.Kill, func() error { return part.Start(ctx) }); err != nil {
				return err
			}
		}
		if err := r.hold(ctx, 3*time.Second); err != nil {
			return err
		}
	}
	return nil
}

func instancesKilled(ctx context.Context, r *run) error {
	for _, service := range services {
		part := r.cluster.Part(service + "-1")
		for _, end := range []struct {
			how string
			do  func() error
		}{{"killed", part.Kill}, {"stopped", part.Stop}} {
			err := r.during(part.Name+" "+end.how, end.do,
				func() error { return r.hold(ctx, 2*time.Second) },
				func() error { return part.Start(ctx) },
				func() error { return r.hold(ctx, time.Second) })
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// writeInFlightAtKill excuses writes that were under way when an instance was
// killed: whether they took effect nobody knows. Reads are asked for again.
func writeInFlightAtKill(r *run, s sample) bool {
	const killing = 200 * time.Millisecond // finding and ending the process takes as long
	if !slices.ContainsFunc(writes, func(w request) bool { return w.name == s.request }) {
		return false
	}
	return slices.ContainsFunc(r.windows, func(w window) bool {
		return strings.HasSuffix(w.what, "killed") && s.sent.Before(w.from.Add(killing)) && s.done.After(w.from)
	})
}

func instancesHung(ctx context.Context, r *run) error {
	for _, service := range services {
		part := r.cluster.Part(service + "-1")
		err := r.during(part.Name+" hung", part.Pause,
			func() error { return r.hold(ctx, 5*time.Second) }, part.Resume)
		if err != nil {
			return errors.Join(err, part.Resume())
		}
		if err := r.hold(ctx, 3*time.Second); err != nil {
			return err
		}
	}
	return nil
}

// passedOver is how much of the pages lacked a part, later than a second after an
// instance began to hang. An open circuit would show there.
func passedOver(r *run) (figure string, wrong []string) {
	first := atFirst(time.Second)
	dim := count(r.faulty(), func(s sample) bool { return s.degraded != "" && !first(r, s) })
	if dim > 0 {
		wrong = []string{fmt.Sprintf("%d pages lacked a part after the first second", dim)}
	}
	return fmt.Sprintf("%d pages lacked a part after the first second", dim), wrong
}

func discoveryLost(ctx context.Context, r *run) error {
	etcd := r.server("etcd")
	before, err := registered(ctx, etcd.Addr)
	if err != nil {
		return err
	}
	err = r.during("etcd gone", etcd.Wipe,
		func() error { return r.hold(ctx, time.Minute) },
		func() error { return etcd.Start(ctx) })
	if err != nil {
		return err
	}
	back := time.Now()
	err = within(ctx, 10*time.Second, func() error {
		now, err := registered(ctx, etcd.Addr)
		if err == nil && now < before {
			err = fmt.Errorf("%d of %d instances are registered again", now, before)
		}
		return err
	})
	r.notes = append(r.notes, fmt.Sprintf("%d instances registered again after %.1f s", before, time.Since(back).Seconds()))
	return err
}

// registered counts instances, on a connection of its own: one that outlived the
// outage would itself wait before it tries again.
func registered(ctx context.Context, etcd string) (n int64, err error) {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{etcd}, Context: ctx})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	asking, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	found, err := client.Get(asking, "/backbeat/services/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return 0, err
	}
	return found.Count, nil
}

func databaseKilled(ctx context.Context, r *run) error {
	for range 3 {
		if err := r.killed(ctx, "mariadb", 5*time.Second); err != nil {
			return err
		}
		if err := r.hold(ctx, 10*time.Second); err != nil {
			return err
		}
	}
	return nil
}

// feedAnswers is the share of feeds that were served while something was away.
func feedAnswers(r *run) (figure string, wrong []string) {
	var feeds []sample
	for _, s := range r.faulty() {
		if s.request == "feed" {
			feeds = append(feeds, s)
		}
	}
	unserved := count(feeds, func(s sample) bool { return s.outcome != served })
	if unserved*1000 > len(feeds) {
		wrong = []string{fmt.Sprintf("%d of %d feeds were not served", unserved, len(feeds))}
	}
	return fmt.Sprintf("%d of %d feeds served meanwhile, p99 %v", len(feeds)-unserved, len(feeds), quantile(feeds, 0.99)), wrong
}

func cacheLost(ctx context.Context, r *run) (err error) {
	server := r.server("redis")
	if err := r.killed(ctx, "redis", 5*time.Second); err != nil {
		return err
	}
	client := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer func() { err = errors.Join(err, client.Close()) }()
	return errors.Join(
		r.hold(ctx, 3*time.Second),
		r.during("redis flushed", func() error { return client.FlushAll(ctx).Err() }, func() error { return r.hold(ctx, 3*time.Second) }),
		r.during("redis stalled", server.Pause, func() error { return r.hold(ctx, 10*time.Second) }, server.Resume))
}

func slowableFavorite(ctx context.Context, r *run) (restore func() error, err error) {
	r.sluices, restore, err = r.slowable(ctx, "favorite")
	return restore, err
}

func favoriteSlow(ctx context.Context, r *run) error {
	if err := r.measure(ctx); err != nil {
		return err
	}
	err := r.during("favorite slow",
		func() error {
			return r.each(func(s *sluice.Sluice) error { return s.Delay(2 * time.Second) })
		},
		func() error { return r.hold(ctx, 10*time.Second) },
		func() error { return r.measure(ctx) })
	// The window ends before the healing, which takes one after the other and a while.
	if err == nil {
		err = r.each(func(s *sluice.Sluice) error { return s.Heal(ctx) })
	}
	if err == nil {
		err = r.hold(ctx, 5*time.Second)
	}
	return errors.Join(err, r.measure(ctx))
}

func (r *run) each(do func(*sluice.Sluice) error) error {
	var faults []error
	for _, s := range r.sluices {
		faults = append(faults, do(s))
	}
	return errors.Join(faults...)
}

// circuitOpens tells from the feed's latency when the circuit opened: a page that
// waits for the hung service takes its budget, one that doesn't is quick.
func circuitOpens(r *run) (figure string, wrong []string) {
	const waiting = 150 * time.Millisecond
	if len(r.windows) == 0 {
		return "nothing was slow", []string{"nothing was slow"}
	}
	hung := r.windows[0]
	inside := r.sampled(hung, 0)
	opened, closed, whole := time.Duration(0), time.Duration(0), 0
	for _, s := range inside {
		since := s.due.Sub(hung.from)
		if s.degraded == "" && since > 500*time.Millisecond && s.done.Before(hung.to) {
			whole++
		}
	}
	// Probes of the half-open circuit wait too, one a second: open is where fewer
	// than half of a tenth of a second's pages wait.
	for at := time.Duration(0); at < hung.to.Sub(hung.from); at += 250 * time.Millisecond {
		slice := r.sampled(window{from: hung.from.Add(at), to: hung.from.Add(at + 250*time.Millisecond)}, 0)
		if slow := count(slice, func(s sample) bool { return s.latency() >= waiting }); slow*2 > len(slice) {
			opened = at + 250*time.Millisecond
		}
	}
	for _, s := range r.samples {
		if s.due.After(hung.to) && s.degraded != "" {
			closed = max(closed, s.due.Sub(hung.to))
		}
	}
	figure, wrong = r.tail("feed p99", inside, 250*time.Millisecond)
	if opened > 2*time.Second {
		wrong = append(wrong, fmt.Sprintf("the circuit opened after %v", opened))
	}
	if closed > 3*time.Second {
		wrong = append(wrong, fmt.Sprintf("a page lacked a part %v after healing", closed))
	}
	if whole > 0 {
		wrong = append(wrong, fmt.Sprintf("%d pages did not name the part", whole))
	}
	if most := slices.Max(r.goroutines); most > 2*r.goroutines[0]+200 {
		wrong = append(wrong, fmt.Sprintf("%d goroutines", most))
	}
	return fmt.Sprintf("opened ≤ %v, closed %v after healing, %s, goroutines %v", opened, closed.Round(time.Millisecond), figure, r.goroutines), wrong
}
