package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/opentracing/opentracing-go"
	"github.com/opentracing/opentracing-go/ext"

	"backbeat/app/errs"
	"backbeat/app/trace"
)

// request is what an endpoint knows of a request.
type request struct {
	params params
	// viewer is who asks, proven by the token; 0 is anonymous.
	viewer int64
	sender sender
	now    time.Time
	links  links
	// upload is set where the route takes one.
	upload *upload
	// missing collects the parts that a fallback stood in for.
	missing *parts
	// forAll is set where the answer is no one's: a page that is held for all.
	forAll bool
}

// forAll is the request that a page held for all is made for.
func forAll(l links) *request { return &request{links: l, missing: &parts{}, forAll: true} }

// userID returns whose list or profile is asked for: user_id, or the viewer
// (API §1.7). It is 0 when an anonymous viewer names nobody.
func (q *request) userID() (int64, error) {
	id, err := q.params.optionalID("user_id")
	if id == 0 {
		id = q.viewer
	}
	return id, err
}

// serve is the one entrance: every request has its span, its line in the log at
// debug level, and somebody to catch its panic.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	g.metrics.inFlight.Inc()
	defer g.metrics.inFlight.Dec()
	rec := &recorder{ResponseWriter: w, conn: connOf(r.Context())}
	r = collapse(r)
	pattern := g.pattern(r.URL.Path)
	span, r := g.startSpan(r, pattern)
	rec.Header().Set("Trace-Id", trace.ID(r.Context()))
	// Undoes what writeAnswer set for an earlier request on this connection; only
	// tests' recorders do not support it.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	defer g.finish(rec, r, span, pattern, start)
	defer g.catch(rec, r, pattern)
	g.allowOrigin(rec.Header(), r.Header.Get("Origin"))
	if g.leaving.Load() || crowded(r.Context()) {
		rec.Header().Set("Connection", "close")
	}
	g.dispatch(rec, r)
}

// dispatch finds who answers, unless the client asked too often. A page or file
// that is refused is no success to those who fetch it: no player or cache may take
// the refusal for one.
func (g *Gateway) dispatch(rec *recorder, r *http.Request) {
	from := g.sender(r)
	refused := counted(g.metrics.refusals.address, g.limits.request(from))
	if crowded(r.Context()) {
		refused = counted(g.metrics.refusals.connection, errs.New(errs.Exhausted, ""))
	}
	var rt *route
	res, found := g.paths[r.URL.Path]
	if found {
		rt = res.routes[r.Method]
	}
	switch {
	case refused != nil && rt != nil:
		g.writeFailure(rec, r, rt, refused)
	case refused != nil:
		writeFault(rec, r, http.StatusTooManyRequests, errs.Text(refused))
	case rt != nil:
		g.serveRoute(rec, r, rt, from)
	case found && r.Method == http.MethodOptions:
		rec.Header().Set("Allow", res.allow)
		rec.Header().Set("Access-Control-Allow-Methods", res.allow)
		rec.Header().Set("Access-Control-Allow-Headers", "Content-Type, Traceparent")
		rec.Header().Set("Access-Control-Max-Age", "86400")
		rec.WriteHeader(http.StatusNoContent)
	case found:
		rec.Header().Set("Allow", res.allow)
		writeFault(rec, r, http.StatusMethodNotAllowed, "请求方法不正确")
	case strings.HasPrefix(r.URL.Path, "/media/"):
		g.files.ServeHTTP(rec, r)
	case g.pages[r.URL.Path] != nil:
		g.pages[r.URL.Path].ServeHTTP(rec, r)
	default:
		writeFault(rec, r, http.StatusNotFound, "接口不存在")
	}
}

// serveRoute answers a request to the API.
func (g *Gateway) serveRoute(rec *recorder, r *http.Request, rt *route, from sender) {
	q := &request{sender: from, now: g.now(), links: g.links(r), missing: &parts{}}
	a, err := g.answer(rec, r, rt, q)
	if missing := q.missing.String(); missing != "" {
		rec.Header().Set("Backbeat-Degraded", missing)
	}
	if err != nil {
		g.writeFailure(rec, r, rt, err)
		return
	}
	writeAnswer(rec, http.StatusOK, a)
}

// answer decodes, admits and authenticates a request and has its endpoint answer.
// Readers of bodies get the server's own writer: they tell it to close the
// connection of a client that sends too much.
func (g *Gateway) answer(rec *recorder, r *http.Request, rt *route, q *request) (answer, error) {
	var err error
	if rt.load == uploading {
		q.upload, err = g.stager.receive(rec.ResponseWriter, r, q.sender)
		if err != nil {
			return nil, counted(g.metrics.refusals.upload, err)
		}
		defer q.upload.close()
		q.params = params(nil).add(q.upload.fields).parse(r.URL.RawQuery)
	} else {
		// Read before it counts as in progress: a client that takes its time to
		// send a form must not keep the others out.
		if q.params, err = decode(rec.ResponseWriter, r); err != nil {
			return nil, err
		}
		leave, err := g.admit(r.Context(), rt, q)
		if err != nil {
			return nil, err
		}
		defer leave()
	}
	if q.viewer, err = g.authenticate(rt.policy, q.params.get("token")); err != nil {
		return nil, err
	}
	rec.viewer = q.viewer
	if err := counted(g.metrics.refusals.user, g.limits.viewer(q.sender, q.viewer)); err != nil {
		return nil, err
	}
	return rt.handle(g, r.Context(), q)
}

// admit lets a request in when its turn comes, and returns what it does when it is
// answered. How long a page took tells how quick the machine is, unless it lacks one
// part: then it waited for something that is sick. When several are late at once, it is
// the machine.
func (g *Gateway) admit(ctx context.Context, rt *route, q *request) (leave func(), err error) {
	if rt.load == hashing {
		if err := counted(g.metrics.refusals.hashing, g.hashing.enter(ctx)); err != nil {
			return nil, err
		}
		return func() { g.hashing.leave(0) }, nil
	}
	if err := counted(g.metrics.refusals.concurrency, g.concurrency.enter(ctx)); err != nil {
		return nil, err
	}
	begun := time.Now()
	return func() {
		took := time.Since(begun)
		if rt.method != http.MethodGet || len(q.missing.list()) == 1 {
			took = 0
		}
		g.concurrency.leave(took)
	}, nil
}

// finish observes the request, ends its span and writes the log's line. None of them
// holds the query.
func (g *Gateway) finish(rec *recorder, r *http.Request, span opentracing.Span, pattern string, start time.Time) {
	g.metrics.observe(span, r.Method, pattern, rec, start)
	if trace.Sampled(span) {
		ext.HTTPStatusCode.Set(span, uint16(rec.status))
		span.SetTag("status_code", rec.code)
		if rec.status >= http.StatusInternalServerError {
			ext.Error.Set(span, true)
		}
	}
	span.Finish()
	if !g.log.Enabled(r.Context(), slog.LevelDebug) {
		return
	}
	g.log.LogAttrs(r.Context(), slog.LevelDebug, "request",
		slog.String("method", r.Method), slog.String("route", pattern), slog.Int("status", rec.status),
		slog.Int("status_code", rec.code), slog.Duration("took", time.Since(start)),
		slog.Int64("user", rec.viewer), traceAttr(r.Context()))
}

// catch ends a request that panicked. It is deferred.
func (g *Gateway) catch(rec *recorder, r *http.Request, pattern string) {
	p := recover()
	if p == nil {
		return
	}
	if err, is := p.(error); is && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	g.log.LogAttrs(r.Context(), slog.LevelError, "panic", slog.String("route", pattern),
		slog.String("error", fmt.Sprint(p)), slog.String("stack", string(debug.Stack())), traceAttr(r.Context()))
	if rec.status != 0 { // the client has half an answer: let it see that
		panic(http.ErrAbortHandler)
	}
	err := errs.New(errs.Internal, "")
	a := noPlain()
	if res, found := g.paths[r.URL.Path]; found && res.routes[r.Method] != nil {
		a = res.routes[r.Method].empty()
	}
	*a.status() = envelope{errs.KindOf(err).StatusCode(), errs.Text(err)}
	writeAnswer(rec, http.StatusInternalServerError, a)
}

// collapse makes one slash of those a path begins with: people end the base
// address with one (API §1.1).
func collapse(r *http.Request) *http.Request {
	if !strings.HasPrefix(r.URL.Path, "//") {
		return r
	}
	short := *r
	short.URL = new(url.URL)
	*short.URL = *r.URL
	short.URL.Path = "/" + strings.TrimLeft(r.URL.Path, "/")
	short.URL.RawPath = ""
	return &short
}

// pattern names a path by what answers it: real paths would be too many.
func (g *Gateway) pattern(path string) string {
	res, found := g.paths[path]
	switch {
	case found:
		return res.path
	case strings.HasPrefix(path, "/media/"):
		return "/media/"
	case g.pages[path] != nil:
		return path
	default:
		return "unknown"
	}
}

// startSpan begins the request's span, under the caller's if it sent one.
func (g *Gateway) startSpan(r *http.Request, pattern string) (opentracing.Span, *http.Request) {
	method := r.Method
	if len(method) > 7 { // none of HTTP's; names of spans are bounded
		method = "OTHER"
	}
	var options []opentracing.StartSpanOption
	if parent := trace.Extract(g.tracer, opentracing.HTTPHeadersCarrier(r.Header)); parent != nil {
		options = append(options, opentracing.ChildOf(parent))
	}
	span := g.tracer.StartSpan(method+" "+pattern, options...)
	if trace.Sampled(span) { // most are not, and tags cost
		ext.SpanKindRPCServer.Set(span)
		ext.Component.Set(span, "net/http")
		ext.HTTPMethod.Set(span, method)
		span.SetTag("http.route", pattern)
	}
	return span, r.WithContext(opentracing.ContextWithSpan(r.Context(), span))
}

// allowOrigin lets pages of the configured origins read answers.
func (g *Gateway) allowOrigin(header http.Header, origin string) {
	switch {
	case origin == "":
	case slices.Contains(g.cfg.HTTP.CORSOrigins, "*"):
		header.Set("Access-Control-Allow-Origin", "*")
	case slices.Contains(g.cfg.HTTP.CORSOrigins, origin):
		header.Set("Access-Control-Allow-Origin", origin)
		header.Add("Vary", "Origin")
	default:
		return
	}
	header.Set("Access-Control-Expose-Headers", "Trace-Id, Backbeat-Degraded")
}
