package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"backbeat/test/harness"
)

// loginFlood compares feeds without and with a flood of logins beside them.
func loginFlood(ctx context.Context, r *run, rate int) (err error) {
	var logins []sample
	r.samples, err = r.driveWhile(ctx, pages, rate, func() error {
		if err := r.hold(ctx, 3*time.Second); err != nil { // caches warm
			return err
		}
		if err := r.during("calm", func() error { return r.hold(ctx, 15*time.Second) }); err != nil {
			return err
		}
		return r.during("flood", func() (err error) {
			logins, err = r.driveWhile(ctx, []request{{"login", login}}, r.some(300), func() error { return r.hold(ctx, 20*time.Second) })
			return err
		})
	})
	if err != nil {
		return err
	}
	calm, flood := r.sampled(r.windows[0], 0), r.sampled(r.windows[1], 0)
	before, beside := quantile(calm, 0.99), quantile(flood, 0.99)
	good, turned := count(logins, is(served)), count(logins, is(refused))
	r.notes = append(r.notes, fmt.Sprintf("feed p99 %v, beside the flood %v (p50 %v, %v); %d of %d logins served, %d refused",
		before, beside, quantile(calm, 0.5), quantile(flood, 0.5), good, len(logins), turned))
	if other := len(logins) - good - turned; other > 0 {
		first := logins[slices.IndexFunc(logins, is(failed))]
		return fmt.Errorf("%d logins failed, one after %v: %.300s", other, first.latency().Round(time.Millisecond), first.detail)
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
