package contract

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

// Transport is an http.RoundTripper that checks every answer. Who asked gets what is
// wrong as an error, and Breaches keeps it for when they took that for a fault of the
// network.
type Transport struct {
	contract *Contract
	next     http.RoundTripper

	mu       sync.Mutex
	breaches []error
	checked  int
}

// Transport returns one that sends requests by next. Strangers are parameters that
// the document need not have: tests send them to see that nobody heeds them.
func (c *Contract) Transport(next http.RoundTripper, strangers ...string) *Transport {
	narrow := *c
	narrow.names = map[string]bool{}
	for name := range c.names {
		narrow.names[name] = true
	}
	for _, name := range strangers {
		narrow.names[name] = true
	}
	return &Transport{contract: &narrow, next: next}
}

// RoundTrip is http.RoundTripper's. Answers with JSON are read whole, others, such as
// media, are handed on as they come.
func (t *Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	var body []byte
	if strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") {
		body, err = io.ReadAll(response.Body)
		if closed := response.Body.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return nil, err
		}
		response.Body = io.NopCloser(bytes.NewReader(body))
	}
	breach := t.contract.Check(request, response.StatusCode, response.Header, body)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.checked++
	if breach == nil {
		return response, nil
	}
	// The query stays out: it holds tokens.
	breach = fmt.Errorf("%s %s answers HTTP %d, against idl/openapi.yaml: %w", request.Method, request.URL.Path, response.StatusCode, breach)
	t.breaches = append(t.breaches, breach)
	_ = response.Body.Close() // nobody reads it
	return nil, breach
}

// Breaches returns what was wrong so far.
func (t *Transport) Breaches() []error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.breaches
}

// Checked returns how many answers were looked at.
func (t *Transport) Checked() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.checked
}
