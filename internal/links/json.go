package links

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/cvconsumer/cvconsumer/internal/jsonscan"
)

// errNotJSON says that a text is not one JSON value.
var errNotJSON = errors.New("not valid JSON")

// Cut gives a JSON value as received, on one line and without insignificant blanks, but without the
// queries of links that the package comment names. Key order, duplicate keys, escapes and the text
// of numbers stay as they are. It errs when raw is not JSON.
func Cut(raw json.RawMessage) (json.RawMessage, error) {
	if !jsonscan.Valid(raw) {
		return nil, errNotJSON
	}
	return CutValid(raw), nil
}

// CutValid is Cut of what is known to be one JSON value.
func CutValid(raw json.RawMessage) json.RawMessage {
	w := walker{in: raw, out: make([]byte, 0, len(raw)), found: -1}
	w.value(rules{})
	w.copy()
	return w.out
}

// Find gives the offset of the first string that Cut would shorten, -1 when there is none. It errs
// when raw is not JSON.
func Find(raw json.RawMessage) (int, error) {
	if !jsonscan.Valid(raw) {
		return -1, errNotJSON
	}
	return FindValid(raw), nil
}

// FindValid is Find in what is known to be one JSON value.
func FindValid(raw json.RawMessage) int {
	w := walker{in: raw, found: -1, only: true}
	w.value(rules{})
	return w.found
}

// rules say what is removed from a string, by the members it is in.
type rules struct {
	metadata bool // the names below are the customer's
	settings bool // links below are the project's own storage
	uri      bool // the string is a link of the service
}

// within is the rules for the value of a member.
func (r rules) within(quoted []byte) rules {
	if r.metadata {
		return r
	}
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		var plain string
		if json.Unmarshal(quoted, &plain) == nil {
			name = []byte(plain)
		}
	}
	switch string(name) {
	case "metadata":
		return rules{metadata: true}
	case "settings":
		r.settings = true
	}
	r.uri = isURIName(name)
	return r
}

// isURIName reports whether a member's name is that of a link.
func isURIName(name []byte) bool {
	if len(name) < 3 {
		return false
	}
	switch string(name[len(name)-3:]) {
	case "Uri", "Url", "URI", "URL":
		return true
	case "uri", "url":
		return len(name) == 3
	}
	return false
}

// walker goes through valid JSON token by token, and copies it.
type walker struct {
	in     []byte
	pos    int
	copied int // how much of in is copied, or left out
	out    []byte
	only   bool // only look: nothing is copied
	found  int  // offset of the first string that is shortened, -1: none so far
}

// value goes past the next value. Validity bounds the depth.
func (w *walker) value(r rules) {
	switch w.peek() {
	case '{':
		for w.pos++; w.peek() != '}'; w.comma() {
			key := w.quoted()
			w.text(key, rules{metadata: true})
			w.peek()
			w.pos++ // :
			w.value(r.within(key))
		}
		w.pos++
	case '[':
		for w.pos++; w.peek() != ']'; w.comma() {
			w.value(r)
		}
		w.pos++
	case '"':
		w.text(w.quoted(), r)
	default: // number, true, false, null
		w.pos = jsonscan.Value(w.in, w.pos)
	}
	w.peek()
}

// peek leaves out blanks and gives the next byte, or 0 at the end.
func (w *walker) peek() byte {
	if w.pos == len(w.in) {
		return 0
	}
	if c := w.in[w.pos]; c > ' ' {
		return c
	}
	w.copy()
	w.pos = jsonscan.Blanks(w.in, w.pos)
	w.copied = w.pos
	if w.pos == len(w.in) {
		return 0
	}
	return w.in[w.pos]
}

func (w *walker) comma() {
	if w.in[w.pos] == ',' {
		w.pos++
	}
}

// copy copies what was gone past.
func (w *walker) copy() { w.copyTo(w.pos) }

// copyTo copies what comes before an offset.
func (w *walker) copyTo(end int) {
	if !w.only {
		w.out = append(w.out, w.in[w.copied:end]...)
	}
	w.copied = end
}

// quoted goes past a string, and gives it with its quotes.
func (w *walker) quoted() []byte {
	start := w.pos
	w.pos = jsonscan.String(w.in, w.pos)
	return w.in[start:w.pos]
}

// text shortens a string that was just gone past by the rules.
func (w *walker) text(quoted []byte, r rules) {
	start := w.pos - len(quoted)
	if bytes.IndexByte(quoted, '\\') < 0 && bytes.IndexByte(quoted, '?') < 0 && bytes.IndexByte(quoted, '#') < 0 {
		return // most strings
	}
	if r.uri || r.settings && looksAbsolute(quoted) {
		if at := queryStart(quoted); at >= 0 {
			w.leaveOut(start+at, w.pos-1)
		}
		return
	}
	for {
		from, to, ok := signedQuery(quoted)
		if !ok {
			return
		}
		w.leaveOut(start+from, start+to)
		quoted, start = quoted[to:], start+to
	}
}

// leaveOut leaves out a part of a string, and notes the first place where something is left out.
func (w *walker) leaveOut(from, to int) {
	if w.found < 0 {
		w.found = from
	}
	w.copyTo(from)
	w.copied = to
}

// queryStart is where the query or fragment of a quoted link begins, -1 when it has none.
func queryStart(quoted []byte) int {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return bytes.IndexAny(quoted, "?#")
	}
	for i := 1; i < len(quoted)-1; {
		c, size := unescape(quoted[i:])
		if c == '?' || c == '#' {
			return i
		}
		i += size
	}
	return -1
}

// signedQuery is where the query of the first signed link in a text begins and ends. The text ends
// in a quote.
func signedQuery(text []byte) (from, to int, ok bool) {
	var s signed
	for i := 0; i < len(text); {
		c, size := unescape(text[i:])
		switch {
		case ends(c) && s.is():
			return from, i, true
		case ends(c):
			s = signed{}
		case s.query:
			s.add(c)
		default:
			s.add(c)
			from = i // of the question mark, once s.query is set
		}
		i += size
	}
	return 0, 0, false
}

// looksAbsolute reports whether a quoted string begins like an http or https link, blanks before it
// aside.
func looksAbsolute(quoted []byte) bool {
	var s signed
	for i, n := 1, 0; i < len(quoted)-1 && n < len("https://"); {
		c, size := unescape(quoted[i:])
		i += size
		if n == 0 && c == ' ' {
			continue
		}
		n++
		if s.add(c); s.link {
			return true
		}
	}
	return false
}
