package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Of every traceEvery requests of a warm-up one asks to be traced, of traceMost at
// most: that is where the RPC counts come from.
const (
	traceEvery = 25
	traceMost  = 60
)

// sampler marks some requests of a source to be traced, and remembers their ids.
type sampler struct {
	mu   sync.Mutex
	sent int
	ids  []string
}

func (s *sampler) mark(next source) source {
	return func() (request, bool) {
		r, more := next()
		if id := s.choose(); more && id != "" {
			r.bytes = withTrace(r.bytes, id)
		}
		return r, more
	}
}

func (s *sampler) choose() (id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent++
	if s.sent%traceEvery != 1 || len(s.ids) == traceMost {
		return ""
	}
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails, says its documentation
	id = hex.EncodeToString(random[:])
	s.ids = append(s.ids, id)
	return id
}

// withTrace returns the request as one of a sampled trace.
func withTrace(encoded []byte, id string) []byte {
	head, body, _ := bytes.Cut(encoded, []byte("\r\n\r\n"))
	return fmt.Appendf(nil, "%s\r\nTraceparent: 00-%s-%s-01\r\n\r\n%s", head, id, id[:16], body)
}

// rpcs returns how many RPCs the traced requests caused on average, and of how many
// that is known. Where one call serves several requests it counts with one of them.
func (s *sampler) rpcs(ctx context.Context, jaeger string) (mean float64, traced int, err error) {
	total := 0
	for _, id := range s.ids {
		n, found, err := countCalls(ctx, jaeger, id)
		if err != nil {
			return 0, 0, err
		}
		if found {
			traced++
			total += n
		}
	}
	return float64(total) / float64(max(1, traced)), traced, nil
}

// countCalls counts the spans of a trace that our services made of a call they took.
// Not found are traces that the gateway has not reported.
func countCalls(ctx context.Context, jaeger, id string) (n int, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, jaeger+"/api/traces/"+id, nil)
	if err != nil {
		return 0, false, err
	}
	response, err := http.DefaultClient.Do(ask)
	if err != nil {
		return 0, false, err
	}
	defer response.Body.Close()
	var said struct {
		Data []struct {
			Spans []struct {
				ProcessID string
				Tags      []struct {
					Key   string
					Value any
				}
			}
			Processes map[string]struct{ ServiceName string }
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&said); err != nil {
		return 0, false, fmt.Errorf("a trace of Jaeger: %w", err)
	}
	for _, trace := range said.Data {
		for _, span := range trace.Spans {
			for _, tag := range span.Tags {
				if tag.Key != "span.kind" || tag.Value != "server" {
					continue
				}
				if trace.Processes[span.ProcessID].ServiceName == "gateway" {
					found = true // the request itself
				} else {
					n++
				}
			}
		}
	}
	return n, found, nil
}
