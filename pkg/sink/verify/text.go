package verify

import (
	"strconv"
	"unicode/utf8"

	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
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
		return bagfile.Printable(short) + "…"
	}
	return bagfile.Printable(short)
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
