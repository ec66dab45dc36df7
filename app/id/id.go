// Package id makes the numbers that name users, videos, comments and messages.
//
// An id is a time-ordered integer of 53 bits, so that JavaScript and clients
// that decode numbers to float64 hold it exactly (API §1.4): 41 bits of
// milliseconds since Epoch, then 12 random bits. Ids rise within a process. Two
// processes may draw the same id; the table's primary key is the fence, and
// whoever meets a duplicate draws again. No worker numbers need handing out.
package id

import (
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"
)

// Epoch is the millisecond that id 0 would have been made in: 2024-01-01 UTC.
const Epoch = 1704067200000

const (
	randomBits = 12
	// derivedBit marks an id computed from another. It is the top one of the 53
	// and drawn ids do not reach it before the year 2058.
	derivedBit = 1 << 52
)

// Max is the largest id there can be, 2^53 − 1.
const Max = 1<<53 - 1

// Generator draws ids. It is safe for concurrent use.
type Generator struct {
	now  func() time.Time
	mu   sync.Mutex
	last int64
}

// NewGenerator returns a generator that reads the time from now.
func NewGenerator(now func() time.Time) *Generator { return &Generator{now: now} }

// Next returns an id greater than every id this generator returned before, also
// when the clock stands still or goes back.
func (g *Generator) Next() int64 {
	var random [2]byte
	_, _ = rand.Read(random[:]) // never fails, says its documentation
	drawn := (g.now().UnixMilli()-Epoch)<<randomBits | int64(binary.BigEndian.Uint16(random[:])>>(16-randomBits))
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = max(drawn, g.last+1)
	return g.last
}

// Derive returns the id of the one thing that follows from the thing named by
// id, such as the notice of a failed video: making it twice makes it once.
// Derived ids are distinct from every drawn one.
func Derive(id int64) int64 { return id | derivedBit }
