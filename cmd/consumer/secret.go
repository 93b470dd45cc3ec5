package main

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cvconsumer/cvconsumer/internal/keyfile"
	"github.com/cvconsumer/cvconsumer/internal/secret"
)

// Secret is a credential, given as a value or as a file that is read at each use (so that a
// rotated file counts at once). However it is printed, marshalled or logged, its value does not
// show.
type Secret struct {
	value secret.Text
	file  string
}

// secretOf is a secret given as a value.
func secretOf(value string) Secret { return Secret{value: secret.New(value)} }

// String is "[redacted]", or "" of an unset secret.
func (s Secret) String() string {
	if !s.IsSet() {
		return ""
	}
	return secret.Redacted
}

// Format prints "[redacted]" under every verb.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// MarshalText gives "[redacted]", for JSON, YAML and logs.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// IsSet reports whether there is a value or a file.
func (s Secret) IsSet() bool { return s.value.IsSet() || s.file != "" }

// File is the file's path, or "" of a secret given as a value.
func (s Secret) File() string { return s.file }

// Reveal gives the value; a file is read now, without surrounding white space. An empty file is an
// error.
func (s Secret) Reveal() (string, error) {
	if s.file == "" {
		return s.value.Reveal(), nil
	}
	b, err := keyfile.Read(s.file)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err) // names the path, never the content
	}
	b = bytes.TrimSpace(b)
	if len(b) == 0 {
		return "", errors.New("read secret: " + s.file + " is empty")
	}
	return string(b), nil
}
