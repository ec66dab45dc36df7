package gateway

import (
	"bytes"
	"errors"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"backbeat/app/errs"
)

func TestInteger(t *testing.T) {
	tests := map[string]struct {
		in   string
		want int64
		err  error
	}{
		"zero":                       {"0", 0, nil},
		"plain":                      {"1234567", 1234567, nil},
		"negative":                   {"-5", -5, nil},
		"largest":                    {"9223372036854775807", 1<<63 - 1, nil},
		"one more":                   {"9223372036854775808", 1<<63 - 1, strconv.ErrRange},
		"a million from float64":     {"1e+06", 1000000, nil},
		"1234567 from float64":       {"1.234567e+06", 1234567, nil},
		"plus that became a space":   {"1.234567e 06", 1234567, nil},
		"capital exponent":           {"1E6", 1000000, nil},
		"2^53 from float64":          {"9.007199254740992e+15", 1 << 53, nil},
		"beyond what float64 holds":  {"9.1e+15", 0, strconv.ErrRange},
		"far beyond":                 {"1e300", 0, strconv.ErrRange},
		"beyond float64 itself":      {"1e999", 0, strconv.ErrSyntax},
		"a fraction in exponents":    {"1.5e0", 0, strconv.ErrSyntax},
		"a fraction":                 {"1.5", 0, strconv.ErrSyntax},
		"an integral decimal":        {"7.0", 0, strconv.ErrSyntax},
		"empty":                      {"", 0, strconv.ErrSyntax},
		"letters":                    {"abc", 0, strconv.ErrSyntax},
		"letters with an e":          {"hello", 0, strconv.ErrSyntax},
		"hexadecimal":                {"0x10", 0, strconv.ErrSyntax},
		"hexadecimal exponents":      {"0xep0", 0, strconv.ErrSyntax},
		"underscores":                {"1_0e1", 0, strconv.ErrSyntax},
		"infinity":                   {"Inf", 0, strconv.ErrSyntax},
		"not a number":               {"NaN", 0, strconv.ErrSyntax},
		"broken encoding":            {malformed, 0, strconv.ErrSyntax},
		"digits of another alphabet": {"１２", 0, strconv.ErrSyntax},
		"surrounded by white space":  {" 1 ", 0, strconv.ErrSyntax},
		"followed by an SQL comment": {"1--", 0, strconv.ErrSyntax},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := integer(tt.in)
			if !errors.Is(err, tt.err) {
				t.Errorf("integer(%q) returned the error %v, want %v", tt.in, err, tt.err)
			}
			if err == nil && got != tt.want {
				t.Errorf("integer(%q) is %d, want %d", tt.in, got, tt.want)
			}
		})
	}
}

// Every id there can be survives a client that keeps it in a float64.
func TestIntegerReadsIDsPrintedFromFloat64(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.Int64Range(1, 1<<53).Draw(t, "id")
		for _, verb := range []byte{'e', 'g', 'f'} {
			printed := strconv.FormatFloat(float64(id), verb, -1, 64)
			if got, err := integer(printed); err != nil || got != id {
				t.Fatalf("integer(%q) is %d, %v; want %d", printed, got, err, id)
			}
		}
	})
}

// The rows of API §1.5.
func TestMoment(t *testing.T) {
	now := clock.UnixMilli()
	tests := map[string]struct {
		in   string
		want int64
	}{
		"missing":                       {"", 0},
		"zero":                          {"0", 0},
		"negative":                      {"-1", 0},
		"a very negative number":        {"-99999999999999999999", 0},
		"words":                         {"now", 0},
		"a formatted date":              {"2023-08-01 12:00:00", 0},
		"broken encoding":               {malformed, 0},
		"milliseconds":                  {"1652864872162", 1652864872162},
		"seconds":                       {"1652864872", 1652864872000},
		"the largest seconds before ms": {"1772600000", 1772600000000},
		"the smallest milliseconds":     {"100000000000", 100000000000},
		"one less, seconds far ahead":   {"99999999999", now},
		"one second":                    {"1", 1000},
		"now in milliseconds":           {strconv.FormatInt(now, 10), now},
		"now in seconds":                {strconv.FormatInt(now/1000, 10), now},
		"a phone some hours ahead":      {strconv.FormatInt(now+3_600_000, 10), now + 3_600_000},
		"exactly a day ahead":           {strconv.FormatInt(now+86_400_000, 10), now + 86_400_000},
		"more than a day ahead":         {strconv.FormatInt(now+86_400_001, 10), now},
		"microseconds":                  {strconv.FormatInt(now*1000, 10), now},
		"more than int64 holds":         {"99999999999999999999", now},
		"from float64":                  {"1.652864872162e+12", 1652864872162},
		"far beyond float64's integers": {"1e300", now},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := moment(tt.in, clock); got != tt.want {
				t.Errorf("moment(%q) is %d, want %d", tt.in, got, tt.want)
			}
		})
	}
}

func TestMomentStaysWithinBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.OneOf(rapid.String(), rapid.StringMatching(`-?[0-9]{0,25}`), rapid.StringMatching(`[0-9]\.[0-9]{1,9}e\+?[0-9]{1,3}`)).Draw(t, "in")
		if got := moment(in, clock); got < 0 || got > clock.Add(day).UnixMilli() {
			t.Fatalf("moment(%q) is %d", in, got)
		}
	})
}

func TestDecode(t *testing.T) {
	const urlencoded = "application/x-www-form-urlencoded"
	form, formType := multipartForm(t, "a", "form")
	tests := map[string]struct {
		query, contentType, body, want string
	}{
		"query":                      {"a=1", "", "", "1"},
		"nothing":                    {"", "", "", ""},
		"another name":               {"b=1", "", "", ""},
		"form":                       {"", urlencoded, "a=form", "form"},
		"form with a charset":        {"", urlencoded + "; charset=UTF-8", "a=form", "form"},
		"query wins over form":       {"a=query", urlencoded, "a=form", "query"},
		"the first of a name counts": {"a=1&a=2", urlencoded, "a=3", "1"},
		"multipart":                  {"", formType, form, "form"},
		"multipart wins over query":  {"a=query", formType, form, "form"},
		"a JSON body is ignored":     {"a=query", "application/json", `{"a":"json"}`, "query"},
		"a nonsense content type":    {"a=query", ";;;", "a=form", "query"},
		"escapes":                    {"a=%E4%BD%A0+%26", "", "", "你 &"},
		"a semicolon is a character": {"a=1;b=2", "", "", "1;b=2"},
		"an equals sign in a value":  {"a=b=c", "", "", "b=c"},
		"no value":                   {"a", "", "", ""},
		"no name":                    {"=1&a=2", "", "", "2"},
		"empty pairs":                {"&&a=1&&", "", "", "1"},
		"a broken escape":            {"a=%zz", "", "", malformed},
		"a broken escape elsewhere":  {"b=%zz&a=1", "", "", "1"},
	}
	for name, tt := range tests {
		for _, method := range []string{http.MethodPost, http.MethodGet} {
			t.Run(name+" by "+method, func(t *testing.T) {
				r := httptest.NewRequest(method, "/?"+tt.query, strings.NewReader(tt.body))
				r.Header.Set("Content-Type", tt.contentType)
				got, err := decode(httptest.NewRecorder(), r)
				if err != nil {
					t.Fatal(err)
				}
				if got.get("a") != tt.want {
					t.Errorf("a is %q, want %q", got.get("a"), tt.want)
				}
			})
		}
	}
}

func multipartForm(t *testing.T, name, value string) (body, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	if err := w.WriteField(name, value); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String(), w.FormDataContentType()
}

func TestDecodeRefusesBrokenBodies(t *testing.T) {
	form, formType := multipartForm(t, "a", "form")
	tests := map[string]struct {
		contentType, body string
		tooLarge          bool
	}{
		"a form over the bound":              {"application/x-www-form-urlencoded", strings.Repeat("a", maxForm+1), true},
		"another body over the bound":        {"application/json", strings.Repeat("a", 10<<20), true},
		"a multipart form over the bound":    {formType, strings.Repeat("a", maxForm+1), true},
		"a multipart form cut off":           {formType, form[:len(form)-10], false},
		"a multipart form without parts":     {formType, "x", false},
		"a multipart form without a divider": {"multipart/form-data", form, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(tt.body))
			r.Header.Set("Content-Type", tt.contentType)
			_, err := decode(httptest.NewRecorder(), r)
			if !errs.Is(err, errs.Invalid) {
				t.Fatalf("decode returned %v, want an Invalid error", err)
			}
			var tooLarge *http.MaxBytesError
			if errors.As(err, &tooLarge) != tt.tooLarge {
				t.Errorf("decode returned %v, want too large: %t", err, tt.tooLarge)
			}
		})
	}
}

func TestParamsReaders(t *testing.T) {
	p := params(nil).parse("id=7&zero=0&negative=-1&word=x&huge=99999999999999999999&empty=&float=1.234567e%2B06&broken=%zz")
	tests := map[string]struct {
		required, optional bool // accepted by id, by optionalID
		want               int64
	}{
		"id":       {true, true, 7},
		"float":    {true, true, 1234567},
		"zero":     {false, true, 0},
		"empty":    {false, true, 0},
		"missing":  {false, true, 0},
		"negative": {false, false, 0},
		"word":     {false, false, 0},
		"huge":     {false, false, 0},
		"broken":   {false, false, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := p.id(name)
			if (err == nil) != tt.required || err != nil && !errs.Is(err, errs.Invalid) {
				t.Errorf("id returned %d, %v", got, err)
			}
			got, err = p.optionalID(name)
			if (err == nil) != tt.optional || err != nil && !errs.Is(err, errs.Invalid) || got != tt.want {
				t.Errorf("optionalID returned %d, %v; want %d", got, err, tt.want)
			}
		})
	}
	if _, err := p.text("broken"); !errs.Is(err, errs.Invalid) {
		t.Errorf("text of a broken escape returned %v, want an Invalid error", err)
	}
}

func BenchmarkDecode(b *testing.B) {
	r := httptest.NewRequest(http.MethodGet, "/douyin/feed/?latest_time=1652864872162&token="+strings.Repeat("x", 180), nil)
	rec := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		p, err := decode(rec, r)
		if err != nil || moment(p.get("latest_time"), clock) == 0 {
			b.Fatal("not decoded")
		}
	}
}
