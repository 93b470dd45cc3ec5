package links

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
)

// errNotJSON says that a text is not one JSON value.
var errNotJSON = errors.New("not valid JSON")

// Cut gives a JSON value as received, on one line and without insignificant blanks, but without the
// queries of links that the package comment names. Key order, duplicate keys, escapes and the text
// of numbers stay as they are. It errs when raw is not JSON.
func Cut(raw json.RawMessage) (json.RawMessage, error) {
	if !json.Valid(raw) {
		return nil, errNotJSON
	}
	w := walker{in: raw, out: make([]byte, 0, len(raw)), found: -1}
	w.value(rules{})
	return w.out, nil
}

// Find gives the offset of the first string that Cut would shorten, -1 when there is none. It errs
// when raw is not JSON.
func Find(raw json.RawMessage) (int, error) {
	if !json.Valid(raw) {
		return -1, errNotJSON
	}
	w := walker{in: raw, found: -1, only: true}
	w.value(rules{})
	return w.found, nil
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
	in    []byte
	pos   int
	out   []byte
	only  bool // only look: nothing is copied
	found int  // offset of the first string that is shortened, -1: none so far
}

// value copies the next value. Validity bounds the depth.
func (w *walker) value(r rules) {
	switch w.peek() {
	case '{':
		w.take()
		for w.peek() != '}' {
			key := w.quoted()
			w.text(key, rules{metadata: true})
			w.peek()
			w.take() // :
			w.value(r.within(key))
			if w.peek() == ',' {
				w.take()
			}
		}
		w.take()
	case '[':
		w.take()
		for w.peek() != ']' {
			w.value(r)
			if w.peek() == ',' {
				w.take()
			}
		}
		w.take()
	case '"':
		w.text(w.quoted(), r)
	default: // number, true, false, null
		start := w.pos
		for w.pos < len(w.in) && !strings.ContainsRune(",]} \t\r\n", rune(w.in[w.pos])) {
			w.pos++
		}
		w.copy(w.in[start:w.pos])
	}
}

// peek skips blanks and gives the next byte, or 0 at the end.
func (w *walker) peek() byte {
	for w.pos < len(w.in) {
		switch w.in[w.pos] {
		case ' ', '\t', '\r', '\n':
			w.pos++
		default:
			return w.in[w.pos]
		}
	}
	return 0
}

func (w *walker) take() {
	w.copy(w.in[w.pos : w.pos+1])
	w.pos++
}

func (w *walker) copy(b []byte) {
	if !w.only {
		w.out = append(w.out, b...)
	}
}

// quoted consumes a string with its quotes.
func (w *walker) quoted() []byte {
	w.peek()
	start := w.pos
	for w.pos++; w.in[w.pos] != '"'; w.pos++ {
		if w.in[w.pos] == '\\' {
			w.pos++
		}
	}
	w.pos++
	return w.in[start:w.pos]
}

// text copies a string that was just consumed, shortened by the rules.
func (w *walker) text(quoted []byte, r rules) {
	start := w.pos - len(quoted)
	switch {
	case bytes.IndexByte(quoted, '\\') < 0 && !bytes.ContainsAny(quoted, "?#"): // most strings
	case r.uri || r.settings && looksAbsolute(quoted):
		if at := queryStart(quoted); at >= 0 {
			w.note(start + at)
			w.copy(quoted[:at])
			quoted = quoted[len(quoted)-1:]
		}
	default:
		for {
			from, to, ok := signedQuery(quoted)
			if !ok {
				break
			}
			w.note(start + from)
			w.copy(quoted[:from])
			quoted, start = quoted[to:], start+to
		}
	}
	w.copy(quoted)
}

// queryStart is where the query or fragment of a quoted link begins, -1 when it has none.
func queryStart(quoted []byte) int {
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

// note remembers the first place where something is removed.
func (w *walker) note(at int) {
	if w.found < 0 {
		w.found = at
	}
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
