package user

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/sync/semaphore"

	"backbeat/app/errs"
)

// maxWait bounds how long a password waits to be hashed.
const maxWait = 2 * time.Second

const (
	saltBytes = 16
	keyBytes  = 32
)

// cost is what one hash takes. It is written into each hash, so that raising it
// leaves the old ones valid.
type cost struct {
	memory  uint32 // KiB
	time    uint32 // passes
	threads uint8
}

// digest is a hashed password in its parts.
type digest struct {
	cost
	salt, key []byte
}

// String returns the PHC form, $argon2id$v=19$m=…,t=…,p=…$salt$key.
func (d digest) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, d.memory, d.time, d.threads,
		base64.RawStdEncoding.EncodeToString(d.salt), base64.RawStdEncoding.EncodeToString(d.key))
}

// parseDigest reads what String wrote.
func parseDigest(encoded string) (digest, error) {
	var d digest
	fields := strings.Split(encoded, "$") // nothing, argon2id, version, cost, salt, key
	if len(fields) == 6 {
		_, _ = fmt.Sscanf(fields[3], "m=%d,t=%d,p=%d", &d.memory, &d.time, &d.threads)
		d.salt, _ = base64.RawStdEncoding.DecodeString(fields[4])
		d.key, _ = base64.RawStdEncoding.DecodeString(fields[5])
	}
	// Whatever went wrong above shows in what does not read back the same.
	if d.time == 0 || d.threads == 0 || len(d.key) == 0 || d.String() != encoded {
		return digest{}, errors.New("not an argon2id hash in PHC form")
	}
	return d, nil
}

// derive is argon2.IDKey.
type derive func(password, salt []byte, time, memory uint32, threads uint8, keyLen uint32) []byte

// hasher hashes passwords, a bounded number at once.
type hasher struct {
	slots  *semaphore.Weighted
	derive derive
	// cost is that of new hashes.
	cost cost
	// nobody costs what a real hash costs and fits no password: its key was
	// drawn, not derived.
	nobody digest
}

// newHasher returns a hasher with the cost that OWASP recommends for argon2id.
func newHasher(atOnce int) *hasher {
	recommended := cost{memory: 19 * 1024, time: 2, threads: 1}
	return &hasher{
		slots:  semaphore.NewWeighted(int64(atOnce)),
		derive: argon2.IDKey,
		cost:   recommended,
		nobody: digest{cost: recommended, salt: random(saltBytes), key: random(keyBytes)},
	}
}

// hash returns the encoded hash of a password with a fresh salt.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	d := digest{cost: h.cost, salt: random(saltBytes)}
	var err error
	d.key, err = h.run(ctx, password, d, keyBytes)
	return d.String(), err
}

// verify reports whether encoded is the hash of the password. An empty one fits
// none, after the same work.
func (h *hasher) verify(ctx context.Context, password, encoded string) (bool, error) {
	d := h.nobody
	if encoded != "" {
		var err error
		if d, err = parseDigest(encoded); err != nil {
			return false, errs.Wrap(errs.Internal, err, "reading a stored password")
		}
	}
	key, err := h.run(ctx, password, d, len(d.key))
	return err == nil && subtle.ConstantTimeCompare(key, d.key) == 1, err
}

// run derives a key once a slot is free. The wait takes no more than half of the
// time the caller gives, so that it still hears the refusal: Exhausted, which
// opens no circuit, where its own timeout would.
func (h *hasher) run(ctx context.Context, password string, d digest, size int) ([]byte, error) {
	wait := maxWait
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline)/2)
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if err := h.slots.Acquire(waiting, 1); err != nil {
		if ctx.Err() != nil {
			return nil, errs.Wrap(errs.Unavailable, ctx.Err(), "waiting to hash a password")
		}
		return nil, errs.New(errs.Exhausted, "登录人数过多，请稍后再试")
	}
	defer h.slots.Release(1)
	return h.derive([]byte(password), d.salt, d.time, d.memory, d.threads, uint32(size)), nil
}

func random(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.Read(b) // never fails, says its documentation
	return b
}
