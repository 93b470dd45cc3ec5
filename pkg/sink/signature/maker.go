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
	Asked     func(error)             // hears how each request to the authority ended, unless it was called off; may be nil
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

// Stamp asks the authority, which there must be, for a time stamp over a signature; see
// Authority.Stamp.
func (m *Maker) Stamp(ctx context.Context, signature []byte) ([]byte, error) {
	response, err := m.Authority.Stamp(ctx, signature)
	if m.Asked != nil && (err == nil || ctx.Err() == nil) {
		m.Asked(err)
	}
	return response, err
}

// Try asks the authority for a time stamp over nothing that exists, and fails where it gives none.
func (m *Maker) Try(ctx context.Context) error {
	nothing := make([]byte, 32)
	_, _ = rand.Read(nothing) // it never fails
	_, err := m.Stamp(ctx, nothing)
	return err
}

// Answers tries the authority where a time stamp is needed, and fails where none is given.
func (m *Maker) Answers(ctx context.Context) error {
	if m.Policy() != Required {
		return nil
	}
	return m.Try(ctx)
}
