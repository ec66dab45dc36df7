package password

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"backbeat/app/errs"
	"backbeat/test/harness"
)

// open returns a hasher with processes.
func open(tb testing.TB, atOnce int) *Hasher {
	h := New(Config{AtOnce: atOnce}, Deps{Log: harness.Logger(tb)})
	tb.Cleanup(h.Close)
	return h
}

// answering stands for a process.
type answering func(order) []byte

func (a answering) derive(o order) []byte { return a(o) }

func (a answering) close() {}

func TestHashIsArgon2idWithItsOwnSalt(t *testing.T) {
	h := open(t, 2)
	first, err := h.Hash(t.Context(), "密码🔑")
	if err != nil {
		t.Fatal(err)
	}
	second, err := h.Hash(t.Context(), "密码🔑")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(first, "$argon2id$v=19$m=19456,t=2,p=1$") || len(first) > 255 {
		t.Errorf("the hash is %q", first)
	}
	if first == second {
		t.Error("two hashes of one password are equal: no salt")
	}
	for password, want := range map[string]bool{"密码🔑": true, "密码": false, "密码🔑 ": false, "": false} {
		if got, err := h.Verify(t.Context(), password, first); err != nil || got != want {
			t.Errorf("verifying %q says %t, %v", password, got, err)
		}
	}
}

// Raising the cost must not lock anybody out.
func TestVerifyTakesTheCostFromTheHash(t *testing.T) {
	old := open(t, 1)
	old.cost = cost{memory: 8, time: 1, threads: 1}
	encoded, err := old.Hash(t.Context(), "secret")
	if err != nil {
		t.Fatal(err)
	}
	if right, err := open(t, 1).Verify(t.Context(), "secret", encoded); err != nil || !right {
		t.Errorf("an older hash verifies as %t, %v", right, err)
	}
}

func TestVerifyRefusesWhatIsNoHash(t *testing.T) {
	const good = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$a2V5a2V5a2V5a2V5"
	if _, err := parseDigest(good); err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{
		"plain text":     "secret",
		"another scheme": "$2a$10$N9qo8uLOickgx2ZMRZoMye",
		"argon2i":        strings.Replace(good, "argon2id", "argon2i", 1),
		"older version":  strings.Replace(good, "v=19", "v=16", 1),
		"no passes":      strings.Replace(good, "t=1", "t=0", 1),
		"no threads":     strings.Replace(good, "p=1", "p=0", 1),
		"bad salt":       strings.Replace(good, "c2FsdHNhbHQ", "c2Fs!", 1),
		"no key":         strings.TrimSuffix(good, "a2V5a2V5a2V5a2V5"),
		"cut off":        good[:30],
		"one more field": good + "$x",
	}
	for name, encoded := range tests {
		t.Run(name, func(t *testing.T) {
			right, err := open(t, 1).Verify(t.Context(), "secret", encoded)
			if right || !errs.Is(err, errs.Internal) {
				t.Errorf("verify says %t, %v", right, err)
			}
		})
	}
}

func TestNobodyIsVerifiedWithoutAHashAfterTheSameWork(t *testing.T) {
	var asked order
	h := newHasher(1, func() deriver {
		return answering(func(o order) []byte {
			asked = o
			o.Time, o.Memory = 1, 8
			return o.key()
		})
	})
	right, err := h.Verify(t.Context(), "secret", "")
	if right || err != nil {
		t.Errorf("verify says %t, %v", right, err)
	}
	if asked.Time != h.cost.time || asked.Memory != h.cost.memory {
		t.Errorf("it took %d passes over %d KiB, want %+v", asked.Time, asked.Memory, h.cost)
	}
}

func TestWaitingForASlotIsBounded(t *testing.T) {
	tests := map[string]struct {
		deadline time.Duration // of the caller, 0 for none
		cancel   time.Duration // when the caller leaves, 0 for never
		want     errs.Kind
		after    time.Duration
	}{
		"a deadline":            {4 * time.Second, 0, errs.Exhausted, 3500 * time.Millisecond},
		"less time than that":   {time.Second / 4, 0, errs.Exhausted, 0},
		"the caller leaves":     {0, time.Second, errs.Unavailable, time.Second},
		"the caller left first": {0, time.Nanosecond, errs.Unavailable, time.Nanosecond},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				h := newHasher(1, func() deriver {
					return answering(func(order) []byte {
						<-release
						return nil
					})
				})
				done := make(chan error)
				go func() {
					_, err := h.Hash(context.Background(), "first")
					done <- err
				}()
				synctest.Wait()

				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				if tt.deadline > 0 {
					var stop context.CancelFunc
					ctx, stop = context.WithTimeout(ctx, tt.deadline)
					defer stop()
				}
				if tt.cancel > 0 {
					time.AfterFunc(tt.cancel, leave)
				}
				began := time.Now()
				_, err := h.Hash(ctx, "second")
				if !errs.Is(err, tt.want) || time.Since(began) != tt.after {
					t.Errorf("refused with %v after %v, want %v after %v", err, time.Since(began), tt.want, tt.after)
				}
				close(release)
				if err := <-done; err != nil {
					t.Error("the one that had the slot: ", err)
				}
				if _, err := h.Hash(t.Context(), "third"); err != nil {
					t.Error("the slot did not come back: ", err)
				}
			})
		})
	}
}

func TestNoMoreAreHashedAtOnceThanAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const atOnce, callers = 3, 10
		h := newHasher(atOnce, func() deriver {
			return answering(func(order) []byte {
				time.Sleep(30 * time.Millisecond)
				return nil
			})
		})
		errors := make(chan error, callers)
		began := time.Now()
		for range callers {
			go func() {
				_, err := h.Hash(t.Context(), "secret")
				errors <- err
			}()
		}
		for range callers {
			if err := <-errors; err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(began); took != 4*30*time.Millisecond {
			t.Errorf("%d callers took %v", callers, took)
		}
	})
}

func TestRefusalIsForPeople(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(0, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := h.Hash(ctx, "secret")
		if errs.Text(err) != "登录人数过多，请稍后再试" || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("refused with %q: %v", errs.Text(err), err)
		}
	})
}

func BenchmarkHash(b *testing.B) {
	h := open(b, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Hash(b.Context(), "correct horse battery staple"); err != nil {
			b.Fatal(err)
		}
	}
}
