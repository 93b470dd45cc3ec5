package jsonscan

import (
	"encoding/binary"
	"math/bits"
)

// What Value gives in place of the end of a value.
const (
	Invalid = -1 // the text is no JSON
	Short   = -2 // the text ends before the value does
)

// maxDepth is how many values in each other encoding/json takes.
const maxDepth = 10_000

// Valid reports whether a text is one JSON value, with blanks around it or none.
func Valid(text []byte) bool {
	end := Value(text, Blanks(text, 0))
	return end >= 0 && Blanks(text, end) == len(text)
}

// Blanks is the offset of the first byte from at on that is no blank, or the length of the text.
func Blanks(text []byte, at int) int {
	for at < len(text) && (text[at] == ' ' || text[at] == '\n' || text[at] == '\t' || text[at] == '\r') {
		at++
	}
	return at
}

// Value is where the value ends that begins at an offset; Invalid or Short when there is none. A
// number that the text ends with may go on in what follows.
func Value(text []byte, at int) (end int) { return value(text, at, maxDepth) }

// value is Value of a text of which that many levels may follow.
func value(text []byte, at, levels int) int {
	if at >= len(text) {
		return Short
	}
	switch c := text[at]; {
	case c == '"':
		return String(text, at)
	case c == '{' || c == '[':
		if levels == 0 {
			return Invalid
		}
		return inside(text, at+1, levels-1, c)
	case c == '-' || '0' <= c && c <= '9':
		return number(text, at)
	case c == 't':
		return word(text, at, "true")
	case c == 'f':
		return word(text, at, "false")
	case c == 'n':
		return word(text, at, "null")
	}
	return Invalid
}

// inside is the end of an object or a list, from behind its bracket on.
func inside(text []byte, at, levels int, bracket byte) int {
	object, end := bracket == '{', bracket+2
	if at = Blanks(text, at); at < len(text) && text[at] == end {
		return at + 1
	}
	for {
		if object {
			if _, at = Name(text, at); at < 0 {
				return at
			}
		}
		if at = value(text, at, levels); at < 0 {
			return at
		}
		switch at = Blanks(text, at); {
		case at == len(text):
			return Short
		case text[at] == end:
			return at + 1
		case text[at] != ',':
			return Invalid
		}
		at = Blanks(text, at+1)
	}
}

// Name is the end of the name of a member that begins at an offset, and where the member's value
// begins; that is Invalid or Short when there is none.
func Name(text []byte, at int) (end, value int) {
	switch {
	case at >= len(text):
		return 0, Short
	case text[at] != '"':
		return 0, Invalid
	}
	if end = String(text, at); end < 0 {
		return 0, end
	}
	switch at = Blanks(text, end); {
	case at == len(text):
		return 0, Short
	case text[at] != ':':
		return 0, Invalid
	}
	return end, Blanks(text, at+1)
}

// String is the end of the string that begins at an offset, where its quote is; Invalid or Short
// when there is none.
func String(text []byte, at int) int {
	for at++; ; {
		if at = special(text, at); at >= len(text) {
			return Short
		}
		switch text[at] {
		case '"':
			return at + 1
		case '\\':
			if at = escape(text, at+1); at < 0 {
				return at
			}
		default:
			return Invalid
		}
	}
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special is the offset of the first quote, backslash or control character from at on. It looks at
// eight bytes at once: subtracting from each sets the highest bit of the first that is wanted, and
// maybe of some behind it.
func special(text []byte, at int) int {
	for ; at+8 <= len(text); at += 8 {
		word := binary.LittleEndian.Uint64(text[at:])
		quote, backslash := word^ones*'"', word^ones*'\\'
		found := (quote-ones)&^quote | (backslash-ones)&^backslash | (word-ones*' ')&^word
		if found &= highs; found != 0 {
			return at + bits.TrailingZeros64(found)/8
		}
	}
	for at < len(text) && text[at] != '"' && text[at] != '\\' && text[at] >= ' ' {
		at++
	}
	return at
}

// escape is the end of an escape, from behind its backslash on.
func escape(text []byte, at int) int {
	if at == len(text) {
		return Short
	}
	switch text[at] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return at + 1
	case 'u':
		for end := at + 4; at < end; {
			if at++; at == len(text) {
				return Short
			}
			if c := text[at]; (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
				return Invalid
			}
		}
		return at + 1
	}
	return Invalid
}

// number is the end of a number.
func number(text []byte, at int) int {
	if text[at] == '-' {
		at++
	}
	if at < len(text) && text[at] == '0' {
		at++
	} else if at = digits(text, at); at < 0 {
		return at
	}
	if at < len(text) && text[at] == '.' {
		if at = digits(text, at+1); at < 0 {
			return at
		}
	}
	if at < len(text) && text[at]|0x20 == 'e' {
		if at++; at < len(text) && (text[at] == '+' || text[at] == '-') {
			at++
		}
		return digits(text, at)
	}
	return at
}

// digits is the end of one or more digits.
func digits(text []byte, at int) int {
	begin := at
	for at < len(text) && '0' <= text[at] && text[at] <= '9' {
		at++
	}
	switch {
	case at > begin:
		return at
	case at == len(text):
		return Short
	}
	return Invalid
}

// word is the end of a word that stands there.
func word(text []byte, at int, want string) int {
	for i := range len(want) {
		switch {
		case at+i == len(text):
			return Short
		case text[at+i] != want[i]:
			return Invalid
		}
	}
	return at + len(want)
}
