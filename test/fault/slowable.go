package main

import (
	"context"
	"errors"

	"backbeat/deploy/local"
	"backbeat/test/sluice"
)

// slowable starts two more instances of a service behind sluices, in the place of
// those that there are, and returns the sluices and what puts everything back.
func (r *run) slowable(ctx context.Context, service string) (sluices []*sluice.Sluice, restore func() error, err error) {
	var env []string
	for server, variable := range map[string]string{"mariadb": "BACKBEAT_DB_DSN", "redis": "BACKBEAT_REDIS_ADDR"} {
		s, err := sluice.Open(r.server(server))
		if err != nil {
			return nil, nil, err
		}
		sluices, env = append(sluices, s), append(env, variable+"="+s.URL())
	}
	var parts []*local.Server
	restore = func() error {
		var faults []error
		for _, name := range []string{"-1", "-2"} {
			faults = append(faults, r.cluster.Part(service+name).Start(ctx))
		}
		for _, part := range parts {
			faults = append(faults, part.Stop(), clean(part))
		}
		for _, s := range sluices {
			s.Close()
		}
		return errors.Join(faults...)
	}
	for _, name := range []string{"-3", "-4"} {
		part, err := r.startPart(ctx, service+name, env)
		if part != nil {
			parts = append(parts, part)
		}
		if err != nil {
			return nil, nil, errors.Join(err, restore())
		}
	}
	for _, name := range []string{"-1", "-2"} {
		if err := r.cluster.Part(service + name).Stop(); err != nil {
			return nil, nil, errors.Join(err, restore())
		}
	}
	return sluices, restore, nil
}
