package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"backbeat/app/errs"
	"backbeat/test/harness"
)

const formBoundary = "b0undary"

// clip returns size bytes that begin like an MP4.
func clip(size int) string {
	const head = "\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00isommp42"
	return head + strings.Repeat("0123456789abcdef", size/16)[:size-len(head)]
}

func formPart(name, value string) string {
	return fmt.Sprintf("--%s\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", formBoundary, name, value)
}

func videoPart(fileName, content string) string {
	return fmt.Sprintf("--%s\r\nContent-Disposition: form-data; name=\"data\"; filename=%q\r\nContent-Type: video/mp4\r\n\r\n%s\r\n",
		formBoundary, fileName, content)
}

const formEnd = "--" + formBoundary + "--\r\n"

// received is what the test server's handler tells of an upload.
type received struct {
	Kind, Text string
	Fields     url.Values
	NoFile     bool
	Size       int64
	Sum        string
	Ext, Type  string
}

// uploads is a server whose handler receives uploads. While hold is not nil, it
// keeps each until hold is closed.
type uploads struct {
	*stager
	hold chan struct{}
	held chan struct{}
}

func newUploads(t testing.TB, maxBytes, totalBytes int64, maxUploads int) *uploads {
	t.Helper()
	s, err := newStager(filepath.Join(t.TempDir(), "staging"), maxBytes, totalBytes, maxUploads)
	if err != nil {
		t.Fatal(err)
	}
	return &uploads{stager: s}
}

func (u *uploads) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	up, err := u.receive(w, r, sender{exempt: true})
	if err != nil {
		json.NewEncoder(w).Encode(received{Kind: errs.KindOf(err).String(), Text: errs.Text(err)})
		return
	}
	defer up.close()
	if u.hold != nil {
		u.held <- struct{}{}
		<-u.hold
	}
	said := received{Fields: up.fields, NoFile: up.file == nil, Size: up.size, Ext: up.ext, Type: up.contentType}
	if up.file != nil {
		sum := sha256.New()
		if _, err := io.Copy(sum, io.NewSectionReader(up.file, 0, up.size)); err != nil {
			said.Kind = err.Error()
		}
		said.Sum = fmt.Sprintf("%x", sum.Sum(nil))
	}
	json.NewEncoder(w).Encode(said)
}

// isEmpty checks that nothing is staged, on the disk or in the books.
func (u *uploads) isEmpty() error {
	entries, err := os.ReadDir(u.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(entries) != 0 || u.bytes != 0 || u.stager.uploads != 0 {
		return fmt.Errorf("%d files, %d bytes and %d uploads are left", len(entries), u.bytes, u.stager.uploads)
	}
	return nil
}

func postForm(url, contentType string, body io.Reader) (received, error) {
	req, err := http.NewRequest(http.MethodPost, url, body)
	if err != nil {
		return received{}, err
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return received{}, err
	}
	defer resp.Body.Close()
	var said received
	return said, json.NewDecoder(resp.Body).Decode(&said)
}

const formType = "multipart/form-data; boundary=" + formBoundary

func TestUpload(t *testing.T) {
	const mega = 1 << 20
	const (
		noForm     = "请使用表单上传视频"
		noVideo    = "不支持的视频格式"
		cutOff     = "上传不完整，请重试"
		tooLarge   = "视频不能超过4MB"
		twice      = "一次只能上传一个视频"
		manyFields = "表单字段过多"
		longField  = "表单字段过长"
	)
	video := clip(3 * mega)
	fields := formPart("token", "t.o.k") + formPart("title", "标题 ../../x 🎬")
	for _, test := range []struct {
		name        string
		contentType string
		body        string
		text        string // of the refusal, empty for none
		noFile      bool
	}{
		{"the file first", formType, videoPart("a.mp4", video) + fields + formEnd, "", false},
		{"the file last", formType, fields + videoPart("a.mp4", video) + formEnd, "", false},
		{"the file between", formType, formPart("token", "t") + videoPart("a.mp4", video) + formPart("title", "x") + formEnd, "", false},
		{"a file name that climbs", formType, videoPart("../../../etc/passwd", video) + formEnd, "", false},
		{"no file name", formType, formPart("data", video) + formEnd, "", false},
		{"a quoted boundary", `multipart/form-data; boundary="` + formBoundary + `"`, videoPart("a", video) + formEnd, "", false},
		{"no line end after the last boundary", formType, videoPart("a", video) + strings.TrimSuffix(formEnd, "\r\n"), "", false},
		{"text before and after", formType, "preamble\r\n" + videoPart("a", video) + formEnd + "epilogue", "", false},
		{"a short file", formType, videoPart("a.mp4", clip(24)) + formEnd, "", false},
		{"as large as allowed", formType, videoPart("a.mp4", clip(4*mega)) + formEnd, "", false},
		{"a field as long as allowed", formType, formPart("title", strings.Repeat("x", maxField)) + videoPart("a", video) + formEnd, "", false},
		{"as many fields as allowed", formType, strings.Repeat(formPart("x", "1"), maxFields) + videoPart("a", video) + formEnd, "", false},
		{"no file", formType, fields + formEnd, "", true},
		{"an empty file", formType, videoPart("", "") + fields + formEnd, "", true},

		{"a byte too large", formType, videoPart("a.mp4", clip(4*mega+1)) + formEnd, tooLarge, false},
		{"far too large", formType, fields + videoPart("a.mp4", clip(9*mega)) + formEnd, tooLarge, false},
		{"HTML", formType, videoPart("a.mp4", "<!DOCTYPE html><script>alert(1)</script>") + fields + formEnd, noVideo, false},
		{"a playlist", formType, videoPart("a.mp4", "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n") + formEnd, noVideo, false},
		{"a large file of another kind", formType, videoPart("a.mp4", strings.Repeat("no video", 3*mega/8)) + fields + formEnd, noVideo, false},
		{"two files", formType, videoPart("a.mp4", clip(mega)) + videoPart("b.mp4", clip(mega)) + formEnd, twice, false},
		{"an empty and a full file", formType, videoPart("a.mp4", "") + videoPart("b.mp4", video) + formEnd, twice, false},
		{"a field too long", formType, videoPart("a", video) + formPart("title", strings.Repeat("x", maxField+1)) + formEnd, longField, false},
		{"a file as another field", formType, formPart("video", video) + formEnd, longField, false},
		{"too many fields", formType, strings.Repeat(formPart("x", "1"), maxFields+2) + formEnd, manyFields, false},
		{"no content type", "", videoPart("a.mp4", video) + formEnd, noForm, false},
		{"another content type", "application/x-www-form-urlencoded", "data=1", noForm, false},
		{"JSON", "application/json", `{"data":1}`, noForm, false},
		{"no boundary", "multipart/form-data", videoPart("a.mp4", video) + formEnd, noForm, false},
		{"another boundary", "multipart/form-data; boundary=other", videoPart("a.mp4", video) + formEnd, cutOff, false},
		{"an empty body", formType, "", cutOff, false},
		{"no last boundary", formType, fields + videoPart("a.mp4", video), cutOff, false},
		{"ends in the file", formType, fields + videoPart("a.mp4", video)[:mega], cutOff, false},
		{"ends in the file's first bytes", formType, strings.TrimSuffix(videoPart("a.mp4", "\x00\x00\x00\x18ft"), "\r\n"), cutOff, false},
		{"ends before the file's first byte", formType, strings.TrimSuffix(videoPart("a.mp4", ""), "\r\n"), cutOff, false},
		{"ends in the last boundary", formType, videoPart("a.mp4", video) + strings.TrimSuffix(formEnd, "-\r\n"), cutOff, false},
		{"ends before the last boundary's dashes", formType, videoPart("a.mp4", video) + strings.TrimSuffix(formEnd, "--\r\n"), cutOff, false},
		{"ends in a field", formType, videoPart("a.mp4", video) + formPart("title", "long title")[:60], cutOff, false},
		{"ends in a head", formType, videoPart("a.mp4", video) + formPart("title", "x")[:30], cutOff, false},
		{"a head without formEnd", formType, "--" + formBoundary + "\r\nX: " + strings.Repeat("x", mega) + formEnd, cutOff, false},
		{"a head that is none", formType, "--" + formBoundary + "\r\n\x00\xff\r\n\r\nx\r\n" + formEnd, cutOff, false},
		{"noise", formType, strings.Repeat("\x00\xff--", mega/4), cutOff, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			u := newUploads(t, 4*mega, 64*mega, 4)
			server := httptest.NewServer(u)
			defer server.Close()
			for framing, body := range map[string]io.Reader{
				"length known": strings.NewReader(test.body),
				"chunked":      struct{ io.Reader }{strings.NewReader(test.body)},
				"byte by byte": iotest.OneByteReader(strings.NewReader(test.body[:min(len(test.body), 1000)])),
			} {
				if framing == "byte by byte" && len(test.body) > 1000 {
					continue
				}
				said, err := postForm(server.URL, test.contentType, body)
				if err != nil {
					t.Fatalf("%s: no answer: %v", framing, err)
				}
				if said.Text != test.text || test.text != "" && said.Kind != errs.Invalid.String() {
					t.Fatalf("%s: %s %q, want %q", framing, said.Kind, said.Text, test.text)
				}
				if test.text == "" && !test.noFile {
					isVideo(t, said, test.body)
				}
				if said.NoFile != test.noFile {
					t.Errorf("%s: no file: %v", framing, said.NoFile)
				}
				if test.text == "" && strings.Contains(test.body, fields) && (said.Fields.Get("token") != "t.o.k" || said.Fields.Get("title") != "标题 ../../x 🎬") {
					t.Errorf("%s: fields %v", framing, said.Fields)
				}
			}
			harness.Eventually(t, 5*time.Second, u.isEmpty, "cleaning up")
		})
	}
}

// isVideo checks that the file received is the one in body.
func isVideo(t *testing.T, said received, body string) {
	t.Helper()
	start := strings.Index(body, clip(24))
	length := strings.Index(body[start:], "\r\n--"+formBoundary)
	want := fmt.Sprintf("%x", sha256.Sum256([]byte(body[start:start+length])))
	if said.Size != int64(length) || said.Sum != want || said.Ext != "mp4" || said.Type != "video/mp4" {
		t.Errorf("received %d bytes of %s (%s), sum %.8s; want %d, %.8s", said.Size, said.Ext, said.Type, said.Sum, length, want)
	}
}

// TestUploadCutOff closes the connection at every stage of an upload.
func TestUploadCutOff(t *testing.T) {
	u := newUploads(t, 4<<20, 64<<20, 4)
	server := httptest.NewServer(u)
	defer server.Close()
	body := formPart("token", "t") + videoPart("a.mp4", clip(100_000)) + formPart("title", "x") + formEnd
	for _, sent := range []int{0, 1, 40, 80, 100, 200, 300, 5000, 50_000, 100_100, len(body) - 50, len(body) - 3} {
		conn := dial(t, server.Listener.Addr())
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", formType, len(body), body[:sent])
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if said := reply(t, conn); said.Kind != errs.Invalid.String() || said.Text != "上传不完整，请重试" {
			t.Errorf("after %d of %d bytes: %s %q", sent, len(body), said.Kind, said.Text)
		}
		harness.Eventually(t, 5*time.Second, u.isEmpty, fmt.Sprintf("cleaning up after %d bytes", sent))
	}
}

// TestUploadBudget holds uploads open and tries further ones.
func TestUploadBudget(t *testing.T) {
	for _, test := range []struct {
		name          string
		total         int64
		uploads, size int
	}{
		{"too many", 64 << 20, 2, 1000},
		{"too many bytes", 3 << 20, 10, 1 << 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			u := newUploads(t, 4<<20, test.total, test.uploads)
			u.hold, u.held = make(chan struct{}), make(chan struct{}, 10)
			server := httptest.NewServer(u)
			defer server.Close()
			body := videoPart("a.mp4", clip(test.size)) + formEnd
			var first sync.WaitGroup
			for range min(test.uploads, int(test.total)/test.size) {
				first.Go(func() {
					if said, err := postForm(server.URL, formType, strings.NewReader(body)); err != nil || said.Kind != "" {
						t.Errorf("within the budget: %+v, %v", said, err)
					}
				})
				<-u.held
			}
			said, err := postForm(server.URL, formType, strings.NewReader(body))
			if err != nil || said.Kind != errs.Exhausted.String() || said.Text != "上传人数过多，请稍后再试" {
				t.Errorf("beyond the budget: %+v, %v", said, err)
			}
			close(u.hold)
			first.Wait()
			harness.Eventually(t, 5*time.Second, u.isEmpty, "giving the budget back")
			if said, err := postForm(server.URL, formType, strings.NewReader(body)); err != nil || said.Kind != "" {
				t.Errorf("afterwards: %+v, %v", said, err)
			}
		})
	}
}

// TestUploadsAtOnce has many clients, of whom some send rubbish, share a small
// budget. Whatever each is told, the books are straight at the end.
func TestUploadsAtOnce(t *testing.T) {
	u := newUploads(t, 1<<20, 2<<20, 6)
	server := httptest.NewServer(u)
	defer server.Close()
	bodies := []string{
		videoPart("a", clip(300_000)) + formEnd, videoPart("a", clip(900_000)) + formEnd, videoPart("a", clip(2<<20)) + formEnd,
		videoPart("a", clip(500_000)), videoPart("a", "rubbish") + formEnd, formPart("token", "t") + formEnd,
	}
	var clients sync.WaitGroup
	for client := range 12 {
		clients.Go(func() {
			for i := range 20 {
				body := bodies[(client+i)%len(bodies)]
				said, err := postForm(server.URL, formType, strings.NewReader(body))
				if err != nil || said.Kind != "" && said.Kind != errs.Invalid.String() && said.Kind != errs.Exhausted.String() {
					t.Errorf("client %d: %+v, %v", client, said, err)
				}
				if said.Kind == "" && !said.NoFile {
					isVideo(t, said, body)
				}
			}
		})
	}
	clients.Wait()
	harness.Eventually(t, 5*time.Second, u.isEmpty, "giving the budget back")
}

func TestUploadIsNotHeldInMemory(t *testing.T) {
	const size = 64 << 20
	u := newUploads(t, size, size, 1)
	server := httptest.NewServer(u)
	defer server.Close()
	body := videoPart("a.mp4", clip(size)) + formEnd
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	said, err := postForm(server.URL, formType, strings.NewReader(body))
	runtime.ReadMemStats(&after)
	if err != nil || said.Size != size {
		t.Fatalf("%+v, %v", said, err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > size/16 {
		t.Errorf("%d bytes were allocated for an upload of %d", grown, size)
	}
}

// TestRefusedUploadGetsItsAnswer has a client that, like the app, reads nothing
// before it has sent everything.
func TestRefusedUploadGetsItsAnswer(t *testing.T) {
	u := newUploads(t, 32<<20, 64<<20, 4)
	server := httptest.NewServer(u)
	defer server.Close()
	for name, body := range map[string]string{
		"不支持的视频格式":   videoPart("a.mp4", strings.Repeat("no video", 30<<20/8)) + formEnd,
		"视频不能超过32MB": videoPart("a.mp4", clip(40<<20)) + formEnd,
	} {
		conn := dial(t, server.Listener.Addr())
		if _, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", formType, len(body), body); err != nil {
			t.Errorf("%s: sending: %v", name, err)
		}
		if said := reply(t, conn); said.Text != name {
			t.Errorf("%q, want %q", said.Text, name)
		}
	}
	t.Run("a client that asks first sends nothing", func(t *testing.T) {
		conn := dial(t, server.Listener.Addr())
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", formType, 1<<40)
		if said := reply(t, conn); said.Text != "视频不能超过32MB" {
			t.Errorf("said %q", said.Text)
		}
	})
}

// TestUploadPace runs on the clock of a bubble, over connections in memory. The
// server's own limits are far shorter than the uploads.
func TestUploadPace(t *testing.T) {
	for _, test := range []struct {
		name string
		// send writes a body of the form to conn.
		send func(conn io.Writer, body string) error
		text string
	}{
		{"a slow but steady phone", steadily(20<<10, time.Second), ""},
		{"a pause within the grace", withPause(uploadGrace - time.Second), ""},
		{"below the least rate", steadily(8<<10, time.Second), "上传速度过慢，请检查网络后重试"},
		{"a byte now and then", steadily(1, uploadGrace-time.Second), "上传速度过慢，请检查网络后重试"},
		{"a stop after a fast start", withPause(uploadGrace + time.Second), "上传速度过慢，请检查网络后重试"},
		{"silence after the form", func(conn io.Writer, body string) error {
			_, err := io.WriteString(conn, strings.TrimSuffix(body, "epilogue"))
			return err
		}, "上传速度过慢，请检查网络后重试"},
		{"silence from the start", func(io.Writer, string) error { return nil }, "上传速度过慢，请检查网络后重试"},
	} {
		t.Run(test.name, func(t *testing.T) {
			u := newUploads(t, 8<<20, 64<<20, 4)
			synctest.Test(t, func(t *testing.T) {
				client, listener := pipe()
				server := &http.Server{Handler: u, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second}
				go server.Serve(listener)
				defer server.Close()
				body := videoPart("a.mp4", clip(3<<20)) + formEnd + "epilogue"
				fmt.Fprintf(client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", formType, len(body))
				var sender sync.WaitGroup
				sender.Go(func() { _ = test.send(client, body) }) // it fails when the server hangs up
				if said := reply(t, client); said.Text != test.text {
					t.Errorf("%s %q, want %q", said.Kind, said.Text, test.text)
				}
				client.Close()
				sender.Wait()
			})
			if err := u.isEmpty(); err != nil {
				t.Error(err)
			}
		})
	}
}

func steadily(bytes int, every time.Duration) func(io.Writer, string) error {
	return func(conn io.Writer, body string) error {
		for len(body) > 0 {
			n := min(bytes, len(body))
			if _, err := io.WriteString(conn, body[:n]); err != nil {
				return err
			}
			body = body[n:]
			<-time.After(every)
		}
		return nil
	}
}

func withPause(pause time.Duration) func(io.Writer, string) error {
	return func(conn io.Writer, body string) error {
		half := len(body) / 2
		if _, err := io.WriteString(conn, body[:half]); err != nil {
			return err
		}
		<-time.After(pause)
		_, err := io.WriteString(conn, body[half:])
		return err
	}
}

// TestUploadDeadlineEnds checks that the deadline of an upload does not cancel
// the request while it is being stored.
func TestUploadDeadlineEnds(t *testing.T) {
	u := newUploads(t, 1<<20, 1<<20, 1)
	synctest.Test(t, func(t *testing.T) {
		client, listener := pipe()
		var cause error
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			up, err := u.receive(w, r, sender{exempt: true})
			if err != nil {
				t.Error(err)
				return
			}
			defer up.close()
			<-time.After(3 * uploadGrace)
			cause = context.Cause(r.Context())
			fmt.Fprint(w, "{}")
		})}
		go server.Serve(listener)
		defer server.Close()
		body := videoPart("a.mp4", clip(1000)) + formEnd
		fmt.Fprintf(client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", formType, len(body), body)
		reply(t, client)
		if cause != nil {
			t.Errorf("the request was cancelled: %v", cause)
		}
		client.Close()
	})
}

func TestStagerCleansUpAfterACrash(t *testing.T) {
	dir := t.TempDir()
	leftover, foreign := filepath.Join(dir, "unnamed-123"), filepath.Join(dir, "notes.txt")
	for _, name := range []string{leftover, foreign} {
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := newStager(dir, 1, 1, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(leftover); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the leftover is still there: %v", err)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Errorf("a foreign file: %v", err)
	}
}

func TestStagerWithoutItsFolder(t *testing.T) {
	u := newUploads(t, 1<<20, 1<<20, 1)
	server := httptest.NewServer(u)
	defer server.Close()
	if err := os.RemoveAll(u.dir); err != nil {
		t.Fatal(err)
	}
	said, err := postForm(server.URL, formType, strings.NewReader(videoPart("a.mp4", clip(1000))+formEnd))
	if err != nil || said.Kind != errs.Internal.String() {
		t.Errorf("%+v, %v", said, err)
	}
	if err := u.isEmpty(); err != nil {
		t.Error(err)
	}
}

// FuzzReceive feeds arbitrary bodies to the receiver.
func FuzzReceive(f *testing.F) {
	for _, body := range []string{
		"", formEnd, formPart("token", "t") + videoPart("a", clip(600)) + formEnd, videoPart("a", clip(600)), videoPart("", "") + formEnd,
		"--" + formBoundary + "\r\nContent-Transfer-Encoding: quoted-printable\r\nContent-Disposition: form-data; name=data\r\n\r\n=00=\r\n" + formEnd,
	} {
		f.Add(body)
	}
	u := newUploads(f, 2048, 4096, 1)
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set("Content-Type", formType)
		up, err := u.receive(deadlines{httptest.NewRecorder()}, r, sender{exempt: true})
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Errorf("%v", err)
			}
		} else {
			checkUpload(t, up, body)
			up.close()
			up.close()
		}
		if err := u.isEmpty(); err != nil {
			t.Error(err)
		}
	})
}

// checkUpload compares what was received with what the standard library reads.
func checkUpload(t *testing.T, up *upload, body string) {
	form, err := multipart.NewReader(strings.NewReader(body), formBoundary).ReadForm(1 << 20)
	if err != nil {
		t.Fatalf("accepted, but no form: %v", err)
	}
	defer form.RemoveAll()
	if up.file == nil {
		return
	}
	staged, err := io.ReadAll(io.NewSectionReader(up.file, 0, math.MaxInt64))
	if err != nil || int64(len(staged)) != up.size {
		t.Errorf("staged %d of %d bytes, %v", len(staged), up.size, err)
	}
	for _, value := range form.Value["data"] {
		if value != string(staged) {
			t.Errorf("staged %q, sent %q", staged, value)
		}
	}
	for _, header := range form.File["data"] {
		file, err := header.Open()
		if err != nil {
			t.Fatal(err)
		}
		if sent, err := io.ReadAll(file); err != nil || !bytes.Equal(sent, staged) {
			t.Errorf("staged %q, sent %q, %v", staged, sent, err)
		}
	}
}

// deadlines is a recorder that accepts deadlines, as a connection does.
type deadlines struct{ *httptest.ResponseRecorder }

func (deadlines) SetReadDeadline(time.Time) error  { return nil }
func (deadlines) SetWriteDeadline(time.Time) error { return nil }

func BenchmarkReceive(b *testing.B) {
	const size = 16 << 20
	u := newUploads(b, size, size, 1)
	body := videoPart("a.mp4", clip(size)) + formEnd
	b.SetBytes(size)
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set("Content-Type", formType)
		up, err := u.receive(deadlines{httptest.NewRecorder()}, r, sender{exempt: true})
		if err != nil {
			b.Fatal(err)
		}
		up.close()
	}
}

// dial opens a bare connection, which ends with the test.
func dial(t *testing.T, addr net.Addr) net.Conn {
	t.Helper()
	conn, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// reply reads what the server says on conn.
func reply(t *testing.T, conn net.Conn) received {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer resp.Body.Close()
	var said received
	if err := json.NewDecoder(resp.Body).Decode(&said); err != nil {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	return said
}

// pipe returns one connection in memory and the listener that accepts it.
func pipe() (client net.Conn, listener net.Listener) {
	client, server := net.Pipe()
	l := &oneConn{conns: make(chan net.Conn, 1)}
	l.conns <- server
	return client, l
}

type oneConn struct {
	conns chan net.Conn
	once  sync.Once
}

func (l *oneConn) Accept() (net.Conn, error) {
	conn, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (l *oneConn) Close() error   { l.once.Do(func() { close(l.conns) }); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

func TestOneAddressLeavesRoomForOthers(t *testing.T) {
	const most = 8
	s := newUploads(t, 1<<20, 1<<20, most).stager
	greedy, other := sender{addr: netip.MustParseAddr("10.0.0.1")}, sender{addr: netip.MustParseAddr("10.0.0.2")}
	for i := range most {
		if got, want := s.enter(greedy), i < most/addressShare; got != want {
			t.Errorf("upload %d of one address is let in: %v", i+1, got)
		}
	}
	if !s.enter(other) || !s.enter(sender{exempt: true}) {
		t.Error("others are kept out")
	}
	s.leave(greedy, 0)
	if !s.enter(greedy) {
		t.Error("one that ended leaves no room")
	}
	for range most / addressShare {
		s.leave(greedy, 0)
	}
	s.leave(other, 0)
	s.leave(sender{exempt: true}, 0)
	if len(s.senders) != 0 || s.uploads != 0 {
		t.Errorf("%d uploads of %v are left", s.uploads, s.senders)
	}
}
