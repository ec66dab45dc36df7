package main

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
)

// crowdName is the row's.
const crowdName = "crowd, mixed"

const (
	// phones are connected in a crowd and ask so many requests a second together.
	phones    = 5000
	crowdRate = 2000
	// crowdFor is how long that lasts, connectedAtOnce how many connect at a time.
	crowdFor        = 10 * time.Second
	connectedAtOnce = 64
)

// crowd is the mix of requests of many phones that think between them. First they
// are silent, which shows what a connection takes.
func (b *bench) crowd(ctx context.Context) (result Row, err error) {
	r := row{name: crowdName}
	next, err := mixed(b.world)
	if err != nil {
		return result, err
	}
	gateway := b.part("gateway").PIDs()[0]
	before, err := memory(gateway)
	if err != nil {
		return result, err
	}
	dialed := make([]*connection, phones)
	var dialing errgroup.Group
	dialing.SetLimit(connectedAtOnce)
	for i := range dialed {
		dialing.Go(func() (err error) {
			dialed[i], err = dial(ctx, b.world.addr, time.Now().Add(crowdFor+2*patience))
			return err
		})
	}
	if err := dialing.Wait(); err != nil {
		return result, err
	}
	// The last ones are accepted before they are answered.
	if _, err := dialed[phones-1].ask(encode(b.world.addr, "GET", "/douyin/feed/", nil)); err != nil {
		return result, err
	}
	silent, err := memory(gateway)
	if err != nil {
		return result, err
	}
	result, err = b.load(ctx, r, load{addr: b.world.addr, connections: phones, length: crowdFor, next: next, rate: crowdRate, dialed: dialed})
	result.IdleKB = rounded(float64(silent-before) * 1024 / phones)
	return result, err
}
