package gateway

import (
	"context"
	"net"
	"sync"
)

// gathering is a listener of connections that can send in one piece what net/http
// writes in two: it gathers 4 KiB itself, and most answers are longer. Each piece costs
// a system call and wakes the client.
type gathering struct{ net.Listener }

func (l gathering) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		conn = &gathered{TCPConn: tcp}
	}
	return conn, err
}

// gathered is such a connection. It has one writer.
type gathered struct {
	*net.TCPConn
	// holding is set while what comes first waits for more; first is that, nil while
	// nothing waits.
	holding bool
	first   *[]byte
}

// firsts are buffers for it: most connections are silent.
var firsts = sync.Pool{New: func() any { return new(make([]byte, 0, 4<<10)) }}

// Write sends p, with what waits before it. While the connection holds and nothing
// waits, p waits.
func (c *gathered) Write(p []byte) (int, error) {
	switch {
	case c.first != nil:
		first := c.first
		c.first = nil
		defer firsts.Put(first)
		pieces := net.Buffers{*first, p}
		sent, err := pieces.WriteTo(c.TCPConn)
		return max(0, int(sent)-len(*first)), err
	case c.holding:
		c.first = firsts.Get().(*[]byte)
		*c.first = append((*c.first)[:0], p...)
		return len(p), nil
	default:
		return c.TCPConn.Write(p)
	}
}

// whole runs write, and sends in one piece what it writes in two. Nothing waits after it.
func (c *gathered) whole(write func() (int, error)) (int, error) {
	c.holding = true
	n, err := write()
	c.holding = false
	if c.first != nil {
		if _, failed := c.Write(nil); err == nil {
			err = failed
		}
	}
	return n, err
}

type gatheredKey struct{}

// withConn returns ctx with the connection that requests in it came over.
func withConn(ctx context.Context, conn net.Conn) context.Context {
	if conn, ok := conn.(*gathered); ok {
		return context.WithValue(ctx, gatheredKey{}, conn)
	}
	return ctx
}

// connOf returns the connection of withConn, nil if it can't gather.
func connOf(ctx context.Context) *gathered {
	conn, _ := ctx.Value(gatheredKey{}).(*gathered)
	return conn
}
