package admin

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
)

// mostLevel bounds what a level is read from, in bytes.
const mostLevel = 16

// levelOf serves the level of the log. What it was set to is forgotten
// with the process, and when the key log.level changes.
func levelOf(level *slog.LevelVar) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostLevel))
			if err == nil {
				err = level.UnmarshalText(text)
			}
			if err != nil {
				http.Error(w, "PUT one of debug, info, warn, error", http.StatusBadRequest)
				return
			}
		}
		fmt.Fprintln(w, level.Level())
	}
}
