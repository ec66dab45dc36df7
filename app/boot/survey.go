package boot

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/opentracing/opentracing-go"

	"backbeat/config"
)

// surveyWithin bounds the wait for one server, which is asked every surveyEvery.
const (
	surveyWithin = 3 * time.Second
	surveyEvery  = 20 * time.Millisecond
)

// Standing is how something that roles need is.
type Standing struct {
	// Need is its name, as /readyz has it.
	Need string
	// Fault is nil for what is well.
	Fault error
}

// Survey asks everything outside the process that a role of this configuration may
// need how it is: servers, where they are named, and folders. It migrates nothing
// that has been migrated.
func Survey(ctx context.Context, cfg *config.Config, log *slog.Logger) (all []Standing, err error) {
	shared := newResources(cfg, log)
	defer func() {
		if closed := shared.close(); err == nil {
			err = closed
		}
	}()
	s := &site{resources: shared, name: "survey", tracer: opentracing.NoopTracer{}, log: log}
	for _, r := range roles {
		for _, n := range r.needs {
			asked := slices.ContainsFunc(all, func(known Standing) bool { return known.Need == n.name })
			if asked || n.name == tokenKeysName { // which lie in the configuration
				continue
			}
			all = append(all, Standing{n.name, s.ask(ctx, n)})
		}
	}
	return all, nil
}

// ask opens a need and checks it, until it is well or has had its time: to some
// servers the connection is made beside.
func (s *site) ask(ctx context.Context, n need) error {
	if err := n.open(s); err != nil {
		return err
	}
	check := s.checks.of(n.name)
	if check == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, surveyWithin)
	defer cancel()
	again := time.NewTicker(surveyEvery)
	defer again.Stop()
	for {
		fault := check(ctx)
		if fault == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fault
		}
	}
}
