package terminal

import (
	"io"
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// Style is what a cell means, which is its colour.
type Style string

// The styles.
const (
	Plain Style = ""
	// Good is as it should be.
	Good Style = "\x1b[32m"
	// Doubtful works, but wants a look.
	Doubtful Style = "\x1b[33m"
	// Bad does not work.
	Bad Style = "\x1b[31m"
	// Faint is of less interest.
	Faint Style = "\x1b[2m"
)

// Cell is a text with its meaning.
type Cell struct {
	Text  string
	Style Style
}

// Table is rows below titles. The zero value has no colours.
type Table struct {
	// Escapes lets it use colours (see the function Escapes).
	Escapes bool
	// Indent stands before each row.
	Indent string
	rows   [][]Cell
}

// Title adds a row of titles.
func (t *Table) Title(texts ...string) {
	row := make([]Cell, len(texts))
	for i, text := range texts {
		row[i] = Cell{text, styleOfTitle}
	}
	t.rows = append(t.rows, row)
}

// Row adds a row of plain texts.
func (t *Table) Row(texts ...string) {
	row := make([]Cell, len(texts))
	for i, text := range texts {
		row[i].Text = text
	}
	t.rows = append(t.rows, row)
}

// Add adds a row.
func (t *Table) Add(cells ...Cell) { t.rows = append(t.rows, cells) }

// between is how far columns are apart.
const between = "  "

// WriteTo writes the rows in one go. What a cell holds of line ends and control
// characters, escape codes among them, becomes spaces.
func (t *Table) WriteTo(w io.Writer) (int64, error) {
	var widths []int
	rows := make([][]Cell, len(t.rows))
	for i, row := range t.rows {
		rows[i] = make([]Cell, len(row))
		for column, cell := range row {
			cell.Text = visible(cell.Text)
			rows[i][column] = cell
			if column == len(widths) {
				widths = append(widths, 0)
			}
			if column < len(row)-1 { // nothing stands behind the last one
				widths[column] = max(widths[column], Width(cell.Text))
			}
		}
	}
	var text strings.Builder
	for _, row := range rows {
		text.WriteString(t.Indent)
		for column, cell := range row {
			text.WriteString(Paint(t.Escapes, cell.Style, cell.Text))
			if column < len(row)-1 {
				text.WriteString(strings.Repeat(" ", widths[column]-Width(cell.Text)) + between)
			}
		}
		text.WriteByte('\n')
	}
	n, err := io.WriteString(w, text.String())
	return int64(n), err
}

// Paint returns the text in a style, as it is where escape codes may not be written.
func Paint(escapes bool, style Style, text string) string {
	if !escapes || style == Plain || text == "" {
		return text
	}
	return string(style) + text + reset
}

func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}

// Width returns how many columns of a terminal the text takes: two for a Chinese
// character or an emoji, none for a mark on the one before.
func Width(text string) int {
	columns := 0
	for _, r := range text {
		switch kind := width.LookupRune(r).Kind(); {
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		case kind == width.EastAsianWide, kind == width.EastAsianFullwidth:
			columns += 2
		default:
			columns++
		}
	}
	return columns
}
