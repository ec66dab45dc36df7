package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"backbeat/test/harness"
)

// loginFlood compares feeds without and with a flood of logins beside them.
func loginFlood(ctx context.Context, r *run, rate int) error {
	loading, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.samples = r.drive(loading, pages, rate)
	}()
	if err := r.hold(ctx, 3*time.Second); err != nil { // caches warm
		return err
	}
	err := r.during("calm", func() error { return r.hold(ctx, 15*time.Second) })
	var logins []sample
	if err == nil {
		err = r.during("flood", func() error {
			flooding, end := context.WithCancel(ctx)
			defer end()
			logged := make(chan []sample)
			go func() { logged <- r.drive(flooding, []request{{"login", login}}, r.some(300)) }()
			err := r.hold(ctx, 20*time.Second)
			end()
			logins = <-logged
			return err
		})
	}
	stop()
	<-done
	if err != nil {
		return err
	}
	calm, flood := r.sampled(r.windows[0], 0), r.sampled(r.windows[1], 0)
	before, beside := quantile(calm, 0.99), quantile(flood, 0.99)
	good, turned := count(logins, is(served)), count(logins, is(refused))
	r.notes = append(r.notes, fmt.Sprintf("feed p99 %v, beside the flood %v (p50 %v, %v); %d of %d logins served, %d refused",
		before, beside, quantile(calm, 0.5), quantile(flood, 0.5), good, len(logins), turned))
	if other := len(logins) - good - turned; other > 0 {
		return fmt.Errorf("%d logins failed", other)
	}
	if allowed := max(before*13/10, before+10*time.Millisecond); beside > allowed && !r.scale.patient {
		return fmt.Errorf("the feed's p99 rose from %v to %v", before, beside)
	}
	return nil
}

func login(w *world) (harness.Answer, error) {
	by := w.anyone()
	return w.app.Try(http.MethodPost, "/douyin/user/login/", harness.Query("username", by.Name, "password", by.Password))
}
