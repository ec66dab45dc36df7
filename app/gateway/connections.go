package gateway

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

const (
	// leastReserve descriptors are kept from connections: the database, the queue,
	// calls and uploads need theirs, or nothing that arrives can be answered.
	leastReserve     = 96
	leastConnections = 16
	// refusedShare of the connections there may be come on top, to be told that
	// there are too many.
	refusedShare = 4
)

// mostConnections returns how many connections a process may hold that may open so
// many files.
func mostConnections(descriptors uint64) int {
	most := min(descriptors, 1<<20)
	return max(leastConnections, int(most)-max(leastReserve, int(most/4)))
}

// connections bounds how many there are at once. When they are too many one goes that
// asks for nothing: the oldest that never has, else the one that hasn't for the longest
// time. So a crowd that only connects displaces itself, not the apps at work. When all
// are being answered, those who come on top are refused.
type connections struct {
	most int

	mu        sync.Mutex
	open      map[net.Conn]*list.Element // nil while a request is answered
	strangers *list.List                 // of silent that never asked for anything, as they came
	quiet     *list.List                 // of silent that were answered, in the order they fell so
	none      chan struct{}              // closed once draining found none open; nil before
}

// silent is a connection over which nothing is asked.
type silent struct {
	conn  net.Conn
	since time.Time
}

func newConnections(most int) *connections {
	return &connections{most: most, open: map[net.Conn]*list.Element{}, strangers: list.New(), quiet: list.New()}
}

type crowdedKey struct{}

// crowded reports whether the request came over a connection too many.
func crowded(ctx context.Context) bool { return ctx.Value(crowdedKey{}) != nil }

// accept is http.Server's ConnContext.
func (c *connections) accept(ctx context.Context, conn net.Conn) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= c.most && !c.drop(c.strangers) {
		c.drop(c.quiet)
	}
	full := len(c.open) >= c.most
	if full && len(c.open) >= c.most+c.most/refusedShare {
		_ = conn.Close()
		return ctx
	}
	c.open[conn] = c.strangers.PushBack(silent{conn, time.Now()})
	if full {
		return context.WithValue(ctx, crowdedKey{}, true)
	}
	return ctx
}

// drop closes the first of these that has nothing to read, and reports whether there
// was one. What the kernel holds already is a request that the server is about to see.
func (c *connections) drop(these *list.List) bool {
	for e := these.Front(); e != nil; e = e.Next() {
		if conn := e.Value.(silent).conn; !readable(conn) {
			these.Remove(e)
			delete(c.open, conn)
			_ = conn.Close()
			return true
		}
	}
	return false
}

// readable reports whether bytes wait on the connection, which it leaves there.
func readable(conn net.Conn) (waiting bool) {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil { // closed: nobody will read from it
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		waiting = err == nil && n > 0
	})
	return waiting
}

// note is http.Server's ConnState.
func (c *connections) note(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	waiting, known := c.open[conn]
	if !known { // closed by accept
		return
	}
	switch state {
	case http.StateActive, http.StateHijacked, http.StateClosed:
		if waiting != nil {
			c.strangers.Remove(waiting) // a list ignores the elements of another
			c.quiet.Remove(waiting)
		}
		c.open[conn] = nil
	case http.StateIdle:
		c.open[conn] = c.quiet.PushBack(silent{conn, time.Now()})
	}
	if state == http.StateHijacked || state == http.StateClosed {
		delete(c.open, conn)
		if c.none != nil && len(c.open) == 0 {
			close(c.none)
			c.none = nil
		}
	}
}

// asked waits, while ctx lasts, until no connection has a request that the server is
// about to see: on a busy machine that may take it seconds, and closing the connection
// would lose it.
func (c *connections) asked(ctx context.Context) {
	looks := time.NewTicker(20 * time.Millisecond)
	defer looks.Stop()
	for c.anyAsks() {
		select {
		case <-looks.C:
		case <-ctx.Done():
			return
		}
	}
}

func (c *connections) anyAsks() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, these := range []*list.List{c.strangers, c.quiet} {
		for e := these.Front(); e != nil; e = e.Next() {
			if readable(e.Value.(silent).conn) {
				return true
			}
		}
	}
	return false
}

// leave waits until every connection is closed or has been silent for a while.
// Nothing new is asked over those that are busy now.
func (c *connections) leave(while time.Duration) {
	c.mu.Lock()
	var latest time.Time
	for _, these := range []*list.List{c.strangers, c.quiet} {
		if last := these.Back(); last != nil && last.Value.(silent).since.After(latest) {
			latest = last.Value.(silent).since
		}
	}
	if latest.IsZero() {
		c.mu.Unlock()
		return
	}
	none := make(chan struct{})
	c.none = none
	c.mu.Unlock()
	select {
	case <-none:
	case <-time.After(while - time.Since(latest)):
	}
}
