package bagfile

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

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
