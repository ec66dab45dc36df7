package security

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"backbeat/test/harness"
)

// hostile returns tokens by which a stranger tries to be the user. Those who make
// them hold no key, except for the last ones: what our own key signed must hold in
// itself.
func hostile(t *testing.T, user harness.Account) map[string]string {
	t.Helper()
	raw := base64.RawURLEncoding
	text := func(s string) string { return raw.EncodeToString([]byte(s)) }
	parts := strings.Split(user.Token, ".")
	head, claims, signature := parts[0], parts[1], parts[2]
	id := fmt.Sprint(user.ID)
	later := time.Now().Add(time.Hour).Unix()
	own := func(header, claims string) string { // signed by our first key
		unsigned := text(header) + "." + text(claims)
		sum, err := jwt.SigningMethodHS256.Sign(unsigned, secretOf(t, first))
		check(t, err)
		return unsigned + "." + raw.EncodeToString(sum)
	}
	by := func(method jwt.SigningMethod, key any, header map[string]any) string {
		made := jwt.NewWithClaims(method, jwt.MapClaims{"sub": id, "exp": later})
		for name, value := range header {
			made.Header[name] = value
		}
		signed, err := made.SignedString(key)
		check(t, err)
		return signed
	}
	k1 := map[string]any{"kid": "k1"}
	good := fmt.Sprintf(`{"sub":"%s","exp":%d}`, id, later)
	const header = `{"alg":"HS256","typ":"JWT","kid":"k1"}`
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	list := map[string]string{
		"nonsense": "nonsense", "a dot": ".", "two dots": "..", "three dots": "...", "blank": " ", "a user id": id, "null": "null", "JSON": good, "an object": "{}",
		"name and password": user.Name + user.Password, "name:password": base64.StdEncoding.EncodeToString([]byte(user.Name + ":" + user.Password)),
		"Bearer": "Bearer " + user.Token, "quoted": `"` + user.Token + `"`, "twice": user.Token + user.Token, "twice with a comma": user.Token + "," + user.Token,
		"a tail": user.Token + "x", "a fourth part": user.Token + ".x", "a final dot": user.Token + ".", "a space before": " " + user.Token, "a space after": user.Token + " ",
		"a line end after": user.Token + "\n", "a line end within": head + "\r\n." + claims + "." + signature, "a NUL after": user.Token + "\x00", "a tab within": head + ".\t" + claims + "." + signature,
		"cut off": user.Token[:len(user.Token)-1], "cut in half": user.Token[:len(user.Token)/2], "upper case": strings.ToUpper(user.Token), "padded": user.Token + "=",
		"unused bits set": user.Token[:len(user.Token)-1] + successor(user.Token[len(user.Token)-1]), "standard base64": strings.NewReplacer("-", "+", "_", "/").Replace(user.Token) + "+/",
		"no signature": head + "." + claims + ".", "two parts": head + "." + claims, "no claims": head + ".." + signature, "no header": "." + claims + "." + signature,
		"claims of another": head + "." + text(good) + "." + signature, "claims and signature swapped": head + "." + signature + "." + claims, "an empty signature of the right length": head + "." + claims + "." + raw.EncodeToString(make([]byte, 32)),
		"invalid UTF-8": "\xff\xfe", "invalid UTF-8 within": head + ".\xff." + signature, "SQL": "' OR '1'='1", "a path": "../../../etc/passwd", "a template": "{{.}}${jndi:ldap://x}",
		"very long": strings.Repeat("a.b.c.", 1000), "a long header": strings.Repeat("A", 4000) + "." + claims + "." + signature, "many dots": strings.Repeat(".", 900),
		"deep JSON": text(strings.Repeat("[", 300)) + "." + text(strings.Repeat(`{"a":`, 60)) + "." + signature,

		"alg none": text(`{"alg":"none","kid":"k1"}`) + "." + text(good) + ".", "alg None": text(`{"alg":"None","kid":"k1"}`) + "." + text(good) + ".",
		"alg NONE with a signature": text(`{"alg":"NONE","kid":"k1"}`) + "." + text(good) + "." + signature, "alg empty": text(`{"alg":"","kid":"k1"}`) + "." + text(good) + ".",
		"no alg": text(`{"kid":"k1"}`) + "." + text(good) + "." + signature, "alg null": text(`{"alg":null,"kid":"k1"}`) + "." + text(good) + "." + signature,
		"alg a list": text(`{"alg":["HS256"],"kid":"k1"}`) + "." + text(good) + "." + signature, "alg twice": text(`{"alg":"HS256","alg":"none","kid":"k1"}`) + "." + text(good) + ".",
		"RS256": by(jwt.SigningMethodRS256, rsaKey, k1), "PS256": by(jwt.SigningMethodPS256, rsaKey, k1), "ES256": by(jwt.SigningMethodES256, ecKey, k1),
		"RS256 with its own key in the header": by(jwt.SigningMethodRS256, rsaKey, map[string]any{"kid": "k1", "jwk": map[string]any{"kty": "RSA", "n": raw.EncodeToString(rsaKey.N.Bytes()), "e": "AQAB"}}),
		"a key set of a stranger":              by(jwt.SigningMethodHS256, []byte("stranger"), map[string]any{"kid": "k1", "jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1/"}),
		"the empty key":                        by(jwt.SigningMethodHS256, []byte{}, k1), "a key of zeros": by(jwt.SigningMethodHS256, make([]byte, 32), k1), "the word secret": by(jwt.SigningMethodHS256, []byte("secret"), k1),
		"the key's name as the key": by(jwt.SigningMethodHS256, []byte("k1"), k1), "our key as it is written": by(jwt.SigningMethodHS256, []byte(strings.Split(first, ":")[1]), k1),
		"the second key under the first's name": by(jwt.SigningMethodHS256, secretOf(t, second), k1),
		"a file as the key":                     by(jwt.SigningMethodHS256, []byte{}, map[string]any{"kid": "../../../../dev/null"}), "SQL as the key's name": by(jwt.SigningMethodHS256, []byte("x"), map[string]any{"kid": "x' UNION SELECT 'x"}),

		"HS512 of our key": by(jwt.SigningMethodHS512, secretOf(t, first), k1), "HS384 of our key": by(jwt.SigningMethodHS384, secretOf(t, first), k1),
		"no key id": own(`{"alg":"HS256"}`, good), "an unknown key id": own(`{"alg":"HS256","kid":"k9"}`, good), "a key id that is a number": own(`{"alg":"HS256","kid":1}`, good), "an empty key id": own(`{"alg":"HS256","kid":""}`, good),
		"a list of key ids": own(`{"alg":"HS256","kid":["k1"]}`, good), "the key id in other letters": own(`{"alg":"HS256","kid":"K1"}`, good),
		"expired": sign(t, keys, user.ID, -time.Minute), "long expired": own(header, `{"sub":"`+id+`","exp":1}`), "of nobody": sign(t, keys, 0, time.Hour), "of a negative user": sign(t, keys, -user.ID, time.Hour),
		"without expiry": own(header, `{"sub":"`+id+`"}`), "expiry null": own(header, `{"sub":"`+id+`","exp":null}`), "expiry a word": own(header, `{"sub":"`+id+`","exp":"never"}`),
		"expiry negative": own(header, `{"sub":"`+id+`","exp":-1}`), "a subject that is a number": own(header, fmt.Sprintf(`{"sub":%s,"exp":%d}`, id, later)),
		"a subject with SQL": own(header, fmt.Sprintf(`{"sub":"%s OR 1=1","exp":%d}`, id, later)), "a fraction of a subject": own(header, fmt.Sprintf(`{"sub":"%s.0","exp":%d}`, id, later)),
		"an overflowing subject": own(header, fmt.Sprintf(`{"sub":"18446744073709551617","exp":%d}`, later)), "no subject": own(header, fmt.Sprintf(`{"exp":%d}`, later)),
		"not valid yet": own(header, fmt.Sprintf(`{"sub":"%s","exp":%d,"nbf":%d}`, id, later, later)), "claims that are a list": own(header, "["+good+"]"), "claims with a tail": own(header, good+"x"),
	}
	if len(list) < 64 {
		t.Fatalf("%d hostile tokens, want 64 or more", len(list))
	}
	return list
}

// successor is the next letter of base64url. For the last letter of a signature it
// differs in bits that no byte has.
func successor(letter byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, letter)+1])
}

func secretOf(t *testing.T, key string) []byte {
	t.Helper()
	_, encoded, _ := strings.Cut(key, ":")
	secret, err := base64.StdEncoding.DecodeString(encoded)
	check(t, err)
	return secret
}

// Every hostile token is refused where a token is required or looked at, with one
// text for all, and is no more than anonymous where it need not be good.
func TestHostileTokens(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	before := s.state(t)
	tokens := hostile(t, s.owner)
	for name, token := range tokens {
		t.Run(name, func(t *testing.T) {
			for _, route := range []struct {
				method, path string
				pairs        []any
			}{
				{http.MethodGet, "/douyin/message/chat/", withFriend(s)},
				{http.MethodGet, "/douyin/favorite/list/", ofOwner(s)},
				{http.MethodPost, "/douyin/comment/action/", deletion(s)},
			} {
				answer, err := shared.Try(route.method, route.path, harness.Query(append(route.pairs, "token", token)...))
				check(t, err)
				harness.Refused(t, answer)
				equal(t, route.path+": status_code", answer.StatusCode, unauthenticated)
				equal(t, route.path+": status_msg", answer.StatusMsg, "token验证失败，请重新登录")
			}
			feed := harness.OK(t, shared.Get(t, "/douyin/feed/", "token", token))
			if strings.Contains(feed.Raw, liked) || strings.Contains(feed.Raw, followed) {
				t.Errorf("the feed is the owner's: %.300s", feed.Raw)
			}
		})
	}
	equal(t, "what the owner has", s.state(t), before)
	t.Logf("%d hostile tokens", len(tokens))
}

// A token says who and how long, and nothing else.
func TestATokenHoldsNothingElse(t *testing.T) {
	t.Parallel()
	user := shared.Register(t)
	claims, err := base64.RawURLEncoding.DecodeString(strings.Split(user.Token, ".")[1])
	check(t, err)
	var said map[string]any
	check(t, json.Unmarshal(claims, &said))
	for name := range said {
		if name != "sub" && name != "iat" && name != "exp" {
			t.Errorf("the token holds %s: %s", name, claims)
		}
	}
	equal(t, "sub", said["sub"], any(fmt.Sprint(user.ID)))
}

// Keys rotate in three roll-outs: a new one is appended, moved to the front, and
// the old one removed. Nobody is logged out before the last.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var user harness.Account
	var old, fresh string
	for _, step := range []struct {
		name, keys string
		signs      string
		old, fresh bool
	}{
		{"one key", first, "k1", true, false},
		{"the new one appended", first + "," + second, "k1", true, true},
		{"the new one in front", second + "," + first, "k2", true, true},
		{"the old one removed", second, "k2", false, true},
	} {
		t.Run(step.name, func(t *testing.T) {
			w, err := launch(t.Context(), dir, "BACKBEAT_TOKEN_KEYS="+step.keys)
			check(t, err)
			defer func() { check(t, w.end()) }()
			if old == "" {
				user = w.Register(t)
				old, fresh = user.Token, sign(t, second, user.ID, time.Hour)
			}
			for _, one := range []struct {
				name, token string
				good        bool
			}{{"old", old, step.old}, {"new", fresh, step.fresh}} {
				answer := w.Get(t, "/douyin/user/", "token", one.token)
				if good := answer.StatusCode == 0; good != one.good {
					t.Errorf("the %s token: %s", one.name, answer.Raw)
				}
			}
			login := harness.OK(t, w.Post(t, "/douyin/user/login/", "username", user.Name, "password", user.Password))
			header, err := base64.RawURLEncoding.DecodeString(strings.Split(login.Token, ".")[0])
			check(t, err)
			var said struct{ Kid string }
			check(t, json.Unmarshal(header, &said))
			equal(t, "the signing key", said.Kid, step.signs)
		})
	}
}
