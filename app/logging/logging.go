// Package logging makes the log of a process: text for a person, JSON for a machine,
// on a level that can be changed while it runs.
//
// In a flood, such as that of a database which is away, each message is written at
// most a hundred times a second, and after that second a line says how many more
// there were: nobody reads them, and writing them would cost what the requests
// themselves need. What is written for debugging is not thinned out.
package logging

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"backbeat/app/terminal"
	"backbeat/config"
)

// mostInASecond bounds how often one message is written.
const mostInASecond = 100

// New returns a log that writes to w, and its level.
func New(cfg config.Log, w io.Writer) (*slog.Logger, *slog.LevelVar) {
	var level slog.LevelVar // info
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		level.Set(slog.LevelInfo) // validated before; a log is needed all the same
	}
	options := &slog.HandlerOptions{Level: &level}
	var lines slog.Handler = slog.NewJSONHandler(w, options)
	if cfg.Format == "text" || cfg.Format == "" && terminal.Is(w) {
		lines = slog.NewTextHandler(w, options)
	}
	return slog.New(thinned{lines, &floods{out: lines, lines: map[kind]int{}}}), &level
}

// thinned is a handler that bounds how often a message is written.
type thinned struct {
	slog.Handler
	floods *floods
}

// kind is what lines are held to be the same by. Messages are constants of the
// program, so there are few.
type kind struct {
	level   slog.Level
	message string
}

// floods count lines.
type floods struct {
	// out writes how many were left out.
	out slog.Handler

	mu sync.Mutex
	// lines are how many there were of a kind in the second that its first began.
	lines map[kind]int
}

// Handle implements slog.Handler.
func (t thinned) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelInfo || t.floods.let(kind{r.Level, r.Message}) {
		return t.Handler.Handle(ctx, r)
	}
	return nil
}

// let reports whether a line is to be written. The first one begins a second.
func (f *floods) let(k kind) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lines[k] == 0 {
		time.AfterFunc(time.Second, func() { f.end(k) })
	}
	f.lines[k]++
	return f.lines[k] <= mostInASecond
}

// end ends the second of a kind and tells what was left out.
func (f *floods) end(k kind) {
	f.mu.Lock()
	left := f.lines[k] - mostInASecond
	delete(f.lines, k)
	f.mu.Unlock()
	if left <= 0 {
		return
	}
	r := slog.NewRecord(time.Now(), k.level, "lines left out", 0)
	r.AddAttrs(slog.String("like", k.message), slog.Int("lines", left))
	_ = f.out.Handle(context.Background(), r) // as for any line, there is nobody to tell
}

// WithAttrs implements slog.Handler.
func (t thinned) WithAttrs(attrs []slog.Attr) slog.Handler {
	return thinned{t.Handler.WithAttrs(attrs), t.floods}
}

// WithGroup implements slog.Handler.
func (t thinned) WithGroup(name string) slog.Handler {
	return thinned{t.Handler.WithGroup(name), t.floods}
}
