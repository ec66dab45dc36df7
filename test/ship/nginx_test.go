package ship

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"backbeat/deploy/local"
	"backbeat/test/harness"
)

// token stands for what may never be written down.
const token = "hushhushhush"

// behind starts nginx in front of a handler that stands for the gateway.
func behind(t *testing.T, handler http.HandlerFunc) (nginx *local.Server, gateway *httptest.Server) {
	t.Helper()
	gateway = httptest.NewServer(handler)
	t.Cleanup(gateway.Close)
	nginx, err := local.StartNginx(t.Context(), harness.Folder(t), gateway.Listener.Addr().String(), local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := nginx.Stop(); err != nil {
			t.Error(err)
		}
		log, err := nginx.Log()
		if err != nil || strings.Contains(log, token) {
			t.Errorf("the log holds a token (%v):\n%s", err, log)
		}
	})
	return nginx, gateway
}

// ask sends what is given, word for word, and returns the answer with its body read.
func ask(t *testing.T, nginx *local.Server, sent string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", nginx.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, sent); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func TestNginxTellsWhoAsks(t *testing.T) {
	nginx, _ := behind(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trace-Id", "4bf92f35")
		for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "Traceparent"} {
			fmt.Fprintln(w, name, strings.Join(r.Header[name], "|"))
		}
		fmt.Fprintln(w, "Host", r.Host)
		fmt.Fprintln(w, "URI", r.RequestURI)
	})
	_, body := ask(t, nginx, "GET //douyin/feed/?a=%20b&token="+token+" HTTP/1.1\r\nHost: phone.example:8080\r\nConnection: close\r\n"+
		"X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: gopher\r\nForwarded: for=9.9.9.9\r\nTraceparent: 00-1\r\n\r\n")
	equal(t, "what the gateway sees", body, "X-Forwarded-For 127.0.0.1\nX-Forwarded-Host phone.example:8080\nX-Forwarded-Proto http\n"+
		"Forwarded \nTraceparent 00-1\nHost phone.example:8080\nURI //douyin/feed/?a=%20b&token="+token+"\n")

	harness.Eventually(t, 10*time.Second, func() error {
		log, err := nginx.Log()
		if err != nil {
			return err
		}
		for _, line := range strings.Split(log, "\n") {
			var entry struct {
				Path, Client string
				TraceID      string `json:"trace_id"`
				Status       int
			}
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Path == "//douyin/feed/" && entry.Client == "127.0.0.1" && entry.TraceID == "4bf92f35" && entry.Status == 200 {
				return nil
			}
		}
		return fmt.Errorf("no such line in\n%s", log)
	}, "logging the request")
}

// What nginx itself refuses is told as the gateway would, and no query is logged.
func TestNginxRefusesInTheGatewaysWords(t *testing.T) {
	nginx, gateway := behind(t, func(w http.ResponseWriter, r *http.Request) {
		if hijacked, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = hijacked.Close() // died in the middle of it
		}
	})
	const away = `{"status_code":50300,"status_msg":"服务暂时不可用，请稍后再试"}`
	rows := []struct {
		name, sent string
		status     int
		code       int
	}{
		{"the gateway breaks off", "GET /douyin/feed/?token=" + token + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, 50300},
		{"the gateway breaks a download off", "GET /media/a.mp4?token=" + token + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 503, 50300},
		{"an upload that is too large", "POST /douyin/publish/action/?token=" + token + " HTTP/1.1\r\nHost: x\r\nContent-Length: 300000000\r\nConnection: close\r\n\r\n", 200, 40000},
		{"a form that is too large", "POST /douyin/user/login/?token=" + token + " HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\nConnection: close\r\n\r\n", 413, 40000},
		{"a query without end", "GET /douyin/feed/?token=" + token + strings.Repeat("x", 70_000) + " HTTP/1.1\r\nHost: x\r\n\r\n", 431, 40000},
		{"a header without end", "GET /douyin/feed/?token=" + token + " HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 70_000) + "\r\n\r\n", 431, 40000},
		{"no HTTP", "GET /douyin/feed/?token=" + token + " HTTP/1.1\r\nHost x\r\n\r\n", 400, 40000},
		{"two lengths", "POST /douyin/feed/?token=" + token + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, 40000},
	}
	check := func(name, sent string, status, code int) {
		t.Run(name, func(t *testing.T) {
			response, body := ask(t, nginx, sent)
			equal(t, "HTTP", response.StatusCode, status)
			var said struct {
				StatusCode int    `json:"status_code"`
				StatusMsg  string `json:"status_msg"`
			}
			if err := json.Unmarshal([]byte(body), &said); err != nil || said.StatusCode != code || said.StatusMsg == "" {
				t.Errorf("got %s, %v", body, err)
			}
			equal(t, "Content-Type", response.Header.Get("Content-Type"), "application/json; charset=utf-8")
			equal(t, "Cache-Control", response.Header.Get("Cache-Control"), "no-store")
			equal(t, "Server", response.Header.Get("Server"), "nginx")
		})
	}
	for _, row := range rows {
		check(row.name, row.sent, row.status, row.code)
	}
	gateway.Close()
	rows = append(rows[:2], struct {
		name, sent string
		status     int
		code       int
	}{"an upload", "POST /douyin/publish/action/?token=" + token + " HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: close\r\n\r\nabcd", 200, 50300})
	for _, row := range rows {
		check(row.name+": it is away", row.sent, row.status, row.code)
	}
	_, body := ask(t, nginx, rows[0].sent)
	equal(t, "what is said", body, away)
}

// An upload reaches the gateway while it is still being sent, and a long query as
// it is.
func TestNginxLetsUploadsFlow(t *testing.T) {
	first := make(chan string, 1)
	nginx, _ := behind(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			fmt.Fprint(w, len(r.URL.RawQuery))
			return
		}
		head := make([]byte, 4)
		if _, err := io.ReadFull(r.Body, head); err != nil {
			first <- err.Error()
			return
		}
		first <- string(head)
		rest, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, rest, err)
	})
	reader, writer := io.Pipe()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, nginx.URL+"/douyin/publish/action/?token="+token, reader)
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan string, 1)
	go func() {
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			answered <- err.Error()
			return
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		answered <- fmt.Sprint(string(body), err)
	}()
	if _, err := io.WriteString(writer, "head"); err != nil {
		t.Fatal(err)
	}
	select {
	case head := <-first:
		equal(t, "what arrives before the rest is sent", head, "head")
	case <-time.After(10 * time.Second):
		t.Fatal("nothing arrives before the rest is sent", writer.Close())
	}
	go func() {
		_, err := io.CopyN(writer, zeros{}, 20<<20)
		_ = writer.CloseWithError(err)
	}()
	equal(t, "the answer", <-answered, "20971520 <nil><nil>")

	_, body := ask(t, nginx, "GET /douyin/comment/action/?"+strings.Repeat("%E5", 20_000)+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	equal(t, "bytes of the query", body, "60000")
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
