package verify

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// quote is text of the bag as it may be shown: in quotes, cut where it is long, with every
// character escaped that is not printable, which those are that control a terminal or the direction
// of text.
func quote(text string) string {
	short := cut(text)
	out := strconv.Quote(short)
	if len(short) < len(text) {
		out += "…"
	}
	return out
}

// shown is a file's name as a report has it.
func shown(name string) string {
	short := cut(name)
	if len(short) < len(name) {
		return Printable(short) + "…"
	}
	return Printable(short)
}

// cut is the beginning of a text.
func cut(text string) string {
	if len(text) <= maxShown {
		return text
	}
	end := maxShown
	for end > maxShown-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}

// Printable is a text with every character escaped that is not printable. Text that was quoted
// stays as it is.
func Printable(text string) string {
	if utf8.ValidString(text) && !strings.ContainsFunc(text, hidden) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError && size == 1 || hidden(r) {
			quoted := strconv.Quote(text[i : i+size])
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteString(text[i : i+size])
		}
		i += size
	}
	return b.String()
}

// hidden reports whether a character is not printable.
func hidden(r rune) bool { return r != ' ' && !unicode.IsPrint(r) }
