package signature

import (
	"context"
	"crypto/rand"
)

// Policy is whether receipts get time stamps, as they say it.
type Policy string

// What a receipt says of its time stamp.
const (
	Required Policy = "required" // it has one
	Optional Policy = "optional" // it has one if the authority answered
	None     Policy = "none"     // it has none
)

// Maker is all that a process needs to sign receipts.
type Maker struct {
	Key       func() (*Signer, error) // reads the key; called for each receipt, so that a rotated key counts at once
	Authority *Authority              // nil: there are no time stamps
	Optional  bool                    // a receipt may go without a time stamp
}

// Policy is that of the receipts that the maker signs.
func (m *Maker) Policy() Policy {
	switch {
	case m.Authority == nil:
		return None
	case m.Optional:
		return Optional
	}
	return Required
}

// Answers asks the authority for a time stamp over nothing that exists, and fails where one would
// be needed and is not given.
func (m *Maker) Answers(ctx context.Context) error {
	if m.Policy() != Required {
		return nil
	}
	nothing := make([]byte, 32)
	_, _ = rand.Read(nothing) // it never fails
	_, err := m.Authority.Stamp(ctx, nothing)
	return err
}
