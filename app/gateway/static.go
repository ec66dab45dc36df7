package gateway

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// static is what browsers are shown that is part of the program.
type static struct {
	contentType string
	// policy is the Content-Security-Policy of a page, empty for what is none.
	policy string
	etag   string
	body   []byte
	// zipped says that body is gzip, which is undone for those who do not accept it.
	zipped bool
}

// newStatic returns the handler of GET and HEAD for a text.
func newStatic(contentType, policy, text string) *static {
	return &static{contentType: contentType, policy: policy, etag: fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(text))), body: []byte(text)}
}

// newZipped returns the handler of GET and HEAD for what is compressed already. Its
// ETag is weak, since it stands for both forms.
func newZipped(contentType string, body []byte) *static {
	return &static{contentType: contentType, etag: fmt.Sprintf(`W/"%x"`, sha256.Sum256(body)), body: body, zipped: true}
}

func (s *static) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		writeFault(w, r, http.StatusMethodNotAllowed, "请求方法不正确")
		return
	}
	header.Set("Content-Type", s.contentType)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-cache")
	header.Set("ETag", s.etag)
	if s.policy != "" {
		header.Set("Content-Security-Policy", s.policy)
	}
	var body io.Reader = bytes.NewReader(s.body)
	if s.zipped {
		header.Add("Vary", "Accept-Encoding")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			header.Set("Content-Encoding", "gzip")
		} else {
			plain, err := gzip.NewReader(body)
			if err != nil { // cannot be: a test reads them all
				panic(err)
			}
			body = plain
		}
	}
	if r.Header.Get("If-None-Match") == s.etag {
		header.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if r.Method == http.MethodGet {
		// An error means that the client has gone.
		_, _ = io.Copy(w, body)
	}
}
