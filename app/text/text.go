// Package text decides what text from people may be stored and when two names
// are the same. Lengths are runes, never bytes, counted before normalizing.
package text

import (
	"crypto/sha256"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Bounds of what people write, in runes (API D8).
const (
	MaxName     = 32
	MaxPassword = 32
	MaxTitle    = 100
	MaxContent  = 1024
)

// maxKey bounds a key in bytes; it is the size of the column.
const maxKey = 255

// Valid reports whether s has 1 to most runes of valid UTF-8, holds no NUL and
// shows something.
func Valid(s string, most int) bool {
	return s != "" && utf8.ValidString(s) && utf8.RuneCountInString(s) <= most &&
		!strings.ContainsRune(s, 0) && strings.ContainsFunc(s, visible)
}

// visible reports whether r puts anything on a screen.
func visible(r rune) bool { return !unicode.IsSpace(r) && !ignorable(r) && r != brailleBlank }

// brailleBlank is a symbol to Unicode, but one without dots.
const brailleBlank = '\u2800'

// ignorable reports whether r leaves no trace between its neighbours: controls,
// format characters (zero-width ones among them), variation selectors, fillers.
func ignorable(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}

// Key returns the bytes that two names share if and only if they are the same
// name: after NFKC, case folding, removal of what cannot be seen (Unicode's
// NFKC_Casefold) and trimming. A key that would not fit its column is replaced
// by its hash.
func Key(name string) []byte {
	seen := strings.Map(func(r rune) rune {
		if ignorable(r) {
			return -1
		}
		return r
	}, name)
	folded := cases.Fold().String(norm.NFKC.String(seen))
	key := []byte(strings.TrimSpace(norm.NFKC.String(folded)))
	if len(key) > maxKey {
		sum := sha256.Sum256(key)
		return sum[:]
	}
	return key
}
