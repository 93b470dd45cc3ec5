package jsonscan

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Plain reads JSON in the form that most programs write. It gives up at anything that has to be
// judged by package encoding/json, which reads the text then in its place.
type Plain struct {
	text []byte
	at   int
	odd  bool // it gave up
}

// NewPlain begins to read a text.
func NewPlain(text []byte) *Plain { return &Plain{text: text} }

// Done reports whether the text was read to its end, and all was in that form. If not, nothing that
// was read counts.
func (p *Plain) Done() bool { return !p.odd && Blanks(p.text, p.at) == len(p.text) }

// Left is how many bytes of the text were not read yet.
func (p *Plain) Left() int { return len(p.text) - p.at }

// GiveUp notes that there is something that encoding/json has to judge.
func (p *Plain) GiveUp() { p.odd = true }

// take skips blanks and c, which has to come then.
func (p *Plain) take(c byte) {
	if p.at = Blanks(p.text, p.at); p.at == len(p.text) || p.text[p.at] != c {
		p.GiveUp()
		return
	}
	p.at++
}

// ends skips blanks and reports whether c comes then, or nothing that could be read. It skips c.
func (p *Plain) ends(c byte) bool {
	if p.at = Blanks(p.text, p.at); p.odd || p.at == len(p.text) {
		p.GiveUp()
		return true
	}
	if p.text[p.at] != c {
		return false
	}
	p.at++
	return true
}

// Object reads an object. member reads the value of each of the members known, by its index; others
// are skipped. It gives up where a member is there twice, or is a known one in another letter case.
func (p *Plain) Object(known []string, member func(i int)) {
	var had uint64
	p.take('{')
	for first := true; !p.ends('}'); first = false {
		if !first {
			p.take(',')
		}
		name := p.Raw()
		p.take(':')
		switch i := p.index(known, name); {
		case p.odd:
			return
		case i < 0:
			p.Raw()
		case had&(1<<i) != 0:
			p.GiveUp()
		default:
			had |= 1 << i
			if !p.null() {
				member(i)
			}
		}
	}
}

// index is which of the members known has a quoted name, -1: none.
func (p *Plain) index(known []string, quoted []byte) int {
	if len(quoted) < 2 || quoted[0] != '"' {
		p.GiveUp()
		return -1
	}
	name := quoted[1 : len(quoted)-1]
	for i, k := range known {
		if string(name) == k {
			return i
		}
	}
	for _, c := range name {
		if c == '\\' || c >= utf8.RuneSelf {
			p.GiveUp()
		}
	}
	for _, k := range known {
		if len(name) == len(k) && bytes.EqualFold(name, []byte(k)) {
			p.GiveUp()
		}
	}
	return -1
}

// List reads a list.
func (p *Plain) List(element func()) {
	p.take('[')
	for first := true; !p.ends(']'); first = false {
		if !first {
			p.take(',')
		}
		element()
	}
}

// Raw skips blanks, and reads the next value as it stands there.
func (p *Plain) Raw() []byte {
	p.at = Blanks(p.text, p.at)
	end := Value(p.text, p.at)
	if p.odd || end < 0 {
		p.GiveUp()
		return nil
	}
	value := p.text[p.at:end]
	p.at = end
	return value
}

// null reports whether null comes next, which leaves everything as it is. It skips it.
func (p *Plain) null() bool {
	p.at = Blanks(p.text, p.at)
	if !bytes.HasPrefix(p.text[p.at:], []byte("null")) {
		return false
	}
	p.at += len("null")
	return true
}

// Quoted reads a string without escapes, in UTF-8, without its quotes.
func (p *Plain) Quoted() []byte {
	value := p.Raw()
	if len(value) < 2 || value[0] != '"' || bytes.IndexByte(value, '\\') >= 0 || !utf8.Valid(value) {
		p.GiveUp()
		return nil
	}
	return value[1 : len(value)-1]
}

// String reads a string without escapes.
func (p *Plain) String(into *string) { *into = string(p.Quoted()) }

// ID reads an id in its usual form.
func (p *Plain) ID(into *uuid.UUID) {
	text := p.Quoted()
	id, err := uuid.ParseBytes(text)
	if err != nil || len(text) != 36 {
		p.GiveUp()
	}
	*into = id
}

// Int reads an integer of up to nine digits.
func (p *Plain) Int(into *int) {
	text := p.Raw()
	n, err := strconv.Atoi(string(text))
	if err != nil || len(text) > 9 {
		p.GiveUp()
	}
	*into = n
}

// Float reads a number.
func (p *Plain) Float(into *float64) {
	text := p.Raw()
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		p.GiveUp()
	}
	*into = f
}

// Texts reads an object of texts.
func (p *Plain) Texts(into *map[string]string) {
	*into = map[string]string{}
	p.take('{')
	for first := true; !p.ends('}'); first = false {
		if !first {
			p.take(',')
		}
		name := string(p.Quoted())
		p.take(':')
		(*into)[name] = string(p.Quoted())
	}
}
