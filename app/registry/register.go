package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"backbeat/app/etcd"
)

// Why a registration ends. A replaced one leaves its lease alone: the key moves
// to the successor's, so that it is never missing.
var (
	errDeregistered = errors.New("deregistered")
	errReplaced     = errors.New("replaced")
	errLeaseLost    = errors.New("the lease is lost")
)

// registration keeps one key in etcd.
type registration struct {
	key, value string
	// first is closed when the key has been written for the first time.
	first chan struct{}
	// done is closed when nothing of the registration runs; revoked holds what
	// became of its lease then.
	done    chan struct{}
	revoked error
	cancel  context.CancelCauseFunc
}

// end ends the registration and waits for it.
func (k *registration) end(why error) error {
	k.cancel(why)
	<-k.done
	return k.revoked
}

// keep returns the registration of the key, a new one unless there is one with
// the same value.
func (r *Etcd) keep(key, value string) (*registration, error) {
	k := &registration{key: key, value: value, first: make(chan struct{}), done: make(chan struct{})}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, errClosed
	}
	before := r.kept[key]
	if before != nil && before.value == value {
		r.mu.Unlock()
		return before, nil
	}
	ctx, cancel := context.WithCancelCause(r.ctx)
	k.cancel = cancel
	r.kept[key] = k
	r.tasks.Go(func() {
		defer close(k.done)
		defer cancel(nil)
		r.keepOn(ctx, k)
	})
	r.mu.Unlock()
	if before != nil {
		return k, before.end(errReplaced)
	}
	return k, nil
}

// keepOn holds the key again and again until ctx ends.
func (r *Etcd) keepOn(ctx context.Context, k *registration) {
	for attempt := 0; ; attempt++ {
		held, err := r.hold(ctx, k)
		if ctx.Err() != nil {
			return
		}
		if held {
			attempt = 0
		}
		if attempt == 0 {
			r.log.Warn("not registered, trying again", "key", k.key, "error", err)
		}
		if !etcd.Pause(ctx, attempt) {
			return
		}
	}
}

// hold writes the key under a fresh lease and keeps it there until the lease is
// lost or ctx ends. It reports whether the key was ever written.
func (r *Etcd) hold(ctx context.Context, k *registration) (held bool, err error) {
	asking, cancel := context.WithTimeout(ctx, etcd.AskWithin)
	defer cancel()
	lease, err := r.client.Grant(asking, max(2, int64(r.cfg.Lease/time.Second)))
	if err != nil {
		return false, fmt.Errorf("granting a lease: %w", err)
	}
	defer func() {
		if ctx.Err() != nil && !errors.Is(context.Cause(ctx), errReplaced) {
			k.revoked = r.revoke(ctx, lease.ID)
		}
	}()
	if err := r.write(ctx, k, lease.ID); err != nil {
		return false, err
	}
	r.log.Info("registered", "key", k.key)
	select {
	case <-k.first:
	default:
		close(k.first)
	}
	keeping, stop := context.WithCancel(ctx) // the client forgets the lease when hold returns
	defer stop()
	alive, err := r.client.KeepAlive(keeping, lease.ID)
	if err != nil {
		return true, fmt.Errorf("keeping the lease: %w", err)
	}
	for range alive {
		// The lease can live on without its key, when somebody deleted that.
		if err := r.restore(ctx, k, lease.ID); err != nil {
			r.log.Debug("registration not checked", "key", k.key, "error", err)
		}
	}
	return true, errLeaseLost
}

func (r *Etcd) write(ctx context.Context, k *registration, lease clientv3.LeaseID) error {
	ctx, cancel := context.WithTimeout(ctx, etcd.AskWithin)
	defer cancel()
	if _, err := r.client.Put(ctx, k.key, k.value, clientv3.WithLease(lease)); err != nil {
		return fmt.Errorf("writing %s: %w", k.key, err)
	}
	return nil
}

// restore writes the key again if it is missing.
func (r *Etcd) restore(ctx context.Context, k *registration, lease clientv3.LeaseID) error {
	asking, cancel := context.WithTimeout(ctx, etcd.AskWithin)
	defer cancel()
	found, err := r.client.Get(asking, k.key, clientv3.WithCountOnly())
	if err != nil || found.Count > 0 {
		return err
	}
	r.log.Warn("registration was deleted by somebody, writing it again", "key", k.key)
	return r.write(ctx, k, lease)
}

// revoke gives the lease back, by which etcd deletes the key. Its time is its
// own, since ctx has ended.
func (r *Etcd) revoke(ctx context.Context, lease clientv3.LeaseID) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startWithin)
	defer cancel()
	if _, err := r.client.Revoke(ctx, lease); err != nil {
		return fmt.Errorf("revoking a lease: %w", err)
	}
	return nil
}
