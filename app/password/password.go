package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"backbeat/app/errs"
)

// answerTime is left of a caller's time when a password has waited too long to be
// hashed: to hear a refusal, which opens no circuit, where a timeout would.
const answerTime = 500 * time.Millisecond

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

// Config bounds a Hasher.
type Config struct {
	// AtOnce is how many passwords are hashed at once, at least 1. Each takes 19 MiB
	// and about 30 ms of one core.
	AtOnce int
}

// Deps is what a Hasher needs.
type Deps struct {
	Log *slog.Logger
}

// Hasher hashes passwords, a bounded number at once.
type Hasher struct {
	// slots holds those that are free.
	slots chan deriver
	// cost is that of new hashes.
	cost cost
	// nobody costs what a real hash costs and fits no password: its key was
	// drawn, not derived.
	nobody digest
}

// deriver derives keys, one at a time.
type deriver interface {
	derive(o order) []byte
	close()
}

// New returns a Hasher with the cost that OWASP recommends for argon2id. Its processes
// start when they are first needed.
func New(cfg Config, deps Deps) *Hasher {
	return newHasher(cfg.AtOnce, func() deriver { return &process{log: deps.Log, patience: patience} })
}

func newHasher(atOnce int, slot func() deriver) *Hasher {
	recommended := cost{memory: 19 * 1024, time: 2, threads: 1}
	h := &Hasher{
		slots:  make(chan deriver, atOnce),
		cost:   recommended,
		nobody: digest{cost: recommended, salt: random(saltBytes), key: random(keyBytes)},
	}
	for range atOnce {
		h.slots <- slot()
	}
	return h
}

// Close ends the processes, after the hashes in progress. No other method may be
// called after it.
func (h *Hasher) Close() {
	for range cap(h.slots) {
		(<-h.slots).close()
	}
}

// Hash returns the hash of a password, with a fresh salt, in PHC form. It waits for
// its turn for as long as ctx allows; half a second before that ends it is Exhausted.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	d := digest{cost: h.cost, salt: random(saltBytes)}
	var err error
	d.key, err = h.run(ctx, password, d, keyBytes)
	return d.String(), err
}

// Verify reports whether encoded, which Hash has returned, is the hash of the
// password. An empty one fits none, after the same work. It waits as Hash does.
func (h *Hasher) Verify(ctx context.Context, password, encoded string) (bool, error) {
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

// run derives a key once a slot is free.
func (h *Hasher) run(ctx context.Context, password string, d digest, size int) ([]byte, error) {
	var tooLong <-chan time.Time
	if deadline, ok := ctx.Deadline(); ok {
		tooLong = time.After(time.Until(deadline) - answerTime)
	}
	select {
	case slot := <-h.slots:
		defer func() { h.slots <- slot }()
		return slot.derive(order{
			Password: password, Salt: d.salt, Time: d.time, Memory: d.memory, Threads: d.threads, Size: uint32(size),
		}), nil
	case <-ctx.Done():
		return nil, errs.Wrap(errs.Unavailable, ctx.Err(), "waiting to hash a password")
	case <-tooLong:
		return nil, errs.New(errs.Exhausted, "登录人数过多，请稍后再试")
	}
}

func random(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.Read(b) // never fails, says its documentation
	return b
}
