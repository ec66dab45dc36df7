package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"backbeat/test/sluice"
)

// faultCase is one row of the table: a fault, the load it meets, and what is
// promised all the same. Durations and rates are those of the full form.
type faultCase struct {
	name, fault, promise string
	// mix is drawn from rate times a second, from before the fault until after
	// it has healed.
	mix           []request
	rate          int
	before, after time.Duration
	// arrange sets the scene before the load, and returns what puts it back; may
	// be nil.
	arrange func(context.Context, *run) (restore func() error, err error)
	// hurt injects the fault and heals it, and returns when it is healed.
	hurt func(context.Context, *run) error
	// play drives a load of another shape, hurt included; nil is rate all the time.
	play func(ctx context.Context, r *run, rate int) error
	// suite proves the promise by tests on systems of their own, in place of all
	// that follows from a world; `make test` runs their short form as it is.
	suite func(context.Context, scale) (load, figure string, err error)
	// apart is true for a case that takes long and runs only when it is named.
	apart bool
	// excuse reports whether the promise allows that this request was refused;
	// nil excuses none. A failed request (a 5xx, a hang) is never excused.
	excuse func(*run, sample) bool
	// drain is how soon after the load everything must be in order.
	drain time.Duration
	// judge returns the figure and what of the case's own promise did not hold;
	// nil judges by answers and ledger alone.
	judge func(*run) (figure string, wrong []string)
}

// scale is how much of a case is run.
type scale struct {
	// load and time multiply rates and durations.
	load, time float64
	// patient ignores latency: for machines that do everything at once, with -race.
	patient bool
}

// window is a time in which a fault lasted.
type window struct {
	what     string
	from, to time.Time
}

// run is one case being run.
type run struct {
	*world
	scale   scale
	windows []window
	samples []sample
	notes   []string
	// goroutines are the gateway's before the fault, while it lasts, and at the end.
	goroutines []int
	// sluices hold back what flows to a service that was made slowable.
	sluices []*sluice.Sluice
}

// record is what a run came to, a line of the table and an entry of latest.json.
type record struct {
	Case    string   `json:"case"`
	Fault   string   `json:"fault"`
	Load    string   `json:"load"`
	Promise string   `json:"promise"`
	Figure  string   `json:"figure"`
	Passed  bool     `json:"passed"`
	Wrong   []string `json:"wrong,omitempty"`
	Notes   []string `json:"notes,omitempty"`
	Seconds float64  `json:"seconds"`
}

func (r *record) String() string {
	verdict := "passed"
	if !r.Passed {
		verdict = "FAILED: " + strings.Join(r.Wrong, "; ")
	}
	return strings.Join([]string{r.Fault, r.Load, r.Promise, r.Figure, verdict}, " | ")
}

// runSuite runs a case that needs no world.
func (c faultCase) runSuite(ctx context.Context, s scale) record {
	began := time.Now()
	load, figure, err := c.suite(ctx, s)
	r := record{Case: c.name, Fault: c.fault, Promise: c.promise, Load: load, Figure: figure, Passed: err == nil}
	if err != nil {
		r.Wrong = []string{err.Error()}
	}
	r.Seconds = time.Since(began).Seconds()
	return r
}

// run runs the case in w.
func (c faultCase) run(ctx context.Context, w *world, s scale) record {
	began := time.Now()
	r := &run{world: w, scale: s}
	rate := max(1, int(float64(c.rate)*s.load))
	acknowledged := w.book.count()
	loaded, err := r.perform(ctx, c, rate)
	var wrong []string
	if err != nil {
		wrong = append(wrong, err.Error())
	}
	drain := c.drain
	if s.patient {
		drain = time.Minute
	}
	ended := time.Now()
	if err := within(ctx, drain, func() error { return w.drained(ctx) }); err != nil {
		wrong = append(wrong, "queue: "+err.Error())
	}
	figure := fmt.Sprintf("%d writes acknowledged, queue drained %.1f s after", w.book.count()-acknowledged, time.Since(ended).Seconds())
	// Asking everybody takes as long as it takes: what is wrong then stays wrong.
	if err := within(ctx, time.Minute, func() error { return w.audit(ctx) }); err != nil {
		wrong = append(wrong, "ledger: "+err.Error())
	}
	wrong = append(wrong, r.blame(c)...)
	figure += fmt.Sprintf("; %d of %d refused, %d late", count(r.samples, is(refused)), len(r.samples), count(r.samples, late))
	if c.judge != nil {
		own, more := c.judge(r)
		figure += "; " + own
		if !s.patient {
			wrong = append(wrong, more...)
		}
	}
	return record{
		Case: c.name, Fault: c.fault, Promise: c.promise,
		Load:   fmt.Sprintf("%d/s for %v, %d users × %d videos", rate, loaded, len(w.users), len(w.videos)),
		Figure: figure, Passed: len(wrong) == 0, Wrong: wrong, Notes: r.notes, Seconds: time.Since(began).Seconds(),
	}
}

// perform sets the scene, plays, and puts everything back. It returns how long the
// load was.
func (r *run) perform(ctx context.Context, c faultCase, rate int) (loaded time.Duration, err error) {
	if c.arrange != nil {
		restore, arrangeErr := c.arrange(ctx, r)
		if arrangeErr != nil {
			return 0, arrangeErr
		}
		defer func() { err = errors.Join(err, restore()) }()
	}
	began := time.Now()
	if c.play != nil {
		err = c.play(ctx, r, rate)
	} else {
		err = r.underLoad(ctx, c, rate)
	}
	return time.Since(began).Round(time.Second), err
}

// underLoad drives the load, hurts, and lets it go on for a while.
func (r *run) underLoad(ctx context.Context, c faultCase, rate int) (err error) {
	r.samples, err = r.driveWhile(ctx, c.mix, rate, func() error {
		if err := r.hold(ctx, c.before); err != nil {
			return err
		}
		if err := c.hurt(ctx, r); err != nil {
			return err
		}
		return r.hold(ctx, c.after)
	})
	return err
}

// hold waits for a duration of the full form.
func (r *run) hold(ctx context.Context, full time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Duration(float64(full) * r.scale.time)):
		return nil
	}
}

// during does the steps one after the other and notes when.
func (r *run) during(what string, steps ...func() error) error {
	from := time.Now()
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	r.windows = append(r.windows, window{what, from, time.Now()})
	return nil
}

// blame returns the requests that the promise does not excuse, the first few of
// them in words.
func (r *run) blame(c faultCase) (wrong []string) {
	n := 0
	for _, s := range r.samples {
		excused := s.outcome == served || s.outcome == refused && (r.scale.patient || c.excuse != nil && c.excuse(r, s))
		if excused {
			continue
		}
		if n++; n <= 6 {
			wrong = append(wrong, fmt.Sprintf("%s %s at %s after %v: %.900s", s.request, s.outcome, r.when(s), s.latency().Round(time.Millisecond), s.detail))
		}
	}
	if n > 0 {
		wrong = append([]string{fmt.Sprintf("%d requests not as promised", n)}, wrong...)
	}
	return wrong
}

// when says how a sample lies to the latest fault before it.
func (r *run) when(s sample) string {
	for _, w := range slices.Backward(r.windows) {
		if !s.due.Before(w.from) {
			when := fmt.Sprintf("%s+%.2fs", w.what, s.due.Sub(w.from).Seconds())
			if s.due.After(w.to) {
				when += fmt.Sprintf(" (%.2fs after it ended)", s.due.Sub(w.to).Seconds())
			}
			return when
		}
	}
	return "before the fault"
}

// sampled returns the samples that were due in a window, which grace makes longer.
func (r *run) sampled(in window, grace time.Duration) (found []sample) {
	for _, s := range r.samples {
		if !s.due.Before(in.from) && s.due.Before(in.to.Add(grace)) {
			found = append(found, s)
		}
	}
	return found
}

// faulty returns the samples of all windows.
func (r *run) faulty() (found []sample) {
	for _, w := range r.windows {
		found = append(found, r.sampled(w, 0)...)
	}
	return found
}

// while excuses what overlaps a window that is made longer at its end.
func while(grace time.Duration) func(*run, sample) bool {
	return func(r *run, s sample) bool {
		return slices.ContainsFunc(r.windows, func(w window) bool {
			return s.done.After(w.from) && s.due.Before(w.to.Add(grace))
		})
	}
}

// atFirst excuses what overlaps the beginning of a window.
func atFirst(first time.Duration) func(*run, sample) bool {
	return func(r *run, s sample) bool {
		return slices.ContainsFunc(r.windows, func(w window) bool {
			return s.done.After(w.from) && s.due.Before(w.from.Add(first))
		})
	}
}

// rarely excuses refusals as long as they are at most one in a thousand: any page
// may wait too long for a busy machine.
func rarely(r *run, _ sample) bool { return count(r.samples, is(refused))*1000 <= len(r.samples) }

func is(o outcome) func(sample) bool { return func(s sample) bool { return s.outcome == o } }

func late(s sample) bool { return s.sent.Sub(s.due) > lateAfter }
