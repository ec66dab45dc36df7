package cache

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// breakFor is how long a Breaker lets a server rest.
const breakFor = 250 * time.Millisecond

// Breaker spares those the waiting for a server that does not answer who can do
// without. After so many failures in a row nobody is to call it for a quarter of a
// second, then one, and all again once a call succeeds. The zero Breaker breaks at the
// first failure. It is safe for concurrent use.
type Breaker struct {
	After int64

	failed atomic.Int64
	// rests is until when, in Unix nanoseconds, 0 while it does not.
	rests atomic.Int64
}

// Allows reports whether to call the server now. Who does says what came of it.
func (b *Breaker) Allows(now time.Time) bool {
	rests := b.rests.Load()
	return rests == 0 || now.UnixNano() >= rests && b.rests.CompareAndSwap(rests, now.Add(breakFor).UnixNano())
}

// Succeeded has everybody call again.
func (b *Breaker) Succeeded() {
	if b.failed.Load() != 0 {
		b.failed.Store(0)
	}
	if b.rests.Load() != 0 {
		b.rests.Store(0)
	}
}

// Failed counts a failure. That the caller, whose context it is, has left is none; that
// it could wait no longer is.
func (b *Breaker) Failed(caller context.Context, now time.Time) {
	if !errors.Is(caller.Err(), context.Canceled) && b.failed.Add(1) >= b.After {
		b.rests.Store(now.Add(breakFor).UnixNano())
	}
}
