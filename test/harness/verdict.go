package harness

import (
	"net/http"
	"strings"
	"testing"
)

// OK fails the test unless the answer is a success, and returns it.
func OK(tb testing.TB, answer Answer) Answer {
	tb.Helper()
	if answer.HTTP != http.StatusOK || answer.StatusCode != 0 {
		tb.Fatalf("refused: HTTP %d %s", answer.HTTP, answer.Raw)
	}
	return answer
}

// Refused fails the test unless the answer is a clear refusal: HTTP 200, JSON, a
// status_code, and a text for people without internals (API §1.3). It returns the
// answer.
func Refused(tb testing.TB, answer Answer) Answer {
	tb.Helper()
	if answer.HTTP != http.StatusOK || answer.StatusCode == 0 || answer.StatusMsg == "" {
		tb.Errorf("not a clear refusal: HTTP %d %s", answer.HTTP, answer.Raw)
	}
	if !strings.HasPrefix(answer.Header.Get("Content-Type"), "application/json; charset=utf-8") {
		tb.Errorf("content type %q", answer.Header.Get("Content-Type"))
	}
	for _, internal := range []string{"rpc", "sql", "SQL", "goroutine", "error", "127.0.0.1", ".go:"} {
		if strings.Contains(answer.StatusMsg, internal) {
			tb.Errorf("the text shows internals: %q", answer.StatusMsg)
		}
	}
	return answer
}
