// Package token signs and verifies the app's only credential: a JWT that holds
// a user id, when it was issued, an expiry and the id of the key that signed it,
// nothing else.
//
// Keys rotate in three roll-outs: append the new key to the list (all verify
// it), move it to the front (it signs), remove the old one after a token's life.
package token

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"backbeat/app/errs"
)

// minKeyBytes is the shortest key accepted, the size of HS256's hash.
const minKeyBytes = 32

// maxTokenBytes bounds what a stranger can make us parse; ours have about 190.
const maxTokenBytes = 1024

// claims are what a token says.
type claims struct {
	jwt.RegisteredClaims
	// Issued is in seconds, to the millisecond: the other iat has whole ones.
	Issued float64 `json:"iat"`
}

// maxKeyID bounds a key's id, which every token holds.
const maxKeyID = 64

// key is one signing key with the id that tokens name it by.
type key struct {
	id     string
	secret []byte
}

// Keys signs with its first key and verifies with all.
type Keys struct {
	keys   []key
	life   time.Duration
	parser *jwt.Parser
}

// ParseKeys reads "kid:base64,kid:base64,…". Each key has at least 32 bytes and
// an id of its own, which takes at most 64. Tokens it signs live for life by now's clock.
func ParseKeys(list string, life time.Duration, now func() time.Time) (*Keys, error) {
	k := &Keys{life: life, parser: jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithExpirationRequired(),
		jwt.WithStrictDecoding(),
		jwt.WithTimeFunc(now),
	)}
	seen := map[string]bool{}
	for i, entry := range strings.Split(list, ",") {
		id, encoded, found := strings.Cut(strings.TrimSpace(entry), ":")
		if !found || id == "" || len(id) > maxKeyID || !utf8.ValidString(id) {
			return nil, fmt.Errorf("token key %d is not of the form kid:base64", i+1)
		}
		secret, err := base64.StdEncoding.DecodeString(encoded)
		switch {
		case err != nil:
			return nil, fmt.Errorf("token key %q is not base64", id)
		case len(secret) < minKeyBytes:
			return nil, fmt.Errorf("token key %q has %d bytes, fewer than %d", id, len(secret), minKeyBytes)
		case seen[id]:
			return nil, fmt.Errorf("token key %q is listed twice", id)
		}
		seen[id] = true
		k.keys = append(k.keys, key{id, secret})
	}
	return k, nil
}

// Life is how long a token lives.
func (k *Keys) Life() time.Duration { return k.life }

// Sign returns a token for the user, issued when they proved who they are. The id
// is a string claim: a number would be decoded to a float64 by some readers
// (API §1.4).
func (k *Keys) Sign(user int64, issued time.Time) (string, error) {
	unsigned := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{jwt.RegisteredClaims{
		Subject:   strconv.FormatInt(user, 10),
		ExpiresAt: jwt.NewNumericDate(issued.Add(k.life)),
	}, float64(issued.UnixMilli()) / 1000})
	unsigned.Header["kid"] = k.keys[0].id
	signed, err := unsigned.SignedString(k.keys[0].secret)
	if err != nil {
		return "", errs.Wrap(errs.Internal, err, "signing a token for user %d", user)
	}
	return signed, nil
}

// Verify returns the user a token was signed for, and when. Every fault, from
// nonsense to an expired token, is the same Unauthenticated error to people; its
// cause never holds the token.
func (k *Keys) Verify(signed string) (user int64, issued time.Time, err error) {
	if len(signed) > maxTokenBytes {
		return 0, issued, errs.Wrap(errs.Unauthenticated, errors.New("too long"), "verifying a token")
	}
	// A token has one spelling; base64 passes over line ends, even when it is strict.
	if strings.ContainsAny(signed, "\r\n") {
		return 0, issued, errs.Wrap(errs.Unauthenticated, errors.New("has line ends"), "verifying a token")
	}
	var said claims
	if _, err := k.parser.ParseWithClaims(signed, &said, k.find); err != nil {
		return 0, issued, errs.Wrap(errs.Unauthenticated, err, "verifying a token")
	}
	user, err = strconv.ParseInt(said.Subject, 10, 64)
	if err != nil || user <= 0 {
		return 0, issued, errs.Wrap(errs.Unauthenticated, errors.New("its subject is no user id"), "verifying a token")
	}
	return user, time.UnixMilli(int64(math.Round(said.Issued * 1000))), nil
}

// find returns the key a token names.
func (k *Keys) find(t *jwt.Token) (any, error) {
	id, _ := t.Header["kid"].(string)
	for _, candidate := range k.keys {
		if candidate.id == id {
			return candidate.secret, nil
		}
	}
	return nil, errors.New("unknown key id")
}
