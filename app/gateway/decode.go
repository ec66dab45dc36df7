package gateway

import (
	"bytes"
	"errors"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"backbeat/app/errs"
)

const (
	// maxForm bounds a body that is not an upload, in bytes.
	maxForm = 64 << 10
	// maxDiscard bounds what is read of one that is larger still.
	maxDiscard = 32 << 20
	// bodyTimeout bounds how long such a body may take to arrive.
	bodyTimeout = 10 * time.Second
	// maxExact is the largest integer up to which float64 holds all of them.
	maxExact = 1 << 53
)

// malformed stands for a value whose percent-encoding is broken. It is no valid
// UTF-8, no number, no time and no token, so every reader treats it as it treats
// other nonsense.
const malformed = "\xff"

// params are the parameters of a request; the first of a name counts, so their
// order is their precedence (API §1.2).
type params []param

type param struct{ name, value string }

// get returns the first value of a name, "" for none.
func (p params) get(name string) string {
	for i := range p {
		if p[i].name == name {
			return p[i].value
		}
	}
	return ""
}

// parse appends the parameters of a query or of an urlencoded form.
func (p params) parse(encoded string) params {
	for encoded != "" {
		var pair string
		pair, encoded, _ = strings.Cut(encoded, "&")
		name, value, _ := strings.Cut(pair, "=")
		if name != "" {
			p = append(p, param{unescape(name), unescape(value)})
		}
	}
	return p
}

// add appends values as package url or a multipart reader holds them.
func (p params) add(values url.Values) params {
	for name, all := range values {
		for _, value := range all {
			p = append(p, param{name, value})
		}
	}
	return p
}

func unescape(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return malformed
}

// decode reads the parameters of a request without an upload: the query's, then
// those of a form. On multipart the form comes first. A body of another kind is no
// reason to reject a request.
func decode(w http.ResponseWriter, r *http.Request) (params, error) {
	query := params(nil).parse(r.URL.RawQuery)
	if r.ContentLength == 0 {
		return query, nil
	}
	body, err := readBody(w, r)
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, err, "reading a form")
	}
	kind, args, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err == nil && kind == "application/x-www-form-urlencoded":
		return query.parse(string(body)), nil
	case err == nil && kind == "multipart/form-data":
		// The body is smaller than what ReadForm keeps in memory.
		form, err := multipart.NewReader(bytes.NewReader(body), args["boundary"]).ReadForm(maxForm)
		if err != nil {
			return nil, errs.Wrap(errs.Invalid, err, "reading a multipart form")
		}
		return params(nil).add(form.Value).parse(r.URL.RawQuery), nil
	default:
		return query, nil
	}
}

// readBody reads a body of at most maxForm bytes. What a larger one has more is
// read and thrown away, within bounds: many clients read no answer before they
// have sent everything.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	// Only tests' recorders do not support it. The next request resets it.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		// Whatever ends it, the answer is that the body is too large.
		_, _ = io.CopyN(io.Discard, r.Body, maxDiscard)
	}
	return body, err
}

// id returns a required id, which is positive.
func (p params) id(name string) (int64, error) {
	id, err := p.optionalID(name)
	if err == nil && id == 0 {
		err = errs.New(errs.Invalid, "")
	}
	return id, err
}

// optionalID returns an id, 0 when it is missing or 0.
func (p params) optionalID(name string) (int64, error) {
	s := p.get(name)
	if s == "" {
		return 0, nil
	}
	id, err := integer(s)
	if err != nil || id < 0 {
		return 0, errs.New(errs.Invalid, "")
	}
	return id, nil
}

// action returns whether action_type is 1, false for 2; others are Invalid.
func (p params) action() (bool, error) {
	n, err := integer(p.get("action_type"))
	if err != nil || n != 1 && n != 2 {
		return false, errs.New(errs.Invalid, "")
	}
	return n == 1, nil
}

// text returns what people wrote. Services decide what it must be; it only has
// to be UTF-8 to reach them.
func (p params) text(name string) (string, error) {
	s := p.get(name)
	if !utf8.ValidString(s) {
		return "", errs.New(errs.Invalid, "文字编码无效")
	}
	return s, nil
}

// integer parses leniently (API §1.4): clients that keep ids in a float64 send
// 1234567 as 1.234567e+06, and a '+' that was not encoded arrives as a space.
// A number too large for an int64 is strconv.ErrRange.
func integer(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err == nil || errors.Is(err, strconv.ErrRange) || !strings.ContainsAny(s, "eE") {
		return n, err
	}
	if strings.Trim(s, "0123456789.eE+- ") != "" { // ParseFloat reads 1_0e1 and 0xep0 too
		return 0, strconv.ErrSyntax
	}
	f, err := strconv.ParseFloat(strings.Replace(s, " ", "+", 1), 64)
	if err != nil || f != math.Trunc(f) {
		return 0, strconv.ErrSyntax
	}
	if math.Abs(f) > maxExact {
		return 0, strconv.ErrRange
	}
	return int64(f), nil
}

const (
	// firstMilli is the smallest time read as milliseconds; less are seconds.
	firstMilli = 1e11
	day        = 24 * time.Hour
)

// moment reads a time that may be in seconds or milliseconds and returns Unix
// milliseconds, 0 for none (API §1.5). What lies more than a day ahead is now.
// It is never an error: a client's clock must not cost it the feed.
func moment(s string, now time.Time) int64 {
	t, err := integer(s)
	negative := strings.HasPrefix(s, "-")
	switch {
	case errors.Is(err, strconv.ErrRange) && !negative:
		return now.UnixMilli()
	case err != nil, t <= 0:
		return 0
	}
	if t < firstMilli {
		t *= 1000
	}
	if t > now.Add(day).UnixMilli() {
		return now.UnixMilli()
	}
	return t
}
