package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// table prints columns, as text/tabwriter does: cells end with tabs, lines with newlines. On a
// terminal that is too narrow nothing is cut: the second of two columns is wrapped, and of more
// columns those that do not fit follow below, each with its heading. A line without cells is no
// part of the columns, and is wrapped behind its own indentation. Elsewhere each row is a line,
// however long.
type table struct {
	w      io.Writer
	screen screen
	text   bytes.Buffer
}

// newTable makes a table, which Flush prints to w.
func newTable(w io.Writer) *table { return &table{w: w, screen: screenOf(w, nil)} }

// Write takes cells.
func (t *table) Write(b []byte) (int, error) { return t.text.Write(b) }

// line adds a line of text behind an indentation, which is no part of the columns.
func (t *table) line(indent int, text string) { fmt.Fprintf(t, "%*s%s\n", indent, "", oneLine(text)) }

// field adds a name and a value beside it.
func (t *table) field(name, value string) { fmt.Fprintf(t, "  %s\t%s\n", name, oneLine(value)) }

// gap is how many spaces are between two columns.
const gap = 2

// Flush prints the table.
func (t *table) Flush() error {
	var rows [][]string
	for line := range strings.SplitSeq(strings.TrimSuffix(t.text.String(), "\n"), "\n") {
		rows = append(rows, strings.Split(line, "\t"))
	}
	t.text.Reset()
	widths := widthsOf(rows)
	fits := len(widths) // how many columns are printed side by side
	if total := sum(widths) + gap*(len(widths)-1); t.screen.width > 0 && total > t.screen.width && len(widths) > 2 {
		fits = 1
		for fits < len(widths) && sum(widths[:fits+1])+gap*fits <= t.screen.width {
			fits++
		}
	}
	var b strings.Builder
	for i, row := range rows {
		if len(row) == 1 {
			text := strings.TrimLeft(row[0], " ")
			indent := len(row[0]) - len(text)
			fmt.Fprintf(&b, "%*s%s\n", indent, "", t.screen.wrap(text, indent, indent))
			continue
		}
		at := 0
		for k, cell := range row[:min(fits, len(row))] {
			if k > 0 {
				b.WriteString(strings.Repeat(" ", at-columns(lastLine(b.String()))))
			}
			if len(widths) == 2 && k == 1 {
				cell = t.screen.wrap(cell, at, at)
			}
			b.WriteString(cell)
			at += widths[k] + gap
		}
		b.WriteByte('\n')
		if i > 0 && fits < len(row) {
			b.WriteString(t.below(rows[0], row, fits))
		}
	}
	_, err := io.WriteString(t.w, b.String())
	return err //nolint:wrapcheck // it is the output's
}

// below prints the cells of a row from one column on, in lines of their own below it.
func (t *table) below(head, row []string, from int) string {
	var parts []string
	for k := from; k < len(row) && k < len(head); k++ {
		if row[k] != "" && row[k] != "-" {
			parts = append(parts, strings.ToLower(head[k])+" "+row[k])
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("%*s%s\n", gap, "", t.screen.wrap(strings.Join(parts, ", "), gap, gap))
}

// widthsOf gives the width of each column.
func widthsOf(rows [][]string) []int {
	var widths []int
	for _, row := range rows {
		for k, cell := range row {
			if k == len(widths) {
				widths = append(widths, 0)
			}
			if len(row) > 1 {
				widths[k] = max(widths[k], columns(cell))
			}
		}
	}
	return widths
}

func sum(all []int) (total int) {
	for _, n := range all {
		total += n
	}
	return total
}

// lastLine is what stands in a text after its last newline.
func lastLine(text string) string { return text[strings.LastIndexByte(text, '\n')+1:] }
