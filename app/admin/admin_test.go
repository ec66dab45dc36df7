package admin

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"backbeat/test/harness"
)

func TestServe(t *testing.T) {
	defer goleak.VerifyNone(t)
	defer http.DefaultClient.CloseIdleConnections()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error)
	go func() {
		served <- Serve(ctx, listener, Handler(NewMetrics(), NewReadiness(), new(slog.LevelVar)), harness.Logger(t))
	}()
	for path, holds := range map[string]string{
		"/version":                       runtime.Version(),
		"/metrics":                       "process_open_fds ",
		"/livez":                         "ok",
		"/log-level":                     "INFO",
		"/debug/pprof/goroutine?debug=1": "goroutine profile:",
		"/debug/pprof/heap?debug=1&gc=1": "heap profile:",
	} {
		response, err := http.Get("http://" + listener.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || !strings.Contains(string(body), holds) {
			t.Errorf("%s: %v, %d bytes without %q", path, err, len(body), holds)
		}
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
