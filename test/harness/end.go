package harness

import (
	"fmt"
	"slices"
	"strings"

	"backbeat/deploy/local"
)

// End stops a process of Backbeat. It returns an error if the process does not end
// cleanly or Inspect finds something in its log.
func End(s *local.Server, secrets ...string) error {
	if err := s.Stop(); err != nil {
		return err
	}
	log, err := s.Log()
	if err != nil {
		return err
	}
	return Inspect(s.Name+"'s log", log, secrets...)
}

// Inspect returns an error if text, which is in where, holds what no log or span may:
// a data race, a panic, the password of a registered account, a token, or one of
// the secrets.
func Inspect(where, text string, secrets ...string) error {
	for _, never := range slices.Concat([]string{"DATA RACE", "panic", password, "eyJhbGciOi"}, secrets) {
		if at := strings.Index(text, never); at >= 0 {
			return fmt.Errorf("%s holds %q: %.2000s", where, never, text[max(0, at-200):])
		}
	}
	return nil
}
