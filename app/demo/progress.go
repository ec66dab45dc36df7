package demo

import (
	"fmt"
	"io"
	"strings"

	"backbeat/app/terminal"
)

const barWidth = 40

// bar draws how much of a step is done over the line it drew before, in one
// write so that parallel callers don't mix. Where nothing can be drawn over, it only
// says that the step is done.
func bar(w io.Writer, label string, done, all int) {
	filled := barWidth
	if all > 0 {
		filled = barWidth * done / all
	}
	begin, end := "\r", ""
	if done >= all {
		end = "\n"
	}
	if !terminal.Is(w) {
		if begin = ""; end == "" {
			return
		}
	}
	// A progress bar that can't be drawn is no reason to stop.
	_, _ = fmt.Fprintf(w, "%s%s [%s%s] %d/%d%s", begin, label, strings.Repeat("█", filled), strings.Repeat("·", barWidth-filled), done, all, end)
}
