package cv

import (
	"encoding/json"
	"fmt"
	"time"
)

// Time is a point in time as the service writes it, in UTC. The service has two shapes, one with Z and one without a zone, which means
// UTC too; null, "" and absent are the zero Time.
type Time struct{ time.Time }

// zoneless is the shape of image, tag and region times. Parsing accepts any number of fraction digits.
const zoneless = "2006-01-02T15:04:05"

// UnmarshalJSON reads both shapes.
func (t *Time) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*t = Time{}
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("decode time: %w", err)
	}
	v, err := parseTime(s)
	if err != nil {
		return fmt.Errorf("decode time: %w", err)
	}
	*t = v
	return nil
}

// MarshalJSON writes RFC 3339 in UTC, and null for the zero Time.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(t.UTC().Format(time.RFC3339Nano))
}

func parseTime(s string) (Time, error) {
	if s == "" {
		return Time{}, nil
	}
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		var zonelessErr error
		if v, zonelessErr = time.ParseInLocation(zoneless, s, time.UTC); zonelessErr != nil {
			return Time{}, err
		}
	}
	return Time{v.UTC()}, nil
}
