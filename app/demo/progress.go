package demo

import (
	"fmt"
	"io"
	"strings"
)

const barWidth = 40

// bar draws how much of a step is done over the line it drew before, in one
// write so that parallel callers don't mix.
func bar(w io.Writer, label string, done, all int) {
	filled := barWidth
	if all > 0 {
		filled = barWidth * done / all
	}
	end := ""
	if done >= all {
		end = "\n"
	}
	// A progress bar that can't be drawn is no reason to stop.
	_, _ = fmt.Fprintf(w, "\r%s [%s%s] %d/%d%s", label, strings.Repeat("█", filled), strings.Repeat("·", barWidth-filled), done, all, end)
}
