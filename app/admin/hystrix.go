package admin

import (
	"bufio"
	"net/http"
	"time"

	"github.com/afex/hystrix-go/hystrix"
)

const (
	// maxWatchers bounds the dashboards at a time: each has Hystrix compute
	// percentiles of every circuit once a second.
	maxWatchers = 4
	flushEvery  = 250 * time.Millisecond
	// watcherBuffer holds what all circuits say between two flushes.
	watcherBuffer = 256 << 10
)

// watchers serves hystrix.stream, for the Hystrix dashboard. Hystrix's own handler
// costs as much while nobody watches, so each watcher has one for as long as it
// stays; it also sends no header before the first circuit exists, and drops what a
// slow reader does not take at once, which a buffer is for.
type watchers struct{ places chan struct{} }

func newWatchers() *watchers { return &watchers{make(chan struct{}, maxWatchers)} }

func (s *watchers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case s.places <- struct{}{}:
		defer func() { <-s.places }()
	default:
		http.Error(w, "too many dashboards watch", http.StatusTooManyRequests)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	if err := control.Flush(); err != nil {
		return
	}
	events := &eventWriter{header: http.Header{}, gone: make(chan bool), pieces: make(chan []byte, 1024)}
	stream := hystrix.NewStreamHandler()
	stream.Start()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		stream.ServeHTTP(events, r)
	}()
	defer func() {
		close(events.gone)
		<-ended
		stream.Stop()
	}()
	buffered := bufio.NewWriterSize(w, watcherBuffer)
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	for {
		var err error
		select {
		case <-r.Context().Done():
			return
		case piece := <-events.pieces:
			_, err = buffered.Write(piece)
		case <-ticker.C:
			if err = buffered.Flush(); err == nil {
				err = control.Flush()
			}
		}
		if err != nil {
			return
		}
	}
}

// eventWriter is the ResponseWriter that Hystrix writes events to, one at a time.
type eventWriter struct {
	header http.Header
	gone   chan bool
	pieces chan []byte
}

func (e *eventWriter) Header() http.Header      { return e.header }
func (e *eventWriter) WriteHeader(int)          {}
func (e *eventWriter) Flush()                   {}
func (e *eventWriter) CloseNotify() <-chan bool { return e.gone }

// Write passes an event on; Hystrix makes a new slice for each. One that finds no
// room is dropped, as another comes in a second.
func (e *eventWriter) Write(event []byte) (int, error) {
	select {
	case e.pieces <- event:
	default:
	}
	return len(event), nil
}
