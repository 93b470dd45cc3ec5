package contract

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/links"
)

// member is one member of a JSON object, or an element of an array under the array's name.
type member struct {
	name string
	raw  json.RawMessage
}

func (f member) isNull() bool { return string(f.raw) == "null" }

// text reads a string of at least one character.
func (f member) text() (s string, err error) {
	if f.raw[0] != '"' {
		return "", faultf(f.name, "must be a string")
	}
	if err := json.Unmarshal(f.raw, &s); err != nil {
		return "", faultf(f.name, "not a readable string")
	}
	if s == "" {
		return "", faultf(f.name, "must not be empty")
	}
	return s, nil
}

// textUpTo reads a string of 1 to limit characters.
func (f member) textUpTo(limit int) (string, error) {
	s, err := f.text()
	if err == nil && utf8.RuneCountInString(s) > limit {
		return "", faultf(f.name, "longer than %d characters", limit)
	}
	return s, err
}

// line reads a string of 1 to limit characters that is one line of printable text.
func (f member) line(limit int) (string, error) {
	s, err := f.kept(limit)
	if err == nil && strings.ContainsFunc(s, isControl) {
		return "", faultf(f.name, "must not contain control characters, line breaks or characters that change the direction of text")
	}
	return s, err
}

// isControl reports whether a character ends a line, controls a terminal, or changes the order in
// which others are shown.
func isControl(r rune) bool {
	switch {
	case unicode.IsControl(r), r == '\u2028', r == '\u2029', r == '\u200e', r == '\u200f':
		return true
	}
	return '\u202a' <= r && r <= '\u202e' || '\u2066' <= r && r <= '\u2069'
}

// kept reads a string of 1 to limit characters that bundles keep as it is.
func (f member) kept(limit int) (string, error) {
	s, err := f.textUpTo(limit)
	if err == nil {
		err = checkLinks(f.name, s)
	}
	return s, err
}

// checkLinks refuses text with a signed link, which no bundle may hold.
func checkLinks(field, text string) error {
	if links.InText(text) {
		return faultf(field, "must not contain a signed link, which gives access to each of its readers: leave out its query")
	}
	return nil
}

func (f member) boolean() (bool, error) {
	if s := string(f.raw); s == "true" || s == "false" {
		return s == "true", nil
	}
	return false, faultf(f.name, "must be true or false")
}

// list reads an array of 1 to limit elements; limit 0 is no limit.
func (f member) list(of string, limit int) ([]member, error) {
	if f.raw[0] != '[' {
		return nil, faultf(f.name, "must be an array of %s", of)
	}
	var elements []json.RawMessage
	if err := json.Unmarshal(f.raw, &elements); err != nil {
		return nil, faultf(f.name, "not a readable array")
	}
	switch {
	case len(elements) == 0:
		return nil, faultf(f.name, "must not be empty: leave it out, or name something")
	case limit > 0 && len(elements) > limit:
		return nil, faultf(f.name, "has more than %d elements", limit)
	}
	list := make([]member, len(elements))
	for i, raw := range elements {
		list[i] = member{fmt.Sprintf("%s[%d]", f.name, i), raw}
		if list[i].isNull() {
			return nil, faultf(f.name, "element %d must not be null", i)
		}
	}
	return list, nil
}

func (f member) uuids(limit int) ([]uuid.UUID, error) {
	list, err := f.list("UUIDs", limit)
	if err != nil {
		return nil, err
	}
	ids := make([]uuid.UUID, len(list))
	for i, e := range list {
		s, err := e.text()
		if err != nil || !uuidPattern.MatchString(s) {
			return nil, faultf(f.name, "element %d must be a UUID, 8-4-4-4-12 hex digits", i)
		}
		if ids[i], err = uuid.Parse(s); err != nil || ids[i] == uuid.Nil {
			return nil, faultf(f.name, "element %d is the nil UUID, which names nothing", i)
		}
	}
	return ids, nil
}

func (f member) categories() ([]Category, error) {
	list, err := f.list("category names", 0)
	if err != nil {
		return nil, err
	}
	known := Categories()
	set := make([]Category, len(list))
	for i, e := range list {
		s, err := e.text()
		if set[i] = Category(s); err != nil || !slices.Contains(known, set[i]) {
			return nil, faultf(f.name, "element %d is not a category: use %s", i, joinCategories(known))
		}
	}
	return set, nil
}

// metadata reads an object of strings, or an array of such objects. No key and no value ever gets
// into a fault.
func (f member) metadata() ([]map[string]string, error) {
	if f.raw[0] == '{' {
		pairs, err := f.pairs("")
		return []map[string]string{pairs}, err
	}
	if f.raw[0] != '[' {
		return nil, faultf(f.name, "must be an object of strings, or an array of such objects")
	}
	list, err := f.list("objects of strings", MaxMetadataObjects)
	if err != nil {
		return nil, err
	}
	objects := make([]map[string]string, len(list))
	for i, e := range list {
		if objects[i], err = (member{f.name, e.raw}).pairs(fmt.Sprintf("element %d ", i)); err != nil {
			return nil, err
		}
	}
	return objects, nil
}

// pairs reads one object of strings; which begins the sentence that says what is wrong with it.
func (f member) pairs(which string) (map[string]string, error) {
	fields, isObject, err := readObject(f.name, f.raw)
	switch {
	case err != nil:
		return nil, faultf(f.name, "%shas a key twice", which)
	case !isObject:
		return nil, faultf(f.name, "%smust be an object of strings", which)
	case len(fields) == 0:
		return nil, faultf(f.name, "%smust not be empty: name at least one pair", which)
	case len(fields) > MaxMetadataPairs:
		return nil, faultf(f.name, "%shas more than %d pairs", which, MaxMetadataPairs)
	}
	pairs := make(map[string]string, len(fields))
	for i, p := range fields {
		if n := utf8.RuneCountInString(p.name); n == 0 || n > MaxMetadataKey {
			return nil, faultf(f.name, "%skey %d must have 1 to %d characters", which, i, MaxMetadataKey)
		}
		if links.InText(p.name) {
			return nil, faultf(f.name, "%skey %d must not contain a signed link", which, i)
		}
		value, err := (member{f.name, p.raw}).textUpTo(MaxMetadataValue)
		if err != nil {
			return nil, faultf(f.name, "%svalue %d must be a string of 1 to %d characters", which, i, MaxMetadataValue)
		}
		pairs[p.name] = value
	}
	return pairs, nil
}

func (f member) time() (*time.Time, error) {
	s, err := f.text()
	if err != nil {
		return nil, err
	}
	if !timePattern.MatchString(s) {
		return nil, faultf(f.name, "must be an RFC 3339 time with a zone, such as 2026-01-02T15:04:05Z")
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if t = t.UTC(); err != nil || t.Year() < 1 || t.Year() > 9999 {
		return nil, faultf(f.name, "no such day or time of day")
	}
	return &t, nil
}

func (f member) digest() (string, error) {
	s, err := f.text()
	if err != nil {
		return "", err
	}
	if b, err := hex.DecodeString(s); err != nil || len(b) != 32 {
		return "", faultf(f.name, "must be a SHA-256 in hex: 64 digits, as the plan's event gives it")
	}
	return strings.ToLower(s), nil
}

func (f member) expect() (*Expect, error) {
	fields, isObject, err := readObject(f.name, f.raw)
	switch {
	case err != nil:
		return nil, err
	case !isObject:
		return nil, faultf(f.name, "must be an object with project_name, max_images or both")
	case len(fields) == 0:
		return nil, faultf(f.name, "must not be empty: say project_name, max_images or both")
	}
	var e Expect
	for _, g := range fields {
		inner := member{f.name + "." + g.name, g.raw}
		switch g.name {
		case "project_name":
			e.ProjectName, err = inner.kept(MaxProjectName)
		case "max_images":
			e.MaxImages, err = inner.count()
		default:
			err = unknownField(f.name+".", g.name)
			for _, name := range []string{"project_name", "max_images"} {
				if strings.EqualFold(g.name, name) {
					err = faultf(f.name+"."+showable(g.name), "wrong letter case: write %s", name)
				}
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return &e, nil
}

// count reads a number of things: plain digits, as JSON readers keep them exactly.
func (f member) count() (*int64, error) {
	n, err := strconv.ParseInt(string(f.raw), 10, 64)
	if err != nil || n < 0 || n > MaxExpectImages || f.raw[0] == '-' {
		return nil, faultf(f.name, "must be a whole number from 0 to %d, in digits", MaxExpectImages)
	}
	return &n, nil
}

// checkText holds raw to limit bytes of well-formed JSON in UTF-8, so that splitting it cannot
// fail.
func checkText(field string, raw []byte, limit int) error {
	switch {
	case len(raw) > limit:
		return faultf(field, "larger than %d bytes", limit)
	case len(bytes.TrimSpace(raw)) == 0:
		return faultf(field, "empty: must be a JSON object")
	case !utf8.Valid(raw):
		return faultf(field, "not UTF-8")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(raw, &whole); err != nil {
		at := int64(0)
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			at = syntax.Offset
		}
		return faultf(field, "not JSON: broken at byte %d", at)
	}
	return nil
}

// checkSurrogates refuses well-formed JSON that names half of a surrogate pair by an escape;
// encoding/json reads it as U+FFFD in silence.
func checkSurrogates(field string, raw []byte) error {
	broken := faultf(field, "has half of a surrogate pair, which is no character")
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			return nil
		}
		raw = raw[i:]
		if raw[1] != 'u' {
			raw = raw[2:]
			continue
		}
		first := escapedUnit(raw)
		raw = raw[6:]
		switch {
		case first >= 0xDC00 && first <= 0xDFFF:
			return broken
		case first >= 0xD800 && first <= 0xDBFF:
			if second := escapedUnit(raw); second < 0xDC00 || second > 0xDFFF {
				return broken
			}
			raw = raw[6:]
		}
	}
}

// escapedUnit returns the UTF-16 unit that the \uXXXX at the beginning of raw names, 0 when there
// is none.
func escapedUnit(raw []byte) uint64 {
	if len(raw) < 6 || raw[0] != '\\' || raw[1] != 'u' {
		return 0
	}
	u, err := strconv.ParseUint(string(raw[2:6]), 16, 32)
	if err != nil {
		return 0
	}
	return u
}

// readObject splits an object, which is known to be well-formed JSON, into its members in their
// order. It fails when a key is there twice, escapes resolved, naming the key below parent only
// when parent is a whole message.
func readObject(parent string, raw []byte) (fields []member, isObject bool, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, false, nil // a scalar; raw is known to be well-formed
	}
	seen := map[string]bool{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, true, faultf(parent, "not JSON")
		}
		f := member{name: key.(string)} // the decoder gives keys as strings
		if seen[f.name] {
			return fields, true, duplicate(parent, f.name)
		}
		seen[f.name] = true
		if err := dec.Decode(&f.raw); err != nil {
			return nil, true, faultf(parent, "not JSON")
		}
		fields = append(fields, f)
	}
	return fields, true, nil
}

func duplicate(parent, name string) error {
	field := showable(name)
	if parent != "data" && parent != "event" {
		field = parent + "." + field
	}
	return faultf(field, "given twice")
}
