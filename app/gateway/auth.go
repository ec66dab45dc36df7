package gateway

import (
	"errors"
	"time"

	"backbeat/app/errs"
)

// verifiedLife is how long a token is taken for good once it was: so much longer
// than its expiry says it may be used. heldTokens bounds the tokens remembered.
const (
	verifiedLife = 5 * time.Second
	heldTokens   = 20_000
)

// policy is what an endpoint wants of the token (API §1.7).
type policy uint8

const (
	// open endpoints do not look at a token.
	open policy = iota
	// lenient ones serve a bad token like none (D5: the feed).
	lenient
	// optional ones serve a missing token, and refuse a bad one.
	optional
	// required ones refuse both.
	required
)

// String returns the policy's name.
func (p policy) String() string { return [...]string{"open", "lenient", "optional", "required"}[p] }

// authenticate returns the user that the token was signed for, 0 for an
// anonymous one. No other parameter says who is asking.
func (g *Gateway) authenticate(p policy, token string) (int64, error) {
	switch {
	case p == open:
		return 0, nil
	case token == "" && p == required:
		return 0, errs.New(errs.Unauthenticated, "")
	case token == "":
		return 0, nil
	}
	viewer, err := g.verify(token)
	if p == lenient {
		return viewer, nil // 0 for a bad token: served as anonymous
	}
	return viewer, err
}

// session is what a token proves: who began it, and when.
type session struct {
	user  int64
	begun time.Time
}

// verify returns the user a token was signed for and has not been revoked for.
func (g *Gateway) verify(token string) (int64, error) {
	proven, known := g.held.tokens.Peek(token)
	if !known {
		var err error
		if proven.user, proven.begun, err = g.keys.Verify(token); err != nil {
			return 0, err
		}
		g.held.tokens.Put(token, proven)
	}
	if g.revoked.has(proven) {
		return 0, errs.Wrap(errs.Unauthenticated, errors.New("it was revoked"), "verifying a token")
	}
	return proven.user, nil
}
