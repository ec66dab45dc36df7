// Package terminal prints for a person: tables whose columns line up whatever is
// written in them, in colours where somebody looks at a terminal. A pipe, a file and
// whoever sets NO_COLOR get plain text without a single escape code.
package terminal

import (
	"io"
	"os"
	"slices"
	"strings"
)

// Is reports whether w is a terminal.
func Is(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Escapes reports whether escape codes may be written to w: to a terminal that knows
// them, unless the environment says NO_COLOR (https://no-color.org).
func Escapes(w io.Writer, environ []string) bool {
	refused := func(entry string) bool {
		name, value, _ := strings.Cut(entry, "=")
		return name == "NO_COLOR" && value != "" || name == "TERM" && value == "dumb"
	}
	return Is(w) && !slices.ContainsFunc(environ, refused)
}

const (
	home         = "\x1b[H"
	clearScreen  = "\x1b[2J"
	clearLine    = "\x1b[K" // from the cursor to its end
	clearBelow   = "\x1b[J"
	reset        = "\x1b[0m"
	styleOfTitle = "\x1b[1m"
)

// Clear returns what empties the screen.
func Clear() string { return clearScreen + home }

// Redraw returns what writes text from the top of the screen over what stood there,
// line by line, so that nothing flickers.
func Redraw(text string) string {
	return home + strings.ReplaceAll(text, "\n", clearLine+"\n") + clearBelow
}
