// Package secret has the one type that keys, tokens and passwords are kept in.
package secret

import "fmt"

// Redacted is what is shown in place of a secret.
const Redacted = "[redacted]"

// Text is a secret. However it is printed, marshalled or logged, also as a part of something else
// and in a field that is not exported, it does not show. The zero value is none.
type Text struct{ value *string } // printing follows no pointers below the top

// New keeps a secret; an empty one is none.
func New(value string) Text {
	if value == "" {
		return Text{}
	}
	return Text{&value}
}

// Reveal is the secret itself; empty when there is none.
func (t Text) Reveal() string {
	if t.value == nil {
		return ""
	}
	return *t.value
}

// IsSet reports whether there is a secret.
func (t Text) IsSet() bool { return t.value != nil }

// String is Redacted, or empty when there is none.
func (t Text) String() string {
	if t.IsSet() {
		return Redacted
	}
	return ""
}

// Format prints String under every verb.
func (t Text) Format(f fmt.State, _ rune) { fmt.Fprint(f, t.String()) }

// MarshalText is String, for JSON, YAML and logs.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.String()), nil }
