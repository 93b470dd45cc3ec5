package verify

import (
	"bytes"
	"context"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/signature"
)

// readSignature checks the receipt's signature with the keys that were given. Without keys it
// checks only the signature of a receipt that says it is signed: that it is of this receipt, and
// has the key and the time stamp that the receipt names. It then does not read a signature that
// another party put beside an unsigned receipt.
func (v *verifier) readSignature(ctx context.Context) error {
	bad := func(format string, args ...any) { v.problem(sink.SignatureFile, format, args...) }
	_, there := v.tagFiles[sink.SignatureFile]
	says := v.receipt != nil && v.receipt.Predicate.Signed
	switch {
	case v.unsigned:
		return nil
	case !there && says:
		bad("it is missing: the receipt says that it is signed")
		return nil
	case !there && len(v.o.Keys) > 0:
		bad("it is missing: the receipt is unsigned")
		return nil
	case !there, v.receipt == nil, !says && len(v.o.Keys) == 0:
		return nil
	}
	raw, _, err := v.readSmall(ctx, sink.SignatureFile)
	if err != nil || raw == nil {
		return err
	}
	b, err := signature.Parse(raw)
	if err == nil {
		err = checkMembers(raw, false)
	}
	if err != nil {
		bad("%v", err)
		v.wrong()
		return nil
	}
	p := &v.receipt.Predicate
	switch {
	case !bytes.Equal(b.Payload, v.raw):
		bad("it is the signature of another receipt")
		v.wrong()
	case says && b.KeyID != p.KeyID:
		bad("it names the key %s, the receipt names %s", quote(b.KeyID), p.KeyID)
		v.wrong()
	default:
		v.checkSigner(b)
	}
	v.checkTimeStamp(b)
	return nil
}

// wrong records that the signature is wrong. Without keys it stays unchecked.
func (v *verifier) wrong() {
	if len(v.o.Keys) > 0 {
		v.report.Signature = Wrong
	}
}

// checkSigner finds the key that made a signature of this receipt.
func (v *verifier) checkSigner(b *signature.Bundle) {
	if len(v.o.Keys) == 0 {
		return
	}
	p := &v.receipt.Predicate
	for _, key := range v.o.Keys {
		if !b.SignedBy(key) {
			continue
		}
		if p.Signed && p.KeyID != key.ID() {
			v.problem(sink.SignatureFile, "the key %s made it, the receipt names %s", key.ID(), p.KeyID)
			v.wrong()
			return
		}
		v.report.Signature, v.report.Signer = Signed, key.ID()
		return
	}
	v.wrong()
	v.problem(sink.SignatureFile, "none of the given keys made it: it names the key %s", quote(b.KeyID))
}

// clocksApart is how far the clocks of a service and of an authority may be from one another: the
// service takes no time stamp that is more than 15 minutes from its own time.
const clocksApart = time.Hour

// checkTimeStamp checks a signature's time stamp, but for its authority. What was signed before it
// says that it ended is a receipt of something to come.
func (v *verifier) checkTimeStamp(b *signature.Bundle) {
	if b.TimeStamp == nil {
		if v.receipt.Predicate.Timestamp == string(signature.Required) {
			v.problem(sink.SignatureFile, "it has no time stamp, which the receipt says is required")
		}
		return
	}
	stamp, err := signature.ParseTimeStamp(b.TimeStamp, b.Signature)
	if err != nil {
		v.problem(sink.SignatureFile, "its time stamp does not hold: %v", err)
		return
	}
	v.report.TimeStamp = &stamp
	if end := v.receipt.Predicate.FinishedAt; stamp.Time.Before(end.Add(-clocksApart)) {
		v.problem(sink.SignatureFile, "its time stamp is of %s, before the command ended: the receipt says %s", stamp.Time.Format(time.RFC3339), end.UTC().Format(time.RFC3339))
	}
}
