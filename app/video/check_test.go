package video

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

func TestIndexIsWhole(t *testing.T) {
	box := func(kind string, content int) []byte {
		return append(append(binary.BigEndian.AppendUint32(nil, uint32(8+content)), kind...), make([]byte, content)...)
	}
	long := func(kind string, length uint64) []byte {
		return binary.BigEndian.AppendUint64(append([]byte{0, 0, 0, 1}, kind...), length)
	}
	start := append(box("ftyp", 8), box("mdat", 100)...)
	index := box("moov", 50)
	tests := map[string]struct {
		rest []byte
		want bool
	}{
		"no index":                      {nil, true},
		"an index":                      {index, true},
		"something after it":            {append(bytes.Clone(index), "trailer of a camera"...), true},
		"an index less a byte":          {index[:len(index)-1], false},
		"the head of one":               {index[:8], false},
		"less than a head":              {index[:7], true}, // then there is none
		"a long one":                    {append(long("moov", 24), make([]byte, 8)...), true},
		"a long one less a byte":        {append(long("moov", 24), make([]byte, 7)...), false},
		"one without end":               {long("moov", 1<<63), true}, // no length
		"one up to the end":             {append([]byte{0, 0, 0, 0}, "moov content"...), true},
		"pictures that are cut off":     {box("mdat", 50)[:40], true}, // review tells how much there is
		"a file of another kind":        {[]byte("\x1a\x45\xdf\xa3 webm and more"), true},
		"boxes that begin and never do": {make([]byte, 100), true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "original")
			check(t, os.WriteFile(path, append(bytes.Clone(start), tt.rest...), 0o600))
			if whole, err := indexIsWhole(path); err != nil || whole != tt.want {
				t.Errorf("%t, %v, want %t", whole, err, tt.want)
			}
		})
	}
}
