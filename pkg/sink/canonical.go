package sink

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/cvconsumer/cvconsumer/internal/jsonscan"
)

// CanonicalJSON is the JSON of v with sorted keys and no white space, after RFC 8785: equal values
// give equal bytes, whatever the order of their fields. It departs from the RFC in one thing:
// integers keep all of their digits, also where a float64 would not. Of members with one name the
// last counts.
func CanonicalJSON(v any) ([]byte, error) {
	plain, ok := v.(json.RawMessage)
	if !ok {
		var err error
		if plain, err = json.Marshal(v); err != nil {
			return nil, fmt.Errorf("encode canonical JSON: %w", err)
		}
	}
	if !jsonscan.Valid(plain) {
		var raw json.RawMessage
		err := json.Unmarshal(plain, &raw) // says what is wrong
		return nil, fmt.Errorf("encode canonical JSON: it is none: %w", err)
	}
	out, err := appendCanonical(make([]byte, 0, len(plain)), bytes.TrimSpace(plain))
	if err != nil {
		return nil, fmt.Errorf("encode canonical JSON: %w", err)
	}
	return out, nil
}

// appendCanonical prints a value, which is valid JSON without blanks around it.
func appendCanonical(dst, of []byte) ([]byte, error) {
	switch of[0] {
	case '{':
		return appendObject(dst, of)
	case '[':
		dst = append(dst, '[')
		var err error
		for at := jsonscan.Blanks(of, 1); of[at] != ']'; {
			end := jsonscan.Value(of, at)
			if dst, err = appendCanonical(dst, of[at:end]); err != nil {
				return nil, err
			}
			if at = jsonscan.Blanks(of, end); of[at] == ',' {
				dst = append(dst, ',')
				at = jsonscan.Blanks(of, at+1)
			}
		}
		return append(dst, ']'), nil
	case '"':
		if isPlain(of) {
			return append(dst, of...), nil
		}
		text, err := unquote(of)
		return appendString(dst, text), err
	case 't', 'f', 'n':
		return append(dst, of...), nil
	}
	return appendNumber(dst, json.Number(of))
}

// appendObject prints an object, its members sorted.
func appendObject(dst, of []byte) ([]byte, error) {
	type member struct {
		name  string
		value []byte
	}
	var members []member
	for at := jsonscan.Blanks(of, 1); of[at] != '}'; {
		end, value := jsonscan.Name(of, at)
		name, err := unquote(of[at:end])
		if err != nil {
			return nil, err
		}
		end = jsonscan.Value(of, value)
		members = append(members, member{name, of[value:end]})
		if at = jsonscan.Blanks(of, end); of[at] == ',' {
			at = jsonscan.Blanks(of, at+1)
		}
	}
	slices.SortStableFunc(members, func(a, b member) int { return compareUTF16(a.name, b.name) })
	dst = append(dst, '{')
	for i, m := range members {
		if i+1 < len(members) && members[i+1].name == m.name {
			continue
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, m.name), ':')
		var err error
		if dst, err = appendCanonical(dst, m.value); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

// isPlain reports whether a quoted text stands for itself.
func isPlain(quoted []byte) bool {
	return bytes.IndexByte(quoted, '\\') < 0 && utf8.Valid(quoted)
}

// unquote is what a quoted text says.
func unquote(quoted []byte) (text string, err error) {
	if isPlain(quoted) {
		return string(quoted[1 : len(quoted)-1]), nil
	}
	err = json.Unmarshal(quoted, &text)
	return text, err
}

// compareUTF16 compares two texts by their UTF-16 code units, which of ASCII are its bytes.
func compareUTF16(a, b string) int {
	if isASCII(a) && isASCII(b) {
		return strings.Compare(a, b)
	}
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// appendNumber prints a number: an integer as it is, anything else in the shortest form that reads
// back the same, which encoding/json shares with ECMAScript.
func appendNumber(dst []byte, n json.Number) ([]byte, error) {
	if !strings.ContainsAny(string(n), ".eE") {
		if n == "-0" {
			n = "0"
		}
		return append(dst, n...), nil
	}
	f, err := n.Float64()
	if err != nil {
		return nil, err
	}
	if f == 0 {
		return append(dst, '0'), nil
	}
	b, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	// encoding/json writes 1e+21 and 1e-07 as ECMAScript's 1e+21 and 1e-7 since it drops the
	// leading zero of exponents itself.
	return append(dst, b...), nil
}

// appendString prints a string with the fewest escapes that JSON allows.
func appendString(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\b':
			dst = append(dst, `\b`...)
		case c == '\t':
			dst = append(dst, `\t`...)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\f':
			dst = append(dst, `\f`...)
		case c == '\r':
			dst = append(dst, `\r`...)
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
