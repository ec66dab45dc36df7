package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/afex/hystrix-go/hystrix"
)

// The stream answers at once, though there is no circuit yet; then it tells of every
// circuit, none left out.
func TestHystrixStream(t *testing.T) {
	hystrix.Flush()
	defer hystrix.Flush()
	server := httptest.NewServer(newWatchers())
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	watch := func() *http.Response {
		t.Helper()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	answer := watch()
	if got := answer.Header.Get("Content-Type"); answer.StatusCode != http.StatusOK || got != "text/event-stream" {
		t.Fatalf("HTTP %d, %s", answer.StatusCode, got)
	}
	const circuits = 40
	for i := range circuits {
		_ = hystrix.Do(fmt.Sprint("test.", i), func() error { return nil }, nil)
	}
	seen := map[string]bool{}
	lines := bufio.NewScanner(answer.Body)
	for len(seen) < circuits && lines.Scan() {
		text, isEvent := strings.CutPrefix(lines.Text(), "data:")
		var event struct{ Type, Name string }
		if !isEvent {
			continue
		}
		if err := json.Unmarshal([]byte(text), &event); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if event.Type == "HystrixCommand" {
			seen[event.Name] = true
		}
	}
	if len(seen) < circuits {
		t.Errorf("%d of %d circuits: %v", len(seen), circuits, lines.Err())
	}
	for range maxWatchers - 1 {
		defer watch().Body.Close()
	}
	if one := watch(); one.StatusCode != http.StatusTooManyRequests {
		t.Errorf("one dashboard too many: HTTP %d", one.StatusCode)
	}
	cancel()
}
