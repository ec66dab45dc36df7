package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"backbeat/test/harness"
)

// outcome is what became of a request.
type outcome string

const (
	served  outcome = "served"
	refused outcome = "refused" // clearly: HTTP 200, a status_code and a text
	failed  outcome = "failed"  // a 5xx, no JSON, no answer
)

// sample is one request of a load. Its latency counts from the moment it was
// due, so that a system that stalls can't hide what it kept waiting.
type sample struct {
	request         string
	due, sent, done time.Time
	outcome         outcome
	// detail is the answer or the error of what was not served.
	detail string
	// degraded is the header that names the parts a fallback stood in for.
	degraded string
}

func (s sample) latency() time.Duration { return s.done.Sub(s.due) }

// request is a kind of request of a load.
type request struct {
	name string
	send func(*world) (harness.Answer, error)
}

// lateAfter is how long after its moment a request counts as sent late, and
// inFlight how many may be under way, so that a hung system doesn't exhaust the
// driver: those that then wait are late too, none is skipped.
const (
	lateAfter = 100 * time.Millisecond
	inFlight  = 2000
)

// drive sends rate requests a second, drawn from the mix, until ctx ends, and
// returns them all when the last is answered.
func (w *world) drive(ctx context.Context, mix []request, rate int) []sample {
	var (
		mu      sync.Mutex
		samples []sample
		group   sync.WaitGroup
		slots   = make(chan struct{}, inFlight)
		start   = time.Now()
	)
	for n := 0; ; n++ {
		due := start.Add(time.Duration(n) * time.Second / time.Duration(rate))
		select {
		case <-ctx.Done():
			group.Wait()
			return samples
		case <-time.After(time.Until(due)):
		}
		slots <- struct{}{}
		kind := mix[rand.N(len(mix))]
		group.Go(func() {
			s := w.send(kind, due)
			<-slots
			mu.Lock()
			defer mu.Unlock()
			samples = append(samples, s)
		})
	}
}

// driveWhile drives a load until do returns, and returns its samples when the last
// is answered.
func (w *world) driveWhile(ctx context.Context, mix []request, rate int, do func() error) ([]sample, error) {
	loading, stop := context.WithCancel(ctx)
	done := make(chan []sample)
	go func() { done <- w.drive(loading, mix, rate) }()
	err := do()
	stop()
	return <-done, err
}

func (w *world) send(kind request, due time.Time) sample {
	s := sample{request: kind.name, due: due, sent: time.Now()}
	answer, err := kind.send(w)
	s.done, s.outcome, s.detail = time.Now(), served, answer.Raw
	switch {
	case err != nil:
		s.outcome, s.detail = failed, err.Error()
	case answer.HTTP != 200 || answer.StatusCode != 0 && answer.StatusMsg == "":
		s.outcome = failed
	case answer.StatusCode != 0:
		s.outcome = refused
	default:
		s.detail = ""
	}
	if answer.Header != nil {
		s.degraded = answer.Header.Get("Backbeat-Degraded")
	}
	return s
}

func count(samples []sample, is func(sample) bool) (n int) {
	for _, s := range samples {
		if is(s) {
			n++
		}
	}
	return n
}

// quantile returns the latency that a share of the samples keeps below; 0 for none.
func quantile(samples []sample, share float64) time.Duration {
	if len(samples) == 0 {
		return 0
	}
	latencies := make([]time.Duration, len(samples))
	for i, s := range samples {
		latencies[i] = s.latency()
	}
	slices.Sort(latencies)
	return latencies[int(share*float64(len(latencies)-1))].Round(time.Millisecond)
}
