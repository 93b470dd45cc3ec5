package sink

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// foldAt is the length beyond which lines of bag-info.txt are continued, as RFC 8493 recommends.
const foldAt = 79

// Field is one line of bag-info.txt, such as Bagging-Date or External-Identifier.
type Field struct{ Name, Value string }

// bagInfo is the text of bag-info.txt. Values are put on one line (runs of white space and control
// characters become one blank) and continued on further lines where they are long.
func bagInfo(fields []Field) ([]byte, error) {
	var out []byte
	for i, f := range fields {
		valid := f.Name != "" && !strings.ContainsFunc(f.Name, func(r rune) bool {
			return r != '-' && (r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r))
		})
		if !valid || strings.EqualFold(f.Name, OxumField) && i != len(fields)-1 {
			return nil, fmt.Errorf("bag-info.txt: %q cannot be the name of a field", f.Name)
		}
		line := f.Name + ":"
		for _, word := range strings.FieldsFunc(strings.ToValidUTF8(f.Value, "\uFFFD"), BreaksInfo) {
			if len(line)+1+len(word) > foldAt && line != f.Name+":" {
				out = append(append(out, line...), '\n')
				line = ""
			}
			line += " " + word
		}
		if line == f.Name+":" {
			line += " " // RFC 8493 wants a blank even before nothing
		}
		out = append(append(out, line...), '\n')
	}
	return out, nil
}

// BreaksInfo reports whether a character of a value becomes a blank in bag-info.txt.
func BreaksInfo(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

// ParseBagInfo reads the fields of bag-info.txt, with continued lines put together by one blank.
func ParseBagInfo(b []byte) ([]Field, error) {
	var fields []Field
	for line, err := range Lines(bytes.NewReader(b), maxLineBytes) {
		if err != nil {
			return nil, fmt.Errorf("parse bag-info.txt: %w", err)
		}
		text := string(line)
		if strings.HasPrefix(text, " ") || strings.HasPrefix(text, "\t") {
			if len(fields) == 0 {
				return nil, errors.New("parse bag-info.txt: it begins with a continued line")
			}
			last := &fields[len(fields)-1]
			last.Value = strings.TrimSpace(last.Value + " " + strings.TrimSpace(text))
			continue
		}
		name, value, ok := strings.Cut(text, ":")
		if !ok || name == "" {
			return nil, fmt.Errorf("parse bag-info.txt: line %q has no field name", text[:min(len(text), 80)])
		}
		fields = append(fields, Field{Name: name, Value: strings.TrimSpace(value)})
	}
	return fields, nil
}
