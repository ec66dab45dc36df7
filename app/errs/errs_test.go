package errs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestEveryKindCrossesTheWire(t *testing.T) {
	for kind := range meanings {
		kind := Kind(kind)
		t.Run(kind.String(), func(t *testing.T) {
			cause := errors.New("password of bob is hunter2")
			sent := Wrap(kind, cause, "reading user %d", 7)
			s := ToStatus(sent)
			if strings.Contains(s.String(), "hunter2") || strings.Contains(s.Message(), "reading") {
				t.Errorf("the cause crosses the wire: %v", s)
			}
			got := FromStatus(s.Err())
			if KindOf(got) != kind || Text(got) != Text(sent) || !Remote(got) {
				t.Errorf("got %v %q remote=%v", KindOf(got), Text(got), Remote(got))
			}
			if kind.StatusCode() == 0 {
				t.Error("status_code 0 means success")
			}
		})
	}
}

func TestKindOf(t *testing.T) {
	for _, row := range []struct {
		name string
		err  error
		want Kind
	}{
		{"plain", errors.New("x"), Internal},
		{"new", New(Conflict, "用户名已存在"), Conflict},
		{"wrapped by fmt", fmt.Errorf("x: %w", New(Invalid, "")), Invalid},
		{"wrapped keeps the inner kind", Wrap(Internal, New(NotFound, "用户不存在"), "x"), NotFound},
		{"deadline", fmt.Errorf("x: %w", context.DeadlineExceeded), Unavailable},
		{"canceled", context.Canceled, Unavailable},
		{"transport lost", FromStatus(status.Error(codes.Unavailable, "connection refused")), Unavailable},
		{"transport deadline", FromStatus(status.Error(codes.DeadlineExceeded, "")), Unavailable},
		{"message too large", FromStatus(status.Error(codes.ResourceExhausted, "")), Exhausted},
		{"unknown method", FromStatus(status.Error(codes.Unimplemented, "")), Internal},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := KindOf(row.err); got != row.want {
				t.Errorf("got %v, want %v", got, row.want)
			}
			if Text(row.err) == "" || strings.Contains(Text(row.err), "refused") {
				t.Errorf("text %q", Text(row.err))
			}
		})
	}
}

func TestWrapKeepsTextAndCause(t *testing.T) {
	inner := New(NotFound, "用户不存在")
	wrapped := Wrap(Internal, inner, "reading user %d", 7)
	if Text(wrapped) != "用户不存在" {
		t.Errorf("text %q", Text(wrapped))
	}
	if !errors.Is(wrapped, inner) || !strings.Contains(wrapped.Error(), "reading user 7") {
		t.Errorf("error %q", wrapped)
	}
	if Remote(wrapped) {
		t.Error("an error made here is called remote")
	}
	if !Is(wrapped, NotFound) || Is(nil, Internal) {
		t.Error("Is")
	}
}
