package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// FormatVersion is the `v` of all JSON this build persists and publishes: jobs, plans, units, event
// data.
const FormatVersion = 1

// ErrNewer says that persisted JSON was written by a newer version of the product. The replica that
// meets it hands the message back, and no attempt counts. It is matched with errors.Is; the error
// itself is a *NewerError.
var ErrNewer = errors.New("written by a newer version")

// NewerError is ErrNewer with its particulars.
type NewerError struct {
	What string // "job", "unit", …
	V    int    // the version met
	Up   int    // the newest that this build knows; zero is FormatVersion
}

// Error says what is newer, and by how much.
func (e *NewerError) Error() string {
	known := e.Up
	if known == 0 {
		known = FormatVersion
	}
	return fmt.Sprintf("%s has format version %d, this build knows up to %d: %v", e.What, e.V, known, ErrNewer)
}

// Is matches ErrNewer.
func (e *NewerError) Is(target error) bool { return target == ErrNewer }

// DecodeVersioned decodes raw, a persisted JSON object with a field `v`, into the value that into
// points to. what names it in errors. It fails with ErrNewer when `v` is above FormatVersion,
// however the rest looks, and with another error when it is missing, or raw is malformed. Unknown
// fields are tolerated: a field that must not be overlooked raises `v`.
func DecodeVersioned(raw []byte, what string, into any) error {
	return DecodeUpTo(FormatVersion, raw, what, into)
}

// DecodeUpTo is DecodeVersioned of a format that has versions of its own, of which this build knows
// those up to known.
func DecodeUpTo(known int, raw []byte, what string, into any) error {
	var head struct {
		V *int `json:"v"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return fmt.Errorf("decode %s: %w", what, err)
	}
	if head.V == nil || *head.V < 1 {
		return fmt.Errorf("decode %s: no format version", what)
	}
	if *head.V > known {
		return &NewerError{What: what, V: *head.V, Up: known}
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("decode %s: %w", what, err)
	}
	return nil
}

// Marshal is json.Marshal that leaves <, > and & alone, so that what the service said is kept to
// the byte.
func Marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err //nolint:wrapcheck // callers say what they were encoding
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}
