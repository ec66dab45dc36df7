package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"backbeat/test/harness"
)

// everything asks each endpoint of the API once.
var everything = []request{
	{"feed", feed},
	{"user/register", func(w *world) (harness.Answer, error) {
		return w.app.Try(http.MethodPost, "/douyin/user/register/", harness.Query("username", fmt.Sprint("late", time.Now().UnixNano()), "password", "pass1234"))
	}},
	{"user/login", func(w *world) (harness.Answer, error) {
		by := w.anyone()
		return w.app.Try(http.MethodPost, "/douyin/user/login/", harness.Query("username", by.Name, "password", by.Password))
	}},
	{"user", profile},
	{"publish/action", upload},
	{"publish/list", func(w *world) (harness.Answer, error) {
		return w.app.Try(http.MethodGet, "/douyin/publish/list/", harness.Query("token", w.author.Token, "user_id", w.author.ID))
	}},
	{"favorite/action", like},
	{"favorite/list", liked},
	{"comment/action", comment},
	{"comment/list", comments},
	{"relation/action", follow},
	{"relation/follow/list", follows},
	{"relation/follower/list", relations("follower")},
	{"relation/friend/list", relations("friend")},
	{"message/chat", chat},
	{"message/action", message},
}

func relations(kind string) func(w *world) (harness.Answer, error) {
	return func(w *world) (harness.Answer, error) {
		by := w.anyone()
		return w.app.Try(http.MethodGet, "/douyin/relation/"+kind+"/list/", harness.Query("token", by.Token, "user_id", by.ID))
	}
}

// hang is the longest an answer may take: three write budgets and some.
const hang = 4 * time.Second

// forgotten is how long a circuit remembers failures. Before that, one that met few
// requests may still open because of them, after its service is back.
const forgotten = 12 * time.Second

// servicesDead stops both instances of each service in turn, asks every endpoint,
// and notes what each does.
func servicesDead(ctx context.Context, r *run) error {
	var faults []error
	for _, service := range services {
		one, two := r.cluster.Part(service+"-1"), r.cluster.Part(service+"-2")
		err := r.during(service+" dead", one.Stop, two.Stop,
			func() error { return r.askEverything(service) },
			func() error { return one.Start(ctx) }, func() error { return two.Start(ctx) },
			func() error { return r.hold(ctx, forgotten) })
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// askEverything returns as error what no service's death excuses.
func (r *run) askEverything(dead string) error {
	var faults []error
	for _, one := range everything {
		s := r.send(one, time.Now())
		if s.outcome == failed || s.latency() > hang && !r.scale.patient {
			faults = append(faults, fmt.Errorf("%s without %s: %s after %v: %s", one.name, dead, s.outcome, s.latency(), s.detail))
		}
		does := string(s.outcome)
		switch {
		case s.outcome == served && s.degraded != "":
			does = "fallback for " + s.degraded
		case s.outcome != served:
			_, text, _ := strings.Cut(s.detail, `"status_msg":"`)
			text, _, _ = strings.Cut(text, `"`)
			does += ": " + text
		}
		r.notes = append(r.notes, fmt.Sprintf("without %-8s  %-22s  %s", dead, one.name, does))
	}
	return errors.Join(faults...)
}
