package cv

import (
	"encoding/json"
	"strings"
	"time"
)

// Time is a point in time as the service writes it, in UTC. The service has two shapes, one with Z
// and one without a zone, which means UTC too; null, "" and absent are the zero Time. So is what
// cannot be read: Raw of the thing it belongs to still has it.
type Time struct{ time.Time }

// zoneless is the shape of image, tag and region times. Parsing accepts any number of fraction
// digits.
const zoneless = "2006-01-02T15:04:05"

// UnmarshalJSON reads both shapes.
func (t *Time) UnmarshalJSON(b []byte) error {
	*t = Time{}
	var s string
	if json.Unmarshal(b, &s) == nil {
		*t = parseTime(s)
	}
	return nil
}

// MarshalJSON writes RFC 3339 in UTC, and null for the zero Time.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(t.UTC().Format(time.RFC3339Nano))
}

func parseTime(s string) Time {
	if t, ok := plainTime(s); ok {
		return t
	}
	for _, layout := range [...]string{time.RFC3339, zoneless} {
		if v, err := time.Parse(layout, s); err == nil {
			return Time{v.UTC()}
		}
	}
	return Time{}
}

// plainTime reads the shapes that the service writes, in UTC with up to nine digits of a fraction.
// Parsing one without a zone by the first layout costs an error each time.
func plainTime(s string) (Time, bool) {
	const form = "0000-00-00T00:00:00"
	if len(s) < len(form) {
		return Time{}, false
	}
	var parts [6]int
	for i, part := 0, 0; i < len(form); i++ {
		switch c := s[i]; {
		case form[i] == '0' && isDigit(c):
			parts[part] = parts[part]*10 + int(c-'0')
		case form[i] != '0' && c == form[i]:
			part++
		default:
			return Time{}, false
		}
	}
	fraction := strings.TrimSuffix(s[len(form):], "Z")
	nanos := 0
	if fraction != "" {
		if fraction[0] != '.' || len(fraction) < 2 || len(fraction) > 10 {
			return Time{}, false
		}
		for i := 1; i < 10; i++ {
			nanos *= 10
			if i < len(fraction) {
				if !isDigit(fraction[i]) {
					return Time{}, false
				}
				nanos += int(fraction[i] - '0')
			}
		}
	}
	t := time.Date(parts[0], time.Month(parts[1]), parts[2], parts[3], parts[4], parts[5], nanos, time.UTC)
	if y, m, d := t.Date(); y != parts[0] || int(m) != parts[1] || d != parts[2] || parts[3] > 23 || parts[4] > 59 || parts[5] > 59 {
		return Time{}, false // no such day or time
	}
	return Time{t}, true
}
