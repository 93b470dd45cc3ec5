package main

import (
	"io"
	"os"
	"strings"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"
)

// screen is what standard output is shown on.
type screen struct {
	width int  // columns; 0: it is no terminal, so lines are as long as they are
	color bool // a terminal, and neither NO_COLOR nor TERM=dumb is set
}

// screenOf looks at a standard stream. getenv gives environment variables; without it there are no
// colors.
func screenOf(stream io.Writer, getenv func(string) string) screen {
	if p, ok := stream.(plain); ok {
		stream = p.w
	}
	if s, ok := stream.(interface{ screen() screen }); ok { // of a test
		return s.screen()
	}
	f, ok := stream.(*os.File)
	if !ok || !isTerminal(f) {
		return screen{}
	}
	width, _, err := term.GetSize(int(f.Fd())) //nolint:gosec // a file descriptor fits an int
	if err != nil || width <= 0 {
		width = 80
	}
	return screen{width: width, color: getenv != nil && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"}
}

// isTerminal reports whether a standard stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) //nolint:gosec // a file descriptor fits an int
}

// Colors, as terminals number them.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
)

// paint colors a text that needs no escaping. What it returns is written to program.raw.
func (s screen) paint(color, text string) string {
	if !s.color {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// columns is how many columns of a terminal a text takes.
func columns(text string) int { return runewidth.StringWidth(text) }

// wrap breaks a text between words so that each line fits, those after the first behind an indent.
// first is how many columns of the first line are taken. A word that is too long has a line of its
// own, whole: it may be an id or a command to copy.
func (s screen) wrap(text string, first, indent int) string {
	if s.width == 0 {
		return text
	}
	var b strings.Builder
	at := first
	for i, word := range strings.Fields(text) {
		w := columns(word)
		switch {
		case i == 0:
		case at+1+w > s.width:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += w
	}
	return b.String()
}
