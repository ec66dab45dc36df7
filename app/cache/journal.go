package cache

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"

	"github.com/redis/go-redis/v9"

	"backbeat/app/errs"
)

// Journal is what instances tell each other, in one order for all. It keeps the
// latest few thousand entries. It is safe for concurrent use; entries are shared,
// nobody changes them.
type Journal interface {
	// Append adds an entry, which is not empty.
	Append(ctx context.Context, entry []byte) error
	// After returns all that was appended after a position, and the position of the last
	// of them: the same one when there is nothing new.
	// The position "" is the end of the journal now. ErrGap says that entries may be
	// missing: they were too many, or the server lost them.
	After(ctx context.Context, position string) (entries [][]byte, last string, err error)
}

// ErrGap is the error of After when entries may be missing.
var ErrGap = errors.New("the journal has a gap")

// journalLength is how many entries a journal keeps at least.
const journalLength = 4096

// MemoryJournal is a Journal in the process.
type MemoryJournal struct {
	mu sync.Mutex
	// first is the number of the first entry kept, counted from 1.
	first   int
	entries [][]byte
}

// NewMemoryJournal returns an empty journal.
func NewMemoryJournal() *MemoryJournal { return &MemoryJournal{first: 1} }

// Append implements Journal.
func (m *MemoryJournal) Append(_ context.Context, entry []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries = append(m.entries, entry)
	if len(m.entries) >= 2*journalLength {
		dropped := len(m.entries) - journalLength
		m.first += dropped
		m.entries = append([][]byte(nil), m.entries[dropped:]...)
	}
	return nil
}

// After implements Journal.
func (m *MemoryJournal) After(_ context.Context, position string) (entries [][]byte, last string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if position == "" {
		return nil, strconv.Itoa(m.first + len(m.entries) - 1), nil
	}
	at, err := strconv.Atoi(position)
	from := at + 1 - m.first
	if err != nil || from < 0 || from > len(m.entries) {
		return nil, "", ErrGap
	}
	entries = slices.Clip(m.entries[from:])
	return entries, strconv.Itoa(at + len(entries)), nil
}

// RedisJournal is a Journal on a Redis server: a stream.
type RedisJournal struct {
	client redis.UniversalClient
	key    string
}

// NewRedisJournal returns the journal of that name on the server that client (see
// Dial) reaches.
func NewRedisJournal(client redis.UniversalClient, name string) *RedisJournal {
	return &RedisJournal{client, name}
}

// entryField is the one field of the stream's entries. An entry without it is a
// reader's, who needs one to begin from.
const entryField = "entry"

// Append implements Journal.
func (r *RedisJournal) Append(ctx context.Context, entry []byte) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	_, err := r.add(ctx, entryField, entry)
	return errs.Wrap(errs.Unavailable, err, "appending to the journal %s", r.key)
}

func (r *RedisJournal) add(ctx context.Context, field string, value any) (id string, err error) {
	return r.client.XAdd(ctx, &redis.XAddArgs{Stream: r.key, MaxLen: journalLength, Approx: true, Values: []any{field, value}}).Result()
}

// After implements Journal. The entry at the position is read too: while it is there,
// so is all that came after it.
func (r *RedisJournal) After(ctx context.Context, position string) (entries [][]byte, last string, err error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	if position == "" {
		last, err = r.add(ctx, "reader", "")
		return nil, last, errs.Wrap(errs.Unavailable, err, "beginning to read the journal %s", r.key)
	}
	found, err := r.client.XRange(ctx, r.key, position, "+").Result()
	if err != nil {
		return nil, "", errs.Wrap(errs.Unavailable, err, "reading the journal %s", r.key)
	}
	if len(found) == 0 || found[0].ID != position {
		return nil, "", ErrGap
	}
	for _, message := range found[1:] {
		if entry, ok := message.Values[entryField].(string); ok {
			entries = append(entries, []byte(entry))
		}
	}
	return entries, found[len(found)-1].ID, nil
}
