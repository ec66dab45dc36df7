package cache

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"time"

	"backbeat/app/errs"
)

// HeldLife is how long what is held under a version may be held. Only word of a change
// that never reaches the cache makes it matter.
const HeldLife = 30 * time.Second

const (
	// versionLife is how long a version nobody asks for is kept.
	versionLife = time.Hour
	// versionTimeout bounds one reading; a read has a store to go to.
	versionTimeout = 75 * time.Millisecond
	// versionFailures in a row let readings rest.
	versionFailures = 3
)

// Versions tell instances whether what they hold of something is still so. The
// owner of the data drops a version after each change and before it answers; what
// is held under a version (a key of Held has it as a part) was read after that
// version was made, hence shows every change answered before.
//
// A drop may not reach the cache. Whoever sees the cache fail or connects to it
// anew takes nothing held before (Epoch). That leaves instances which saw nothing of it:
// the drop is repeated until it gets through. Only when it can't for as long, or its
// process ends before, they show what was until it is HeldLife old.
type Versions struct {
	cache  Cache
	prefix string
	now    func() time.Time
	// breaker is that of readings.
	breaker Breaker
	// owed are keys whose drop failed.
	owed *Owed[string]
}

// NewVersions returns the versions whose keys begin with prefix.
func NewVersions(cache Cache, prefix string, now func() time.Time) *Versions {
	return &Versions{
		cache: cache, prefix: prefix, now: now, breaker: Breaker{After: versionFailures},
		owed: NewOwed(HeldLife, now, cache.Delete),
	}
}

// Version names a state of something, to one process. The zero value names none.
type Version struct{ made, epoch uint64 }

// Number is the version as callers of other processes know it, 0 for none.
func (v Version) Number() uint64 { return v.made }

// Get returns the versions of ids, made where there are none. With an error
// there are none to be had: nothing that is held may be taken, nor what is read now
// be held.
func (v *Versions) Get(ctx context.Context, ids ...int64) ([]Version, error) {
	if !v.breaker.Allows(v.now()) {
		return nil, errs.New(errs.Unavailable, "")
	}
	bounded, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	found, err := v.find(bounded, ids)
	if err != nil {
		v.breaker.Failed(ctx, v.now())
		return nil, err
	}
	v.breaker.Succeeded()
	return found, nil
}

// find reads versions, or makes them, which is before the data are read. Two who
// make one at a time leave one of them with a version that is not found again: it
// reads once more.
func (v *Versions) find(ctx context.Context, ids []int64) ([]Version, error) {
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = v.key(id)
	}
	found, err := v.cache.Get(ctx, keys...)
	if err != nil {
		return nil, err
	}
	versions := make([]Version, len(ids))
	made := map[string][]byte{}
	for i, packed := range found {
		if len(packed) != 8 { // of one asked for twice both are the same
			if packed = made[keys[i]]; packed == nil {
				packed = binary.LittleEndian.AppendUint64(nil, max(1, rand.Uint64()))
				made[keys[i]] = packed
			}
		}
		versions[i].made = binary.LittleEndian.Uint64(packed)
	}
	if len(made) > 0 {
		err = v.cache.Set(ctx, versionLife, made)
	}
	epoch := v.cache.Epoch()
	for i := range versions {
		versions[i].epoch = epoch
	}
	return versions, err
}

// Drop ends the versions of ids. The change is made, so the caller's leaving does
// not stop it. With an error it is done later.
func (v *Versions) Drop(ctx context.Context, ids ...int64) error {
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = v.key(id)
	}
	err := v.cache.Delete(context.WithoutCancel(ctx), keys...)
	if err != nil {
		v.owed.Add(keys...)
	}
	return err
}

func (v *Versions) key(id int64) string { return v.prefix + strconv.FormatInt(id, 10) }
