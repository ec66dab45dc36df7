package terminal

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestWidth(t *testing.T) {
	for _, row := range []struct {
		name, text string
		want       int
	}{
		{"nothing", "", 0},
		{"ASCII", "backbeat", 8},
		{"Chinese", "视频", 4},
		{"full width", "ＡＢ", 4},
		{"both", "用户u1", 6},
		{"an emoji", "🎬", 2},
		{"a mark on a letter", "e\u0301", 1},
		{"a zero-width joiner", "a\u200db", 2},
		{"an ellipsis", "…", 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := Width(row.text); got != row.want {
				t.Errorf("got %d, want %d", got, row.want)
			}
		})
	}
}

func TestTable(t *testing.T) {
	for _, row := range []struct {
		name  string
		table func(*Table)
		want  string
	}{
		{"empty", func(*Table) {}, ""},
		{"columns line up", func(t *Table) { t.Title("A", "B"); t.Row("long", "x"); t.Row("s", "y") }, "A     B\nlong  x\ns     y\n"},
		{"behind Chinese too", func(t *Table) { t.Row("视频", "x"); t.Row("user", "y"); t.Row("v", "z") }, "视频  x\nuser  y\nv     z\n"},
		{"no space at the end", func(t *Table) { t.Row("a", "long"); t.Row("b", "s") }, "a  long\nb  s\n"},
		{"a last cell widens nothing", func(t *Table) { t.Row("a very long line"); t.Row("b", "c") }, "a very long line\nb  c\n"},
		{"rows of several lengths", func(t *Table) { t.Row("a"); t.Row("b", "c", "d") }, "a\nb  c  d\n"},
		{"styles without colours", func(t *Table) { t.Add(Cell{"a", Bad}, Cell{"b", Good}) }, "a  b\n"},
		{"colours take no room", func(t *Table) {
			t.Escapes = true
			t.Add(Cell{"a", Bad}, Cell{"b", Plain})
			t.Row("cc", "d")
		}, "\x1b[31ma\x1b[0m   b\ncc  d\n"},
		{"indented", func(t *Table) { t.Indent = "  "; t.Row("a") }, "  a\n"},
		{"what others wrote is no code", func(t *Table) { t.Row("a\x1b[2Jb\nc", "d") }, "a [2Jb c  d\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var table Table
			row.table(&table)
			var out bytes.Buffer
			if n, err := table.WriteTo(&out); err != nil || n != int64(out.Len()) {
				t.Fatal(n, err)
			}
			if out.String() != row.want {
				t.Errorf("got %q, want %q", &out, row.want)
			}
		})
	}
}

// What is no terminal never gets an escape code, and a terminal does unless it is told
// otherwise.
func TestEscapes(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	device, err := os.OpenFile("/dev/null", os.O_WRONLY, 0) // a character device, as a terminal is
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	if Escapes(&bytes.Buffer{}, nil) || Escapes(file, nil) {
		t.Error("a buffer or a file gets them")
	}
	for _, row := range []struct {
		name    string
		environ []string
		want    bool
	}{
		{"nothing said", nil, true},
		{"NO_COLOR", []string{"A=b", "NO_COLOR=1"}, false},
		{"NO_COLOR of nothing is not set", []string{"NO_COLOR="}, true},
		{"a terminal that knows none", []string{"TERM=dumb"}, false},
		{"one that does", []string{"TERM=xterm"}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := Escapes(device, row.environ); got != row.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestRedraw(t *testing.T) {
	got := Redraw("a\nb\n")
	if strings.Contains(got, clearScreen) || got != "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J" {
		t.Errorf("got %q", got)
	}
}
