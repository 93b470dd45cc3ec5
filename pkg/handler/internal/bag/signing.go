package bag

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/action"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/signature"
)

// signTries bounds how often a signature is made, because the stored one is of no use or went away.
const signTries = 4

// Proof is what there is beside a receipt.
type Proof struct {
	Signed      bool // the signature that the receipt speaks of is stored, and was checked
	TimeStamped bool // it has a time stamp

	receipt []byte // that was just stored
}

// Signs reports whether receipts are signed. A command asks once, and freezes the answer: all its
// attempts then sign, or none does.
func (b Bags) Signs() bool { return b.Signing != nil }

// SignedCut is the version of a cut whose bag is signed: a replica that does not know it must not
// finish the bag without a signature.
const SignedCut = 2

// CutVersion is the version of a cut whose bag is signed, or is not.
func CutVersion(signed bool) int {
	if signed {
		return SignedCut
	}
	return contract.FormatVersion
}

// signed is the signature of the receipt of a sealed bag, stored before that: the one that another
// attempt stored, which counts whatever the key is now, or a new one. The receipt is its payload.
// Its error is an action.WaitError while there is no key, or no time stamp that is required.
//
// After a crash behind the signature the next attempt finds it, and stores its receipt. So the two
// always belong together, whatever becomes of the key meanwhile.
func (b Bags) signed(ctx context.Context, kind sink.BagKind, out *sink.Bag, sealed sink.SealedBag, says Statement) (*signature.Bundle, error) {
	for try, found := 0, sealed.Signature; try < signTries; try++ {
		if found {
			earlier, err := b.adoptSignature(ctx, kind, out)
			if earlier != nil || err != nil {
				return earlier, err
			}
		}
		kept := b.retention(kind, sealed)
		made, key, err := b.sign(ctx, kind, out, sealed, kept, says)
		if err == nil {
			err = b.lock(ctx, kind, out, kept) // the signature too, as it is written
		}
		if err != nil {
			return nil, err
		}
		raw, err := made.Encode()
		if err != nil {
			return nil, err
		}
		stored, err := out.PutSignature(ctx, raw, key.DER())
		if err != nil {
			return nil, fmt.Errorf("store the signature: %w", err)
		}
		if stored {
			return made, nil
		}
		found = true
	}
	return nil, fmt.Errorf("%s was stored and removed again by others, %d times", b.Layout.Key(kind, sink.SignatureFile), signTries)
}

// sign signs the receipt that says so, once the bag agrees with it.
func (b Bags) sign(ctx context.Context, kind sink.BagKind, out *sink.Bag, sealed sink.SealedBag, kept *sink.ReceiptRetention, says Statement) (*signature.Bundle, *signature.Key, error) {
	if b.Signing == nil {
		return nil, nil, b.waitFor(contract.WaitCredential, "this command's receipt is to be signed, and there is no key any more: set CONSUMER_SIGNING_KEY_FILE until it has ended")
	}
	signer, err := b.Signing.Key()
	if err != nil {
		return nil, nil, b.waitFor(contract.WaitCredential, "the receipt cannot be signed: CONSUMER_SIGNING_KEY_FILE: "+err.Error())
	}
	statement, err := b.statement(kind, sealed, kept, says)
	if err != nil {
		return nil, nil, err
	}
	statement.Sign(signer.ID(), b.Signing.Policy())
	receipt, err := statement.Encode()
	if err != nil {
		return nil, nil, fmt.Errorf("encode the receipt: %w", err)
	}
	if err := agree(ctx, out, receipt, true); err != nil {
		return nil, nil, err
	}
	made, err := signer.Sign(receipt)
	if err != nil {
		return nil, nil, err //nolint:wrapcheck // it says what it signs
	}
	return made, signer.Key, b.stamp(ctx, made)
}

// stamp has the authority, if there is one, put its time to a signature.
func (b Bags) stamp(ctx context.Context, made *signature.Bundle) (err error) {
	if b.Signing.Authority == nil {
		return nil
	}
	made.TimeStamp, err = b.Signing.Stamp(ctx, made.Signature)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case b.Signing.Policy() == signature.Optional:
		b.Log.Warn().Err(err).Msg("the receipt gets no time stamp")
		return nil
	}
	return b.waitForAuthority(err)
}

// AuthorityAnswers fails with an action.WaitError while a time stamp is needed and the authority
// gives none. It is for a command that waits for one, before all that comes before the receipt is
// done again.
func (b Bags) AuthorityAnswers(ctx context.Context) error {
	if b.Signing == nil {
		return nil
	}
	if err := b.Signing.Answers(ctx); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return b.waitForAuthority(err)
	}
	return nil
}

func (b Bags) waitForAuthority(err error) error {
	return b.waitFor(contract.WaitTimestamp, err.Error()+"; CONSUMER_TSA_REQUIRED=false lets receipts go without time stamps")
}

// waitFor is what the bag's command waits for.
func (b Bags) waitFor(what, detail string) error {
	return &action.WaitError{Waiting: contract.Waiting{For: what, Detail: detail, Since: b.Now().UTC()}}
}

// adoptSignature is the stored signature if it is of a receipt that the bag agrees with, once the
// bag is locked as that says; nil when there is none. One that is of no use was not stored by an
// attempt at this command: it is removed.
func (b Bags) adoptSignature(ctx context.Context, kind sink.BagKind, out *sink.Bag) (*signature.Bundle, error) {
	raw, key, err := b.Store.Signature(ctx, b.Layout.Bag(kind), signature.MaxBytes)
	if errors.Is(err, sink.ErrNotFound) { // the next write removes one without a right seal
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the signature: %w", err)
	}
	made, receipt, doubt := checkSignature(raw, key)
	if doubt == nil {
		var contradicts *contract.Error
		if err := agree(ctx, out, made.Payload, true); err != nil && !errors.As(err, &contradicts) {
			return nil, err
		} else if err == nil {
			if err = b.lock(ctx, kind, out, receipt.Predicate.Retention); err == nil {
				err = out.LockSignature(ctx, sink.HexSHA256(raw))
			}
			return made, err
		}
		doubt = contradicts
	}
	b.Log.Warn().Err(doubt).Str("key", string(b.Layout.Key(kind, sink.SignatureFile))).Msg("signature removed")
	if err := out.RemoveSignature(ctx); err != nil {
		return nil, fmt.Errorf("remove a signature of another receipt: %w", err)
	}
	return nil, nil
}

// checkSignature reads a stored signature, and checks that the key stored with it is the one that
// its receipt names, and made it; and that it has the time stamp that its receipt requires.
func checkSignature(raw, publicKey []byte) (*signature.Bundle, *sink.Receipt, error) {
	made, err := signature.Parse(raw)
	if err != nil {
		return nil, nil, err //nolint:wrapcheck // the caller says what it reads
	}
	receipt, err := sink.ParseReceipt(made.Payload)
	if err != nil {
		return nil, nil, err //nolint:wrapcheck // it says what it reads
	}
	key, err := signature.KeyFromDER(publicKey)
	if err != nil {
		return nil, nil, err //nolint:wrapcheck // it says what it reads
	}
	switch p := receipt.Predicate; {
	case !p.Signed || p.KeyID != key.ID() || made.KeyID != key.ID():
		return nil, nil, errors.New("the receipt names another key")
	case !made.SignedBy(key):
		return nil, nil, errors.New("the key that the receipt names did not make it")
	case p.Timestamp == string(signature.Required) && made.TimeStamp == nil:
		return nil, nil, errors.New("it has no time stamp")
	}
	if made.TimeStamp != nil {
		if _, err := signature.ParseTimeStamp(made.TimeStamp, made.Signature); err != nil {
			return nil, nil, err //nolint:wrapcheck // it says what it reads
		}
	}
	return made, receipt, nil
}

// proof is what is stored beside a receipt, given raw, too. What should be there and is not, or is
// not what the receipt speaks of, is not said to be there.
func (b Bags) proof(ctx context.Context, kind sink.BagKind, raw []byte, receipt *sink.Receipt) (Proof, error) {
	if !receipt.Predicate.Signed {
		return Proof{}, nil
	}
	stored, key, err := b.Store.OfAnyMessage().Signature(ctx, b.Layout.Bag(kind), signature.MaxBytes)
	if err != nil && !errors.Is(err, sink.ErrNotFound) {
		return Proof{}, fmt.Errorf("look for the signature: %w", err)
	}
	var made *signature.Bundle
	if err == nil {
		made, _, err = checkSignature(stored, key)
	}
	if err == nil && !bytes.Equal(made.Payload, raw) {
		err = errors.New("it is of another receipt")
	}
	if err != nil {
		b.Log.Warn().Err(err).Str("key", string(b.Layout.Key(kind, sink.SignatureFile))).Msg("the receipt is not called signed")
		return Proof{}, nil
	}
	return Proof{Signed: true, TimeStamped: made.TimeStamp != nil}, nil
}
