package main

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"backbeat/deploy/local"
)

const (
	// many and few are the connections of a row's two loads: with few of them
	// nothing is done for several requests at once.
	many = 32
	few  = 4
	// warmFor is how long a load runs before it is measured, floorFor how long each
	// floor is. Where there is much data it takes growthWarmFor until processes hold
	// what they hold for minutes.
	warmFor       = time.Second
	growthWarmFor = 20 * time.Second
	floorFor      = time.Second
	// idleFor is how long the system is looked at while nobody asks it anything.
	idleFor = 5 * time.Second
)

// apart are spent beside the goals, which are about our processes, MariaDB, Redis
// and RabbitMQ: discovery and traces, ffmpeg's work, and the hashing of passwords.
var apart = map[string]bool{"etcd": true, "jaeger": true, "ffmpeg": true, "argon2id": true}

// bench is one run.
type bench struct {
	world    *world
	counters counters
	floors   *floors
	seconds  float64
	// idle is what happens while nobody asks: no request is to blame for it.
	idle interval
	// profile is the role that is profiled in each row; "" is the one that costs most
	// in it.
	profile string
}

// reading is everything that is read before and after a load.
type reading struct {
	cpu    account
	counts counts
	// busy is what the whole machine spent, driver what this process did.
	busy, driver time.Duration
	at           time.Time
}

func (b *bench) read(ctx context.Context) (now reading, err error) {
	if now.counts, err = b.counters.read(ctx); err != nil {
		return now, err
	}
	if now.cpu, err = read(b.world.members); err != nil {
		return now, err
	}
	if now.driver, err = own(); err != nil {
		return now, err
	}
	now.at = time.Now()
	now.busy, err = machine()
	return now, err
}

// since returns what lies between two readings.
func (now reading) since(before reading) interval {
	return interval{now.cpu.since(before.cpu), now.counts.since(before.counts), now.busy - before.busy - (now.driver - before.driver), now.at.Sub(before.at)}
}

// interval is what happened between two readings.
type interval struct {
	cpu    account
	counts counts
	// busy is what the machine spent without the driver.
	busy, took time.Duration
}

// others is how many cores processes took that have nothing to do with the bench.
func (i interval) others() float64 {
	rest := i.busy
	for _, d := range i.cpu {
		rest -= d
	}
	return max(0, rest.Seconds()/i.took.Seconds())
}

// rest looks at the system while nobody asks it anything.
func (b *bench) rest(ctx context.Context) error {
	before, err := b.read(ctx)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-time.After(idleFor):
	}
	after, err := b.read(ctx)
	b.idle = after.since(before)
	return errors.Join(err, ctx.Err())
}

// measure drives a row, with many connections and again with few, and once more for
// a profile.
func (b *bench) measure(ctx context.Context, r row) (crowd, handful Row, err error) {
	next, err := r.requests(b.world)
	if err != nil {
		return crowd, handful, err
	}
	if crowd, err = b.warmed(ctx, r, next, many, warmFor); err != nil {
		return crowd, handful, err
	}
	if handful, err = b.warmed(ctx, r, next, few, warmFor); err != nil {
		return crowd, handful, err
	}
	taken, meanwhile, missing, err := b.profiled(ctx, r, next, crowd.By)
	crowd.Profile = &taken
	crowd.blame(meanwhile)
	crowd.lose(missing)
	return crowd, handful, err
}

// warmed drives a row for a moment and then measures it. What goes wrong in the first
// counts as an error of the second.
func (b *bench) warmed(ctx context.Context, r row, next source, connections int, warm time.Duration) (Row, error) {
	before := drive(ctx, load{addr: b.world.addr, connections: connections, length: warm, next: limited(next, r.most/4)})
	missing, err := b.world.settle(ctx)
	if err != nil {
		return Row{}, err
	}
	length := time.Duration(b.seconds * float64(time.Second))
	result, err := b.load(ctx, r, load{addr: b.world.addr, connections: connections, length: length, next: limited(next, r.most)})
	if err != nil {
		return result, err
	}
	result.lose(missing)
	result.blame(before)
	return result, nil
}

// limited hands out no more than most requests; 0 is no bound.
func limited(next source, most int) source {
	if most == 0 {
		return next
	}
	var sent atomic.Int64
	return func() (request, bool) {
		if sent.Add(1) > int64(most) {
			return request{}, false
		}
		return next()
	}
}

// load drives a row and counts until all that it caused is done.
func (b *bench) load(ctx context.Context, r row, l load) (result Row, err error) {
	before, err := b.read(ctx)
	if err != nil {
		return result, err
	}
	t := drive(ctx, l)
	missing, err := b.world.settle(ctx)
	if err != nil {
		return result, err
	}
	after, err := b.read(ctx)
	if err := errors.Join(err, ctx.Err()); err != nil {
		return result, err
	}
	between := after.since(before)
	spent := between.cpu.beyond(b.idle.cpu, between.took, b.idle.took)
	result.fill(r, l.connections, t, spent, between.counts.beyond(b.idle.counts, between.took, b.idle.took))
	result.lose(missing)
	result.Others = rounded(between.others())
	result.GatewayMB, err = memory(b.part("gateway").PIDs()[0])
	return result, err
}

// part returns the process of a role, nil for none.
func (b *bench) part(name string) *local.Server {
	for _, part := range b.world.cluster.Parts {
		if role(part) == name {
			return part
		}
	}
	return nil
}

// file makes a name of a file of a row's.
func file(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	return strings.Join(words, "-")
}
