package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/cvconsumer/cvconsumer/internal/keyfile"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract/trust"
)

// signFlags sign what is published.
type signFlags struct {
	Seed     string `name:"sign" placeholder:"FILE" help:"Sign the command with the NKey seed in this file, where the service demands signatures (consumer keys new --type nkey makes one)."`
	Audience string `name:"audience" var:"CONSUMER_AUDIENCE" placeholder:"TEXT" help:"The service's CONSUMER_AUDIENCE, which is signed too."`
}

// signer signs and approves commands for one service.
type signer struct {
	pair     nkeys.KeyPair
	key      string // the public one
	audience string
}

// signer reads the seed; nil without --sign.
func (f signFlags) signer(p *program) (*signer, error) {
	if f.Seed == "" {
		return nil, nil
	}
	return newSigner(p, "--sign", f.Seed, f.Audience)
}

// newSigner reads a seed, which a flag names.
func newSigner(p *program, flag, file, audience string) (*signer, error) {
	if err := trust.CheckAudience(audience); err != nil {
		return nil, fmt.Errorf("%w: --audience: %w: the name that the service has as CONSUMER_AUDIENCE", errUsage, err)
	}
	raw, err := keyfile.Read(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errUsage, flag, err)
	}
	if keyfile.OpenToAll(file) {
		fmt.Fprintf(plain{p.stderr}, "consumer: warning: %s: every user of this machine may read %s: chmod 600 it\n", flag, file)
	}
	pair, err := nkeys.ParseDecoratedNKey(raw) // a bare seed, or a credentials file
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %s has no NKey seed, such as consumer keys new --type nkey writes: %w", errUsage, flag, file, err)
	}
	key, err := pair.PublicKey()
	if err == nil {
		err = trust.CheckKey(key)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %s: %w", errUsage, flag, file, err)
	}
	return &signer{pair: pair, key: key, audience: audience}, nil
}

// add adds a header to a message.
func (s *signer) add(m contract.Message, k trust.Kind) error {
	value, err := k.Sign(s.pair, trust.StatementOf(s.audience, m))
	if err != nil {
		return err //nolint:wrapcheck // it says what it makes
	}
	m.Header[k.Header] = []string{value}
	return nil
}

// signedFor is until when a signed delete may begin that does not say it.
const signedFor = 24 * time.Hour

// bounded is a signed delete that says until when it may begin: for a day, where it does not say
// it. Every other order stays as it is.
func (o order) bounded() (order, error) {
	if o.signer == nil || o.action != contract.ActionDelete {
		return o, nil
	}
	var given struct {
		NotAfter json.RawMessage `json:"not_after"`
	}
	if err := decodeObject(o.data, &given); err != nil || given.NotAfter != nil {
		return o, err
	}
	limit := time.Now().Add(signedFor).UTC().Truncate(time.Second) //nolint:forbidigo // the requester's clock
	var err error
	o.data, err = withFields(o.data, map[string]any{"not_after": limit})
	return o, err
}

// unsignedHint is what a requester can do about a command that was refused as unsigned, or not
// replayed.
func unsignedHint(e *contract.Error) string {
	switch {
	case e == nil || e.Code != contract.CodeUnsigned:
		return ""
	case strings.HasPrefix(e.Message, contract.HeaderApproval):
		return "sign it into a file with --sign SEED --save FILE, and have it approved by another person with consumer approve FILE --seed SEED"
	}
	return "sign it with --sign SEED (and --audience, the service's CONSUMER_AUDIENCE), with a key that the service trusts"
}
