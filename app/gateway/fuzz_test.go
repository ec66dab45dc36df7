package gateway

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"backbeat/app/errs"
	"backbeat/config"
)

// FuzzDecode reads arbitrary queries and forms: what the standard library reads in
// a sound query is what ours reads, and nothing is made up or multiplied.
func FuzzDecode(f *testing.F) {
	const urlencoded = "application/x-www-form-urlencoded"
	form := "--x\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\nt\r\n--x--\r\n"
	for _, seed := range [][3]string{
		{"", "", ""}, {"token=a&token=b&video_id=1", "", ""}, {"a=%E4%BD%A0+%26&=1&&b", "", ""}, {"a=%zz&a=1;b=2", "", ""},
		{"token=a", urlencoded, "token=b&x=%"}, {"", urlencoded + "; charset=UTF-8", "a=b=c"}, {"", urlencoded, strings.Repeat("a&", 999)},
		{"token=a", "multipart/form-data; boundary=x", form}, {"", "multipart/form-data", form}, {"", "multipart/form-data; boundary=x", form[:40]},
		{"a=1", "application/json", `{"a":2}`}, {"a=1", ";;;", "x"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, query, contentType, body string) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.URL.RawQuery = query
		r.Header.Set("Content-Type", contentType)
		p, err := decode(httptest.NewRecorder(), r)
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Errorf("%v", err)
			}
			return
		}
		size := 0
		for _, one := range p {
			size += len(one.name) + len(one.value)
		}
		if size > len(query)+len(body) {
			t.Errorf("%d bytes came of %d", size, len(query)+len(body))
		}
		values, err := url.ParseQuery(query)
		if err != nil || strings.HasPrefix(contentType, "multipart/") {
			return
		}
		for name, all := range values {
			if name != "" && p.get(name) != all[0] {
				t.Errorf("%s is %q, want %q", name, p.get(name), all[0])
			}
		}
	})
}

// FuzzNumbers reads arbitrary text as ids, actions, times and text.
func FuzzNumbers(f *testing.F) {
	for _, s := range []string{
		"", "0", "-0", "1", "-1", "9223372036854775807", "9223372036854775808", "1e+06", "1.234567e 06", "9.007199254740992e+15", "9.007199254740993e15",
		"1e400", "-1e400", "NaN", "Inf", "0x1p4", "1_000", "1_0e1", "0x10e1", " 1", "１２", "\xff", "1652864872162", "99999999999",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p := params{{"id", s}, {"action_type", s}}
		if id, err := p.id("id"); err == nil {
			exact, fails := strconv.ParseInt(s, 10, 64)
			if fails != nil { // then it went through a float64
				number, _ := strconv.ParseFloat(strings.Replace(s, " ", "+", 1), 64)
				exact = int64(number)
			}
			if id <= 0 || id != exact || fails != nil && (id > maxExact || strings.Trim(s, "0123456789.eE+- ") != "") {
				t.Errorf("%q is the id %d", s, id)
			}
		} else if !errs.Is(err, errs.Invalid) {
			t.Errorf("%q as an id: %v", s, err)
		}
		if do, err := p.action(); err == nil {
			if n, _ := integer(s); do != (n == 1) || !do && n != 2 {
				t.Errorf("%q is the action %t", s, do)
			}
		}
		if at := moment(s, clock); at < 0 || at > clock.Add(day).UnixMilli() {
			t.Errorf("%q is the time %d", s, at)
		}
		if text, err := p.text("id"); err == nil && text != s {
			t.Errorf("%q is the text %q", s, text)
		}
	})
}

// FuzzHost looks for a Host that would get more than a host into a URL.
func FuzzHost(f *testing.F) {
	for _, host := range []string{
		"", "a", "a.test:80", "127.0.0.1:8080", "[::1]:80", "[::1%25eth0]", "[::1", "a:b@c", "a/b", "a:80:80", "a:999999", "a b", "a\r\nb", `a"><`, "..", ":80", "例.test",
	} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if !validHost(host) {
			return
		}
		u, err := url.Parse("http://" + host + "/media/x?y")
		if err != nil || u.Host != host || u.User != nil || u.Path != "/media/x" || u.RawQuery != "y" || len(host) > maxHost {
			t.Errorf("%q makes the URL %+v, %v", host, u, err)
		}
	})
}

// FuzzForwarded looks for an X-Forwarded-For by which a client is taken for
// another: behind a proxy the entry counts that the proxy wrote, and without one
// none does.
func FuzzForwarded(f *testing.F) {
	for _, header := range []string{"", ",", "127.0.0.1", "::1", "10.0.0.1", "unknown, 10.0.0.1", "[::1]:80", "203.0.113.9:1, 10.1.1.1", "fe80::1%eth0", "\xff", strings.Repeat("10.0.0.1,", 99)} {
		f.Add(header)
	}
	proxy := netip.MustParsePrefix("10.0.0.0/8")
	limits, err := newLimits(config.Limits{Exempt: []string{"127.0.0.0/8", "::1/128"}}, time.Now)
	if err != nil {
		f.Fatal(err)
	}
	g := &Gateway{proxies: []netip.Prefix{proxy}, limits: limits}
	client := netip.MustParseAddr("203.0.113.7")
	f.Fuzz(func(t *testing.T, header string) {
		for _, row := range []struct{ peer, header string }{
			{"203.0.113.7:1", header}, {"10.0.0.2:1", header + ",203.0.113.7"}, {"10.0.0.2:1", header + ", 203.0.113.7:99, 10.0.0.1"},
		} {
			from := g.sender(&http.Request{RemoteAddr: row.peer, Header: http.Header{"X-Forwarded-For": {row.header}}})
			if from.addr != client || from.exempt {
				t.Errorf("%q from %s is %+v", row.header, row.peer, from)
			}
		}
	})
}

// FuzzUpload reads arbitrary forms whose boundary is arbitrary too. FuzzReceive
// looks at the content.
func FuzzUpload(f *testing.F) {
	for _, seed := range [][2]string{
		{formType, formPart("token", "t") + videoPart("a", clip(600)) + formEnd}, {"", ""}, {"multipart/form-data", formEnd},
		{"multipart/mixed; boundary=x", "--x--\r\n"}, {`multipart/form-data; boundary="x y"`, "--x y\r\n\r\n\r\n--x y--"}, {"multipart/form-data; boundary=", "--\r\n"},
		{formType, strings.Repeat(formPart("a", "b"), maxFields+1) + formEnd}, {formType, formPart("a", strings.Repeat("b", maxField+1)) + formEnd},
	} {
		f.Add(seed[0], seed[1])
	}
	u := newUploads(f, 2048, 4096, 1)
	f.Fuzz(func(t *testing.T, contentType, body string) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		up, err := u.receive(deadlines{httptest.NewRecorder()}, r, sender{exempt: true})
		switch {
		case err != nil && !errs.Is(err, errs.Invalid):
			t.Errorf("%v", err)
		case err == nil:
			fields := 0
			for name, values := range up.fields {
				for _, value := range values {
					if fields++; len(value) > maxField || name == "data" {
						t.Errorf("field %q has %d bytes", name, len(value))
					}
				}
			}
			if fields > maxFields+1 || up.size > 2048 {
				t.Errorf("%d fields and %d bytes", fields, up.size)
			}
			up.close()
		}
		if err := u.isEmpty(); err != nil {
			t.Error(err)
		}
	})
}
