package live

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"backbeat/config"
)

// lookEvery is how often the file is read. It is taken as it is once two readings
// agree, so that nobody gets the first half of one that is being written.
const lookEvery = 250 * time.Millisecond

// WatchFile keeps the values equal to the live keys of a configuration that Load
// took from the same file and variables, until ctx ends. It is the content that is
// compared, so it does not matter whether the file was written, renamed or linked.
func (v *Values) WatchFile(ctx context.Context, path string, environ []string) {
	w := &fileWatch{Values: v, path: path, environ: environ}
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	for {
		w.look()
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

type fileWatch struct {
	*Values
	path    string
	environ []string
	// last is what the last reading was, taken the one that was acted upon.
	last, taken *reading
}

// reading is what came of reading the file.
type reading struct{ content, fault string }

func (w *fileWatch) look() {
	content, err := os.ReadFile(w.path)
	if err == nil && len(bytes.TrimSpace(content)) == 0 { // cut off rather than meant to be the defaults
		err = errors.New("it is empty")
	}
	now := &reading{content: string(content)}
	if err != nil {
		now = &reading{fault: err.Error()}
	}
	settled := w.last != nil && *w.last == *now
	w.last = now
	if !settled || w.taken != nil && *w.taken == *now {
		return
	}
	first := w.taken == nil
	w.taken = now
	if err != nil {
		w.log.Warn("the configuration's file can't be read, what was in force stays", "error", err)
		return
	}
	written, err := config.Parse(w.path, content, w.environ)
	if err != nil {
		w.log.Warn("the configuration's file is refused, what was in force stays", "error", err)
		return
	}
	changed := w.put(w.base.WithLiveOf(written), func(string) string { return w.path })
	var later []string
	for _, c := range config.Changes(w.base, written) {
		if !c.Live {
			later = append(later, c.Name)
		}
	}
	switch {
	case len(later) > 0:
		w.log.Warn("changes of the configuration's file wait for the next start", "keys", strings.Join(later, " "))
	case !changed && !first:
		w.log.Info("the configuration's file changed, but nothing that is in force did", "file", w.path)
	}
}
