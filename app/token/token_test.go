package token

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"backbeat/app/errs"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func keyOf(id string, fill byte) string {
	return id + ":" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(fill)), 32)))
}

func parse(t testing.TB, list string, now time.Time) *Keys {
	t.Helper()
	keys, err := ParseKeys(list, time.Hour, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func sign(t testing.TB, keys *Keys, user int64) string {
	t.Helper()
	signed, err := keys.Sign(user, noon)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestSignedTokensVerify(t *testing.T) {
	keys := parse(t, keyOf("k1", 'a'), noon)
	const user = 1<<53 - 1
	issued := noon.Add(1234 * time.Microsecond)
	signed, err := keys.Sign(user, issued)
	if err != nil {
		t.Fatal(err)
	}
	got, at, err := keys.Verify(signed)
	if err != nil || got != user || !at.Equal(issued.Truncate(time.Millisecond)) {
		t.Fatalf("got %d, %v, %v", got, at, err)
	}
}

func TestKeysRotate(t *testing.T) {
	one, two := keyOf("k1", 'a'), keyOf("k2", 'b')
	before := sign(t, parse(t, one, noon), 7)
	for _, row := range []struct {
		name  string
		keys  string
		token string
		ok    bool
	}{
		{"appended, old token", one + "," + two, before, true},
		{"moved to front, old token", two + "," + one, before, true},
		{"moved to front, new token at one that appended", one + "," + two, sign(t, parse(t, two+","+one, noon), 7), true},
		{"removed, old token", two, before, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, _, err := parse(t, row.keys, noon).Verify(row.token); (err == nil) != row.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestHostileTokensAreRefused(t *testing.T) {
	keys := parse(t, keyOf("k1", 'a'), noon)
	good := sign(t, keys, 7)
	parts := strings.Split(good, ".")
	secret := []byte(strings.Repeat("a", 32))
	claims := func(edit func(jwt.MapClaims)) jwt.MapClaims {
		c := jwt.MapClaims{"sub": "7", "exp": noon.Add(time.Hour).Unix()}
		edit(c)
		return c
	}
	made := func(method jwt.SigningMethod, kid any, key any, c jwt.MapClaims) string {
		unsigned := jwt.NewWithClaims(method, c)
		if kid != nil {
			unsigned.Header["kid"] = kid
		}
		signed, err := unsigned.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	plain := func(jwt.MapClaims) {}
	for _, row := range []struct{ name, token string }{
		{"empty", ""},
		{"nonsense", "qwertz-42"},
		{"dots", ".."},
		{"too long", strings.Repeat("a", maxTokenBytes+1)},
		{"payload swapped", parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"8","exp":99999999999}`)) + "." + parts[2]},
		{"unused bits of the signature set", good[:len(good)-1] + string(good[len(good)-1]+1)},
		{"a line end at the end", good + "\n"},
		{"a line end within", parts[0] + "\r\n." + parts[1] + "." + parts[2]},
		{"padding", good + "="},
		{"signature cut", parts[0] + "." + parts[1] + "."},
		{"alg none", made(jwt.SigningMethodNone, "k1", jwt.UnsafeAllowNoneSignatureType, claims(plain))},
		{"alg HS512 with our key", made(jwt.SigningMethodHS512, "k1", secret, claims(plain))},
		{"foreign key", made(jwt.SigningMethodHS256, "k1", []byte(strings.Repeat("b", 32)), claims(plain))},
		{"unknown key id", made(jwt.SigningMethodHS256, "k9", secret, claims(plain))},
		{"no key id", made(jwt.SigningMethodHS256, nil, secret, claims(plain))},
		{"key id a number", made(jwt.SigningMethodHS256, 1, secret, claims(plain))},
		{"expired", made(jwt.SigningMethodHS256, "k1", secret, claims(func(c jwt.MapClaims) { c["exp"] = noon.Add(-time.Second).Unix() }))},
		{"without expiry", made(jwt.SigningMethodHS256, "k1", secret, claims(func(c jwt.MapClaims) { delete(c, "exp") }))},
		{"subject a number", made(jwt.SigningMethodHS256, "k1", secret, claims(func(c jwt.MapClaims) { c["sub"] = 7 }))},
		{"subject text", made(jwt.SigningMethodHS256, "k1", secret, claims(func(c jwt.MapClaims) { c["sub"] = "bob" }))},
		{"subject zero", made(jwt.SigningMethodHS256, "k1", secret, claims(func(c jwt.MapClaims) { c["sub"] = "0" }))},
		{"subject negative", made(jwt.SigningMethodHS256, "k1", secret, claims(func(c jwt.MapClaims) { c["sub"] = "-7" }))},
		{"not yet valid", made(jwt.SigningMethodHS256, "k1", secret, claims(func(c jwt.MapClaims) { c["nbf"] = noon.Add(time.Minute).Unix() }))},
	} {
		t.Run(row.name, func(t *testing.T) {
			user, _, err := keys.Verify(row.token)
			if !errs.Is(err, errs.Unauthenticated) {
				t.Fatalf("got user %d, %v", user, err)
			}
			if row.token != "" && strings.Contains(err.Error(), row.token) {
				t.Errorf("the error holds the token: %v", err)
			}
		})
	}
}

func TestTokensExpire(t *testing.T) {
	signed := sign(t, parse(t, keyOf("k1", 'a'), noon), 7)
	for _, row := range []struct {
		name string
		at   time.Duration
		ok   bool
	}{{"at once", 0, true}, {"in the last second", time.Hour - time.Second, true}, {"after its life", time.Hour + time.Second, false}} {
		t.Run(row.name, func(t *testing.T) {
			if _, _, err := parse(t, keyOf("k1", 'a'), noon.Add(row.at)).Verify(signed); (err == nil) != row.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestBadKeyListsAreRefused(t *testing.T) {
	for _, row := range []struct{ name, list string }{
		{"empty", ""},
		{"no id", ":" + strings.Repeat("a", 44)},
		{"no colon", "k1"},
		{"an id no JSON can hold", keyOf("\xff", 'a')},
		{"an id that fills the token", keyOf(strings.Repeat("k", maxKeyID+1), 'a')},
		{"not base64", "k1:***"},
		{"too short", "k1:" + base64.StdEncoding.EncodeToString([]byte("short"))},
		{"listed twice", keyOf("k1", 'a') + "," + keyOf("k1", 'b')},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, err := ParseKeys(row.list, time.Hour, time.Now); err == nil {
				t.Error("accepted")
			} else if strings.Contains(fmt.Sprint(err), "aaaa") {
				t.Errorf("the error holds the key: %v", err)
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	keys := parse(b, keyOf("k1", 'a'), noon)
	signed := sign(b, keys, 7)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := keys.Verify(signed); err != nil {
			b.Fatal(err)
		}
	}
}
