package linear

import (
	"context"
	"sync"
	"sync/atomic"

	"backbeat/mq"
)

// traffic knows which messages queues have taken and handlers have handled.
type traffic struct {
	redelivered, spooled atomic.Int64

	mu             sync.Mutex
	taken, handled map[string]bool
}

func newTraffic() *traffic { return &traffic{taken: map[string]bool{}, handled: map[string]bool{}} }

func (t *traffic) took(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.taken[id] = true
}

// watched notes what handle has handled.
func (t *traffic) watched(handle mq.Handler) mq.Handler {
	return func(ctx context.Context, batch []mq.Message) error {
		if err := handle(ctx, batch); err != nil {
			return err
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, message := range batch {
			t.handled[message.ID] = true
		}
		return nil
	}
}

// lost counts the messages that were taken and have not been handled.
func (t *traffic) lost() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.taken {
		if !t.handled[id] {
			n++
		}
	}
	return n
}

// forget starts anew.
func (t *traffic) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.taken)
	clear(t.handled)
}
