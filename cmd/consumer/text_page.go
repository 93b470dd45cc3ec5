package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/mattn/go-runewidth"

	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// textPageWidth is how many columns a text page has.
const textPageWidth = 60

// textPage prints lines of at most textPageWidth columns.
type textPage struct {
	w   io.Writer
	err error
}

// line prints a text after an indentation, in as many lines as it takes. Text of the customer must
// be quoted or cut.
func (p *textPage) line(indent int, text string) {
	text = bagfile.Printable(text)
	for text != "" && p.err == nil {
		part, rest := split(text, textPageWidth-indent)
		_, p.err = fmt.Fprintf(p.w, "%s%s\n", strings.Repeat(" ", indent), part)
		text = rest
	}
}

// field prints a name and a value beside it.
func (p *textPage) field(name, value string) {
	const at = 14
	value = bagfile.Printable(value)
	for first := true; (value != "" || first) && p.err == nil; first = false {
		part, rest := split(value, textPageWidth-at)
		_, p.err = fmt.Fprintf(p.w, "  %-*s%s\n", at-2, name, part)
		name, value = "", rest
	}
}

// split takes a line's worth of columns off a text, at a space if there is one.
func split(text string, columns int) (line, rest string) {
	used, space := 0, -1
	for i, r := range text {
		if used += runewidth.RuneWidth(r); used > columns {
			if space > 0 {
				return text[:space], text[space+1:]
			}
			return text[:i], text[i:]
		}
		if r == ' ' {
			space = i
		}
	}
	return text, ""
}

// short is a text of the customer in one line, cut where it is long.
func short(text string) string {
	line, rest := split(bagfile.Printable(strings.Join(strings.Fields(text), " ")), textPageWidth-4)
	if rest != "" {
		line += "…"
	}
	return line
}
