// Package errs is how Backbeat says what went wrong: every error that leaves a
// package carries a kind, a text that is safe to show to people and the cause.
// The table below is the only place that says what a kind means on the wire,
// over HTTP and to the app.
package errs

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Kind says whose fault an error is and what the caller may do about it.
type Kind uint8

// The kinds. Internal is the zero value: an error nobody classified is ours.
const (
	// Internal is our own fault.
	Internal Kind = iota
	// Invalid is a request that can never succeed as it is.
	Invalid
	// Unauthenticated is a missing, bad or expired token, or a wrong password.
	Unauthenticated
	// Forbidden is a request its sender may not make.
	Forbidden
	// NotFound names something that does not exist or may not be seen.
	NotFound
	// Conflict is a clash with what exists, such as a taken name.
	Conflict
	// Exhausted is a refusal under load; trying later helps. It is no sign of a
	// sick service and opens no circuit.
	Exhausted
	// Unavailable is a part that does not answer. The outcome of a write is
	// unknown: it may still take effect, once.
	Unavailable
)

// meaning is one row of the table: what a kind is elsewhere.
type meaning struct {
	name string
	code codes.Code
	// status is the status_code of the app's envelope (API §1.3: anything but 0
	// is a failure).
	status int
	// text is shown when the error brings none of its own.
	text string
	// fault is true when the callee, not the caller, is to blame.
	fault bool
}

var meanings = [...]meaning{
	Internal:        {"internal", codes.Internal, 50000, "服务器开小差了，请稍后再试", true},
	Invalid:         {"invalid", codes.InvalidArgument, 40000, "检查参数信息！", false},
	Unauthenticated: {"unauthenticated", codes.Unauthenticated, 1, "token验证失败，请重新登录", false},
	Forbidden:       {"forbidden", codes.PermissionDenied, 40300, "没有权限", false},
	NotFound:        {"not_found", codes.NotFound, 40400, "内容不存在", false},
	Conflict:        {"conflict", codes.AlreadyExists, 40900, "已存在", false},
	Exhausted:       {"exhausted", codes.ResourceExhausted, 42900, "操作太频繁，请稍后再试", false},
	Unavailable:     {"unavailable", codes.Unavailable, 50300, "服务暂时不可用，请稍后再试", true},
}

// String returns the kind's name as it travels in the error's detail.
func (k Kind) String() string { return meanings[k].name }

// StatusCode returns the status_code the app sees, never 0.
func (k Kind) StatusCode() int { return meanings[k].status }

// Fault reports whether the callee is to blame: such errors count towards a
// circuit, are logged, and may be retried when the call is idempotent.
func (k Kind) Fault() bool { return meanings[k].fault }

// Error is an error with a kind, a safe text and a cause. Build it with New or
// Wrap.
type Error struct {
	kind Kind
	text string
	// cause is for the log: it never crosses the wire or reaches people.
	cause error
	// remote is true when the error came over the wire: whoever sent it has
	// logged it already.
	remote bool
}

// New returns an error of the kind with a short text for people, in Chinese; an
// empty text means the kind's own.
func New(kind Kind, text string) error { return &Error{kind: kind, text: text} }

// Wrap gives cause a kind and says what was being done, with the ids concerned.
// A cause that carries a kind already keeps its kind and text; without a cause
// there is no error.
func Wrap(kind Kind, cause error, doing string, args ...any) error {
	if cause == nil {
		return nil
	}
	wrapped := &Error{kind: kind, cause: fmt.Errorf(doing+": %w", append(args, cause)...)}
	var inner *Error
	if errors.As(cause, &inner) {
		wrapped.kind, wrapped.text, wrapped.remote = inner.kind, inner.text, inner.remote
	}
	return wrapped
}

// Error returns the cause where there is one: it is what belongs in a log.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.cause.Error()
	}
	return e.kind.String() + ": " + e.Text()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// Text returns the text for people.
func (e *Error) Text() string {
	if e.text != "" {
		return e.text
	}
	return meanings[e.kind].text
}

// KindOf returns the error's kind. A context's end is Unavailable, anything
// unclassified Internal. It must not be asked about nil.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.kind
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return Unavailable
	default:
		return Internal
	}
}

// Is reports whether err is not nil and of the kind.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }

// Text returns what people may read of err.
func Text(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Text()
	}
	return meanings[KindOf(err)].text
}

// Remote reports whether err came over the wire, so that it was logged there.
func Remote(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.remote
}

// domain marks the error details that are ours.
const domain = "backbeat"

// ToStatus turns err into what crosses the wire: the kind's code, the safe text
// and the kind as a detail, never the cause.
func ToStatus(err error) *status.Status {
	kind := KindOf(err)
	plain := status.New(meanings[kind].code, Text(err))
	detailed, failed := plain.WithDetails(&errdetails.ErrorInfo{Domain: domain, Reason: kind.String()})
	if failed != nil { // cannot be: the detail is a plain protobuf message
		return plain
	}
	return detailed
}

// FromStatus turns what a call returned back into a kind. Statuses without our
// detail come from the transport: no connection, no instance, deadline.
func FromStatus(err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return &Error{kind: KindOf(err), cause: err}
	}
	for _, detail := range s.Details() {
		info, ok := detail.(*errdetails.ErrorInfo)
		if !ok || info.Domain != domain {
			continue
		}
		for kind, m := range meanings {
			if m.name == info.Reason {
				return &Error{kind: Kind(kind), text: s.Message(), remote: true}
			}
		}
	}
	switch s.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return &Error{kind: Unavailable, cause: err}
	case codes.ResourceExhausted:
		return &Error{kind: Exhausted, cause: err}
	default:
		return &Error{kind: Internal, cause: err}
	}
}
