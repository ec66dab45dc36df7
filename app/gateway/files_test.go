package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image/png"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"backbeat/app/errs"
	"backbeat/app/media"
	"backbeat/test/harness"
)

// fileServers returns a server of files on every kind of store, each with content
// under key.
func fileServers(t *testing.T, key string, content []byte) map[string]*httptest.Server {
	t.Helper()
	disk, err := media.NewDisk(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	bucket := harness.S3(t)
	s3, err := media.NewS3(t.Context(), media.S3Config{
		Endpoint: strings.TrimPrefix(bucket.Endpoint, "http://"), Bucket: bucket.Name, Region: "us-east-1",
		AccessKey: bucket.AccessKey, SecretKey: bucket.SecretKey,
	})
	if err != nil {
		t.Fatal(err)
	}
	servers := map[string]*httptest.Server{}
	for name, store := range map[string]media.Store{"disk": disk, "S3": s3} {
		if err := store.Put(t.Context(), key, bytes.NewReader(content), int64(len(content)), media.ContentType(key)); err != nil {
			t.Fatal(err)
		}
		servers[name] = httptest.NewServer(newFiles(store, harness.Logger(t)))
		t.Cleanup(servers[name].Close)
	}
	return servers
}

// ask sends a request with header pairs and returns the answer and its body.
func ask(t *testing.T, method, url string, header ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

func TestFiles(t *testing.T) {
	const size = 30 << 20
	content := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(content)
	key := media.NewKey("video", "mp4")
	for name, server := range fileServers(t, key, content) {
		t.Run(name, func(t *testing.T) {
			url := server.URL + filePrefix + key
			resp, body := ask(t, http.MethodGet, url)
			if resp.StatusCode != http.StatusOK || !bytes.Equal(body, content) {
				t.Fatalf("%s, %d bytes", resp.Status, len(body))
			}
			for header, want := range map[string]string{
				"Content-Type": "video/mp4", "Accept-Ranges": "bytes", "ETag": `"` + key + `"`,
				"Cache-Control":          "public, max-age=31536000, immutable",
				"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox",
			} {
				if got := resp.Header.Get(header); got != want {
					t.Errorf("%s: %q, want %q", header, got, want)
				}
			}
			if resp, body := ask(t, http.MethodHead, url); resp.StatusCode != http.StatusOK || resp.ContentLength != size || len(body) != 0 {
				t.Errorf("HEAD: %s, length %d, %d bytes", resp.Status, resp.ContentLength, len(body))
			}
			for _, test := range []struct {
				name     string
				header   []string
				status   int
				from, to int
			}{
				{"the beginning", []string{"Range", "bytes=0-1"}, http.StatusPartialContent, 0, 2},
				{"the middle", []string{"Range", "bytes=12345678-12400000"}, http.StatusPartialContent, 12345678, 12400001},
				{"from the middle on", []string{"Range", "bytes=20000000-"}, http.StatusPartialContent, 20000000, size},
				{"the end", []string{"Range", "bytes=-100"}, http.StatusPartialContent, size - 100, size},
				{"beyond the end", []string{"Range", "bytes=31000000-99999999"}, http.StatusPartialContent, 31000000, size},
				{"behind the end", []string{"Range", "bytes=99999999-"}, http.StatusRequestedRangeNotSatisfiable, 0, 0},
				{"several ranges get it all", []string{"Range", "bytes=0-1,5-6,9-10"}, http.StatusOK, 0, size},
				{"what the cache has", []string{"If-None-Match", `"` + key + `"`}, http.StatusNotModified, 0, 0},
				{"what the cache has of another", []string{"If-None-Match", `"x"`, "Range", "bytes=0-9"}, http.StatusPartialContent, 0, 10},
				{"the rest of the same", []string{"If-Range", `"` + key + `"`, "Range", "bytes=9-19"}, http.StatusPartialContent, 9, 20},
				{"the rest of another", []string{"If-Range", `"x"`, "Range", "bytes=9-19"}, http.StatusOK, 0, size},
			} {
				t.Run(test.name, func(t *testing.T) {
					resp, body := ask(t, http.MethodGet, url, test.header...)
					if resp.StatusCode != test.status {
						t.Fatalf("%s, want %d", resp.Status, test.status)
					}
					if test.to > 0 && !bytes.Equal(body, content[test.from:test.to]) {
						t.Errorf("%d bytes are others than %d to %d", len(body), test.from, test.to)
					}
					if want := fmt.Sprintf("bytes %d-%d/%d", test.from, test.to-1, size); resp.StatusCode == http.StatusPartialContent && resp.Header.Get("Content-Range") != want {
						t.Errorf("Content-Range %q, want %q", resp.Header.Get("Content-Range"), want)
					}
				})
			}
		})
	}
}

func TestFilesRefused(t *testing.T) {
	for name, server := range fileServers(t, "video/a.mp4", []byte("x")) {
		for _, path := range []string{
			"", media.NewKey("video", "mp4"), "video", "video/", "video/a", "../secret", "%2e%2e/%2e%2e/etc/passwd", "video/..%2fa.mp4",
			"video%5ca.mp4", "video/a.mp4%00", "video/a.mp4/", "VIDEO/a.mp4", ".incoming/a.mp4", "/video/a.mp4",
			"avatar/0.png", "avatar/-1.png", "avatar/01.png", "avatar/+1.png", "avatar/x.png", "avatar/1.jpg", "avatar/1", "avatar/.png",
			"avatar/9007199254740992.png", "avatar/99999999999999999999.png", "avatar/1/2.png", "cover/1.png", "other/1.png", "avatar/1.png/",
		} {
			resp, body := ask(t, http.MethodGet, server.URL+filePrefix+path)
			var said struct {
				Code int    `json:"status_code"`
				Text string `json:"status_msg"`
			}
			if err := json.Unmarshal(body, &said); err != nil || resp.StatusCode != http.StatusNotFound || said.Code == 0 || said.Text == "" {
				t.Errorf("%s: %q: %s %s", name, path, resp.Status, body)
			}
			if resp.Header.Get("ETag") != "" || strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
				t.Errorf("%s: %q: what is missing may be cached: %v", name, path, resp.Header)
			}
		}
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
			if resp, _ := ask(t, method, server.URL+filePrefix+"video/a.mp4"); resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") == "" {
				t.Errorf("%s: %s: %s", name, method, resp.Status)
			}
		}
	}
}

// brokenStore fails in its own way.
type brokenStore struct {
	media.Store
	err error
}

func (s brokenStore) Open(context.Context, string) (media.Object, error) { return nil, s.err }

func TestFilesOfABrokenStore(t *testing.T) {
	broken := brokenStore{err: errs.Wrap(errs.Unavailable, errors.New("dial tcp 10.0.0.7: refused"), "opening")}
	server := httptest.NewServer(newFiles(broken, harness.Logger(t)))
	defer server.Close()
	resp, body := ask(t, http.MethodGet, server.URL+filePrefix+"video/a.mp4")
	if resp.StatusCode != http.StatusServiceUnavailable || bytes.Contains(body, []byte("10.0.0.7")) || !json.Valid(body) {
		t.Errorf("%s %s", resp.Status, body)
	}
	if resp, _ := ask(t, http.MethodGet, server.URL+filePrefix+"avatar/1.png"); resp.StatusCode != http.StatusOK {
		t.Errorf("a drawn picture needs no store: %s", resp.Status)
	}
}

func TestDrawings(t *testing.T) {
	server := httptest.NewServer(newFiles(brokenStore{err: errs.New(errs.NotFound, "")}, harness.Logger(t)))
	defer server.Close()
	etags := map[string]string{}
	for _, path := range []string{"avatar/1.png", "avatar/2.png", "avatar/9007199254740991.png", "background/1.png", "cover.png"} {
		for range 2 { // drawn, and remembered
			resp, body := ask(t, http.MethodGet, server.URL+filePrefix+path)
			if _, err := png.Decode(bytes.NewReader(body)); err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "image/png" {
				t.Errorf("%s: %s, %s, %v", path, resp.Status, resp.Header.Get("Content-Type"), err)
			}
			if resp.Header.Get("X-Content-Type-Options") != "nosniff" || resp.Header.Get("Cache-Control") == "" {
				t.Errorf("%s: %v", path, resp.Header)
			}
			etag := resp.Header.Get("ETag")
			if other, ok := etags[etag]; ok && other != path {
				t.Errorf("%s is %s", path, other)
			}
			etags[etag] = path
			if resp, _ := ask(t, http.MethodGet, server.URL+filePrefix+path, "If-None-Match", etag); resp.StatusCode != http.StatusNotModified {
				t.Errorf("%s again: %s", path, resp.Status)
			}
		}
	}
}

func BenchmarkDrawing(b *testing.B) {
	files := newFiles(brokenStore{}, harness.Logger(b))
	r := httptest.NewRequest(http.MethodGet, "/media/avatar/1.png", nil)
	for b.Loop() {
		files.ServeHTTP(deadlines{httptest.NewRecorder()}, r)
	}
}
