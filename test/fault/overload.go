package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"backbeat/deploy/local"
)

// closedLoops is how many clients ask one request after the other to find out what
// the system can do.
const closedLoops = 32

// overload finds the peak, then asks for twice as much over connections among
// thousands that ask for nothing.
func overload(ctx context.Context, r *run, _ int) (err error) {
	release, err := r.oneCore(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	peak := r.peak(ctx)
	crowd, err := gather(r.cluster.Base, r.some(2000), r.some(200))
	if err != nil {
		return err
	}
	defer crowd.disperse()
	circuits := r.opened()
	var early, late, descriptors int
	err = r.during("overload", func() (err error) {
		r.samples, err = r.driveWhile(ctx, mixed, 2*peak, func() (err error) {
			if err := r.hold(ctx, 20*time.Second); err != nil {
				return err
			}
			if early, _, err = r.footprint(); err != nil {
				return err
			}
			if err := r.hold(ctx, 40*time.Second); err != nil {
				return err
			}
			late, descriptors, err = r.footprint()
			return err
		})
		return err
	})
	if err != nil {
		return err
	}
	good := count(r.samples, is(served))
	lasted := r.windows[0].to.Sub(r.windows[0].from).Seconds()
	share := float64(good) / lasted / float64(peak)
	turnedAway := those(r.samples, refused)
	opened := r.opened() - circuits
	r.notes = append(r.notes, fmt.Sprintf("peak %d/s; at twice that %.0f/s served (%.0f %%), p99 %v; %d refused, p50 %v, p99 %v; %d circuits opened; gateway %d MB after a third, %d MB at the end, %d descriptors",
		peak, float64(good)/lasted, 100*share, quantile(those(r.samples, served), 0.99), len(turnedAway), quantile(turnedAway, 0.5), quantile(turnedAway, 0.99),
		opened, early>>20, late>>20, descriptors))
	if r.scale.patient {
		return r.recovered(ctx, peak)
	}
	var faults []error
	if share < 0.75 {
		faults = append(faults, fmt.Errorf("goodput is %.0f %% of the peak", 100*share))
	}
	if opened > 0 {
		faults = append(faults, fmt.Errorf("%d circuits opened", opened))
	}
	if p50 := quantile(turnedAway, 0.5); p50 > 250*time.Millisecond {
		faults = append(faults, fmt.Errorf("half of the refusals took %v or more", p50))
	}
	if late > early*5/4+64<<20 {
		faults = append(faults, fmt.Errorf("the gateway grew from %d to %d MB", early>>20, late>>20))
	}
	return errors.Join(append(faults, r.recovered(ctx, peak))...)
}

func those(samples []sample, o outcome) (found []sample) {
	for _, s := range samples {
		if s.outcome == o {
			found = append(found, s)
		}
	}
	return found
}

// recovered asks for a quarter of the peak, five seconds after the overload, and
// expects everything to be served.
func (r *run) recovered(ctx context.Context, peak int) error {
	if err := r.hold(ctx, 5*time.Second); err != nil {
		return err
	}
	after, err := r.driveWhile(ctx, mixed, max(1, peak/4), func() error { return r.hold(ctx, 5*time.Second) })
	if n := count(after, func(s sample) bool { return s.outcome != served }); n*1000 > len(after) && !r.scale.patient {
		err = errors.Join(err, fmt.Errorf("%d of %d were not served after the overload", n, len(after)))
	}
	return err
}

// some is a number of the full form.
func (r *run) some(full int) int { return max(1, int(float64(full)*r.scale.load)) }

// peak returns how many requests a second are served when each client waits for
// its answer.
func (r *run) peak(ctx context.Context) int {
	measuring, stop := context.WithCancel(ctx)
	var good atomic.Int64
	var clients sync.WaitGroup
	for range closedLoops {
		clients.Go(func() {
			for n := 0; measuring.Err() == nil; n++ {
				if s := r.send(mixed[n%len(mixed)], time.Now()); s.outcome == served {
					good.Add(1)
				}
			}
		})
	}
	began := time.Now()
	_ = r.hold(ctx, 10*time.Second) // the count is right even if it was cut short
	stop()
	clients.Wait()
	return max(1, int(float64(good.Load())/time.Since(began).Seconds()))
}

// opened counts the circuits that the gateway's log says have opened.
func (r *run) opened() int {
	log, err := r.gateway().Log()
	if err != nil {
		return 0
	}
	return strings.Count(log, `"circuit opened"`)
}

// oneCore leaves one core to all that is not this process, so that the load does
// not eat what it measures. It does nothing where there is only one, or for a
// patient run.
func (r *run) oneCore(ctx context.Context) (release func() error, err error) {
	cores := runtime.NumCPU()
	if cores < 2 || r.scale.patient {
		return func() error { return nil }, nil
	}
	pin := func(ctx context.Context, servers, own string) error {
		var faults []error
		for _, s := range append(append([]*local.Server(nil), r.cluster.Servers...), r.cluster.Parts...) {
			for _, pid := range s.PIDs() {
				faults = append(faults, affinity(ctx, servers, pid))
			}
		}
		return errors.Join(append(faults, affinity(ctx, own, os.Getpid()))...)
	}
	all := fmt.Sprintf("0-%d", cores-1)
	if err := pin(ctx, "0", fmt.Sprintf("1-%d", cores-1)); err != nil {
		return nil, err
	}
	return func() error { return pin(context.WithoutCancel(ctx), all, all) }, nil
}

// affinity binds all threads of a process to cores.
func affinity(ctx context.Context, cores string, pid int) error {
	printed, err := exec.CommandContext(ctx, "taskset", "-acp", cores, strconv.Itoa(pid)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("taskset: %w: %s", err, printed)
	}
	return nil
}

// crowd is connections that take room and ask for nothing.
type crowd struct {
	idle []net.Conn
	stop context.CancelFunc
	slow sync.WaitGroup
}

// gather opens idle connections and clients that send a request a byte a second
// and come again whenever they are thrown out.
func gather(base string, idle, slow int) (*crowd, error) {
	address := strings.TrimPrefix(base, "http://")
	ctx, stop := context.WithCancel(context.Background())
	c := &crowd{stop: stop}
	for range idle {
		conn, err := net.DialTimeout("tcp", address, 5*time.Second)
		if err != nil {
			c.disperse()
			return nil, fmt.Errorf("opening idle connections: %w", err)
		}
		c.idle = append(c.idle, conn)
	}
	for range slow {
		c.slow.Go(func() {
			for ctx.Err() == nil {
				dribble(ctx, address)
			}
		})
	}
	return c, nil
}

// dribble sends a request a byte a second until it is thrown out.
func dribble(ctx context.Context, address string) {
	ticks := time.NewTicker(time.Second)
	defer ticks.Stop()
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err == nil {
		defer conn.Close()
	}
	for _, b := range []byte("GET /douyin/feed/ HTTP/1.1\r\nHost: backbeat\r\nX-Slow: " + strings.Repeat("x", 100)) {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		if err != nil {
			return
		}
		_, err = conn.Write([]byte{b})
	}
}

func (c *crowd) disperse() {
	c.stop()
	for _, conn := range c.idle {
		_ = conn.Close()
	}
	c.slow.Wait()
}
