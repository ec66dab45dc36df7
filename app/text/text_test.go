package text_test

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"backbeat/app/text"
)

func TestValid(t *testing.T) {
	tests := map[string]struct {
		s    string
		want bool
	}{
		"one letter":            {"a", true},
		"as many CJK runes":     {strings.Repeat("影", 32), true},
		"one too many":          {strings.Repeat("影", 33), false},
		"as many emoji":         {strings.Repeat("🎬", 32), true},
		"inner space and lines": {"a b\nc", true},
		"emoji with a joiner":   {"👩‍🎤", true},
		"nothing":               {"", false},
		"spaces":                {" \t\n\u3000", false},
		"zero-width characters": {"\u200b\u200d\ufeff", false},
		"a Hangul filler":       {"\u3164", false},
		"a braille blank":       {"\u2800", false},
		"variation selectors":   {"\ufe0f\U000e0100", false},
		"controls":              {"\x01\x7f", false},
		"NUL among letters":     {"a\x00b", false},
		"invalid UTF-8":         {"a\xffb", false},
		"half a rune":           {"影"[:2], false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := text.Valid(tt.s, 32); got != tt.want {
				t.Errorf("Valid(%q, 32) is %t, want %t", tt.s, got, tt.want)
			}
		})
	}
}

func TestKey(t *testing.T) {
	tests := map[string]struct {
		a, b string
		same bool
	}{
		"case":                {"Ada", "aDA", true},
		"case of sharp s":     {"straße", "STRASSE", true},
		"case in Greek":       {"ΣΊΣΥΦΟΣ", "σίσυφος", true},
		"full width":          {"Ａｄａ１", "ada1", true},
		"composed":            {"é", "e\u0301", true},
		"ligature":            {"ﬁn", "fin", true},
		"surrounding space":   {" \u3000ada\n", "ada", true},
		"zero-width space":    {"系统\u200b通知", "系统通知", true},
		"variation selector":  {"系统\ufe0f通知", "系统通知", true},
		"Hangul filler":       {"\u3164ada", "ada", true},
		"soft hyphen":         {"a\u00adda", "ada", true},
		"control":             {"a\x01da", "ada", true},
		"different emoji":     {"用户🎬", "用户👍", false},
		"inner space":         {"a da", "ada", false},
		"another letter":      {"ada", "adb", false},
		"accent":              {"é", "e", false},
		"long, case":          {strings.Repeat("ﷺ", 32), " " + strings.Repeat("ﷺ", 32), true},
		"long, last rune":     {strings.Repeat("ﷺ", 32), strings.Repeat("ﷺ", 31) + "x", false},
		"simplified and full": {"系统", "系統", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a, b := text.Key(tt.a), text.Key(tt.b)
			if bytes.Equal(a, b) != tt.same {
				t.Errorf("keys of %q and %q are %x and %x, want same: %t", tt.a, tt.b, a, b, tt.same)
			}
		})
	}
}

// The column that holds a key is 255 bytes.
func TestKeyFitsItsColumnAndIgnoresWhatCannotBeSeen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringN(1, text.MaxName, -1).Draw(t, "name")
		key := text.Key(name)
		if len(key) > 255 {
			t.Fatalf("the key has %d bytes", len(key))
		}
		runes := []rune(name)
		cut := rapid.IntRange(0, len(runes)).Draw(t, "cut")
		disguised := " " + string(runes[:cut]) + "\u200b\ufe0f" + string(runes[cut:]) + "\u2060\t"
		if !bytes.Equal(text.Key(disguised), key) {
			t.Fatalf("%q has another key than %q", disguised, name)
		}
	})
}
