package cv

import (
	"encoding/json"
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
	for _, layout := range [...]string{time.RFC3339, zoneless} {
		if v, err := time.Parse(layout, s); err == nil {
			return Time{v.UTC()}
		}
	}
	return Time{}
}
