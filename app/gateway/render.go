package gateway

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"backbeat/app/errs"
)

// writeTimeout bounds how long a client may take to read an answer of the API.
const writeTimeout = 30 * time.Second

// envelope begins every answer (API §1.3): a code of 0 is a success.
type envelope struct {
	StatusCode int    `json:"status_code"`
	StatusMsg  string `json:"status_msg"`
}

func (e *envelope) status() *envelope { return e }

// answer is what an endpoint says: the envelope and the endpoint's own keys.
type answer interface{ status() *envelope }

// writeAnswer sends a as JSON. HTTP 200 is for every outcome of business, other
// statuses for faults of the protocol.
func writeAnswer(w http.ResponseWriter, status int, a answer) {
	body, err := encode(a)
	if err != nil { // cannot be: answers hold numbers, booleans and strings
		status, body = http.StatusInternalServerError, []byte(`{"status_code":50000,"status_msg":""}`)
	}
	header := w.Header()
	header.Set("Content-Type", "application/json; charset=utf-8")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Length", strconv.Itoa(len(body))) // or it is sent in chunks
	if rec, ok := w.(*recorder); ok {
		rec.code = a.status().StatusCode
	}
	// Only tests' recorders do not support it.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	w.WriteHeader(status)
	// An error means that the client has gone.
	_, _ = w.Write(body)
}

// encoded is an answer that is JSON already.
type encoded struct {
	envelope
	body []byte
}

// encode returns a as JSON.
func encode(a answer) ([]byte, error) {
	switch a := a.(type) {
	case *encoded:
		return a.body, nil
	case *usersAnswer:
		return a.appendJSON(make([]byte, 0, (len(a.UserList)+1)*userSize)), nil
	case *userAnswer:
		return a.appendJSON(make([]byte, 0, 2*userSize)), nil
	default:
		return json.Marshal(a)
	}
}

// writeFault refuses a request that reached no endpoint. The status_code follows
// from the HTTP status as those of package errs do: 404 is 40400.
func writeFault(w http.ResponseWriter, _ *http.Request, status int, text string) {
	writeAnswer(w, status, &plainAnswer{envelope{StatusCode: status * 100, StatusMsg: text}})
}

// writeFailure answers an endpoint's request with what went wrong: the keys of
// the endpoint are there with empty values.
func (g *Gateway) writeFailure(w http.ResponseWriter, r *http.Request, rt *route, err error) {
	empty := rt.empty()
	*empty.status() = envelope{errs.KindOf(err).StatusCode(), errs.Text(err)}
	status := http.StatusOK
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		status = http.StatusRequestEntityTooLarge
		*empty.status() = envelope{status * 100, "请求内容过大"}
	}
	if errs.KindOf(err).Fault() && !errs.Remote(err) && !shortCircuited(err) && r.Context().Err() == nil {
		g.log.LogAttrs(r.Context(), slog.LevelWarn, "request failed",
			slog.String("route", rt.path), slog.String("error", err.Error()), traceAttr(r.Context()))
	}
	writeAnswer(w, status, empty)
}

// recorder remembers what was answered, for the access log and the span.
type recorder struct {
	http.ResponseWriter
	// conn is what the answer goes over, nil if that can't gather.
	conn *gathered
	// status is the HTTP status, 0 until one was sent.
	status int
	// code is the envelope's, where there is one.
	code int
	// viewer is who asked, where that is known.
	viewer int64
}

func (rec *recorder) WriteHeader(status int) {
	if rec.status == 0 && status >= http.StatusOK {
		rec.status = status
	}
	rec.ResponseWriter.WriteHeader(status)
}

func (rec *recorder) Write(p []byte) (int, error) {
	if rec.status == 0 {
		rec.status = http.StatusOK
	}
	if rec.conn == nil {
		return rec.ResponseWriter.Write(p)
	}
	return rec.conn.whole(func() (int, error) { return rec.ResponseWriter.Write(p) })
}

// ReadFrom lets the kernel copy files to the connection, as without a recorder.
func (rec *recorder) ReadFrom(src io.Reader) (int64, error) {
	if rec.status == 0 {
		rec.status = http.StatusOK
	}
	return io.Copy(rec.ResponseWriter, src)
}

// Unwrap is for http.ResponseController.
func (rec *recorder) Unwrap() http.ResponseWriter { return rec.ResponseWriter }
