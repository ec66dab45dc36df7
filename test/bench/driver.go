package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// request is one request, encoded before the load begins.
type request struct {
	bytes []byte
	// done counts good answers where somebody wants to know; else nil.
	done *atomic.Int64
}

// source hands out the requests of a load, to many goroutines, until there are no
// more.
type source func() (r request, more bool)

// load is a closed loop: each connection sends its next request when the last one
// was answered. With a rate, of requests a second over all connections, it is an
// open one: each request is due at a time, and late ones count from then.
type load struct {
	addr        string
	connections int
	length      time.Duration
	next        source
	rate        float64
	// dialed are connections to begin with, nil for none.
	dialed []*connection
}

// due returns when a connection, which has sent so many, sends its next request.
func (l load) due(start time.Time, connection, sent int) time.Time {
	if l.rate == 0 {
		return time.Now()
	}
	return start.Add(time.Duration(float64(sent*l.connections+connection) / l.rate * float64(time.Second)))
}

// patience bounds the wait for an answer after the load's end.
const patience = 30 * time.Second

// tally is what came of a load.
type tally struct {
	// latencies of good answers and bad, sorted.
	latencies []time.Duration
	// errors counts everything but HTTP 200 with a status_code of 0; fault is one.
	errors int
	fault  error
	// degraded counts answers in which a fallback stood in for a part.
	degraded int
	took     time.Duration
}

// drive sends the load and returns when the last request is answered.
func drive(ctx context.Context, l load) tally {
	if l.dialed == nil {
		l.dialed = make([]*connection, l.connections)
	}
	start := time.Now()
	tallies := make([]tally, l.connections)
	var group sync.WaitGroup
	for i := range tallies {
		group.Go(func() { tallies[i].send(ctx, l, i, start) })
	}
	group.Wait()
	all := tally{took: time.Since(start)}
	for _, t := range tallies {
		all.add(t)
	}
	slices.Sort(all.latencies)
	return all
}

// add adds what came of another, to be sorted.
func (t *tally) add(more tally) {
	t.latencies = append(t.latencies, more.latencies...)
	t.errors, t.degraded = t.errors+more.errors, t.degraded+more.degraded
	if more.fault != nil {
		t.fault = more.fault
	}
}

// send is one connection's share of a load. It connects anew after an error of
// the connection.
func (t *tally) send(ctx context.Context, l load, connection int, start time.Time) {
	end := start.Add(l.length)
	c := l.dialed[connection]
	defer func() { c.close() }()
	for sent := 0; ctx.Err() == nil; sent++ {
		begun := l.due(start, connection, sent)
		if !begun.Before(end) {
			return
		}
		time.Sleep(time.Until(begun))
		r, more := l.next()
		if !more {
			if l.rate > 0 { // requests that were due are not sent
				t.fail(errDry)
			}
			return
		}
		if c == nil {
			var err error
			if c, err = dial(ctx, l.addr, end.Add(patience)); err != nil {
				t.fail(err)
				return // nobody listens
			}
			if l.rate == 0 {
				begun = time.Now()
			}
		}
		degraded, err := c.ask(r.bytes)
		t.latencies = append(t.latencies, time.Since(begun))
		if degraded {
			t.degraded++
		}
		if err != nil {
			t.fail(err)
		} else if r.done != nil {
			r.done.Add(1)
		}
		if c.spent {
			c.close()
			c = nil
		}
	}
}

func (t *tally) fail(err error) { t.errors, t.fault = t.errors+1, err }

// errDry is the error of an open loop whose source ended before its time.
var errDry = errors.New("there were no more requests to send")

// quantile returns the latency that a share of the answers kept below, in
// milliseconds.
func (t tally) quantile(share float64) float64 {
	if len(t.latencies) == 0 {
		return 0
	}
	return milliseconds(t.latencies[int(share*float64(len(t.latencies)-1))])
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// connection speaks as little HTTP as the driver needs: net/http's client would
// cost more than some of the servers that are measured.
type connection struct {
	net.Conn
	in   *bufio.Reader
	body bytes.Buffer
	// spent is true when no further request may be sent.
	spent bool
}

func dial(ctx context.Context, addr string, deadline time.Time) (*connection, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &connection{Conn: conn, in: bufio.NewReaderSize(conn, 32<<10)}, conn.SetDeadline(deadline)
}

func (c *connection) close() {
	if c != nil {
		_ = c.Close() // everything was read
	}
}

var (
	good          = []byte(`{"status_code":0,`)
	okLine        = []byte("HTTP/1.1 200 ")
	lengthHeader  = []byte("Content-Length: ")
	chunkedHeader = []byte("Transfer-Encoding: chunked")
	closeHeader   = []byte("Connection: close")
	partsHeader   = []byte("Backbeat-Degraded: ")
)

// ask sends a request and reads its answer, of which it returns what is wrong with
// it.
func (c *connection) ask(request []byte) (degraded bool, err error) {
	if _, err := c.Write(request); err != nil {
		c.spent = true
		return false, err
	}
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		c.spent = true
		return false, fmt.Errorf("no answer: %w", err)
	}
	fine, status := bytes.HasPrefix(line, okLine), string(bytes.TrimSpace(line))
	if degraded, err = c.read(); err != nil {
		c.spent = true
		return degraded, err
	}
	if !fine || !bytes.HasPrefix(c.body.Bytes(), good) {
		return degraded, fmt.Errorf("%s: %.200s", status, c.body.Bytes())
	}
	return degraded, nil
}

// read reads headers and body.
func (c *connection) read() (degraded bool, err error) {
	length, chunked := 0, false
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return degraded, err
		}
		switch {
		case len(line) <= 2: // the line that ends the headers
			c.body.Reset()
			if chunked {
				return degraded, c.readChunks()
			}
			return degraded, c.readN(length)
		case bytes.HasPrefix(line, lengthHeader):
			length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(lengthHeader):])))
			if err != nil {
				return degraded, err
			}
		case bytes.HasPrefix(line, chunkedHeader):
			chunked = true
		case bytes.HasPrefix(line, closeHeader):
			c.spent = true
		case bytes.HasPrefix(line, partsHeader):
			degraded = true
		}
	}
}

func (c *connection) readChunks() error {
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 32)
		if err != nil {
			return err
		}
		if err := c.readN(int(size)); err != nil {
			return err
		}
		if end, err := c.in.ReadSlice('\n'); err != nil || len(end) != 2 {
			return errors.Join(errors.New("a chunk is longer than it says"), err)
		}
		if size == 0 {
			return nil
		}
	}
}

func (c *connection) readN(n int) error {
	_, err := io.CopyN(&c.body, c.in, int64(n))
	return err
}
