package token

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"backbeat/app/errs"
)

// FuzzVerify looks for another spelling of a token, or a token nobody signed.
func FuzzVerify(f *testing.F) {
	keys := parse(f, keyOf("k1", 'a')+","+keyOf("k2", 'b'), noon)
	good := sign(f, keys, 7)
	parts := strings.Split(good, ".")
	for _, seed := range []string{
		"", "..", "a.b.c", good, good + "=", good + "\n", " " + good, strings.ToLower(good), good[:len(good)-1],
		parts[0] + "." + parts[1] + ".", parts[0] + "." + parts[2] + "." + parts[1], parts[0] + ".e30." + parts[2],
		sign(f, parse(f, keyOf("k1", 'b'), noon), 7), strings.Repeat("a.", maxTokenBytes),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, signed string) {
		user, _, err := keys.Verify(signed)
		switch {
		case err == nil && signed != good:
			t.Errorf("accepted %q for user %d", signed, user)
		case err != nil && !errs.Is(err, errs.Unauthenticated):
			t.Errorf("%q is %v", signed, err)
		}
	})
}

// FuzzClaims has our own key sign whatever the claims are: what a token says must
// hold in itself, too.
func FuzzClaims(f *testing.F) {
	keys := parse(f, keyOf("k1", 'a'), noon)
	for _, claims := range []string{
		`{"sub":"7","exp":9999999999}`, `{"sub":"7"}`, `{"sub":7,"exp":9999999999}`, `{"sub":"0","exp":1e300}`, `{"sub":"7","exp":"9999999999"}`,
		`{"sub":"9223372036854775808","exp":9999999999}`, `{"sub":"-1","exp":9999999999,"exp":1}`, `{"sub":null,"exp":null}`, `[]`, `null`, `{`,
		`{"sub":"7","exp":9999999999,"nbf":-1e99,"iat":{},"aud":[1]}`,
	} {
		f.Add(claims)
	}
	head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","kid":"k1"}`))
	f.Fuzz(func(t *testing.T, claims string) {
		unsigned := head + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
		signature, err := jwt.SigningMethodHS256.Sign(unsigned, keys.keys[0].secret)
		if err != nil {
			t.Fatal(err)
		}
		user, _, err := keys.Verify(unsigned + "." + base64.RawURLEncoding.EncodeToString(signature))
		switch {
		case errors.Is(err, jwt.ErrTokenSignatureInvalid):
			t.Errorf("the signature of %q does not fit: %v", claims, err)
		case err != nil && !errs.Is(err, errs.Unauthenticated):
			t.Errorf("%q is %v", claims, err)
		case err == nil && (user <= 0 || !strings.Contains(claims, "exp")):
			t.Errorf("%q is user %d for ever", claims, user)
		}
	})
}

// FuzzParseKeys reads lists of keys.
func FuzzParseKeys(f *testing.F) {
	one, two := keyOf("k1", 'a'), keyOf("k2", 'b')
	for _, list := range []string{"", ",", one, one + "," + two, " " + one + " , " + two, one + "," + one, "k1:", ":" + one, "k1:***", one + "\n", keyOf("\xff", 'a'), keyOf(strings.Repeat("k", 900), 'a')} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		keys, err := ParseKeys(list, time.Hour, func() time.Time { return noon })
		if err != nil {
			return
		}
		for _, k := range keys.keys {
			if k.id == "" || len(k.secret) < minKeyBytes {
				t.Errorf("%q gave the key %q of %d bytes", list, k.id, len(k.secret))
			}
		}
		if user, _, err := keys.Verify(sign(t, keys, 7)); err != nil || user != 7 {
			t.Errorf("%q does not verify what it signs: %v", list, err)
		}
	})
}
