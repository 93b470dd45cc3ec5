package main

import (
	"slices"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract/trust"
)

// trustSettings are whose signatures the service demands.
type trustSettings struct {
	Signers     string `name:"trusted-signers" var:"CONSUMER_TRUSTED_SIGNERS" placeholder:"KEY,…" help:"NKey public keys; with any, deletes and cancels must be signed by one of them."`
	SignExports string `name:"sign-exports" var:"CONSUMER_SIGN_EXPORTS" default:"false" placeholder:"BOOL" help:"Exports must be signed, too; default ${default}."`
	Audience    string `name:"audience" var:"CONSUMER_AUDIENCE" placeholder:"TEXT" help:"Name of this service in signatures; a command that was signed for another name counts for nothing here. Required with trusted signers."`
	Approvers   string `name:"approvers" var:"CONSUMER_APPROVERS" placeholder:"KEY,…" help:"NKey public keys; with any, deletes must be approved by one of them who is not the signer, and CONSUMER_DELETES=enabled means approved."`
}

// policy checks the settings.
func (s trustSettings) policy(p *problems) trust.Policy {
	t := trust.Policy{
		Audience: s.Audience, Signers: p.publicKeys("CONSUMER_TRUSTED_SIGNERS", s.Signers), Approvers: p.publicKeys("CONSUMER_APPROVERS", s.Approvers),
		SignExports: p.boolean("CONSUMER_SIGN_EXPORTS", s.SignExports),
	}
	if s.Audience != "" {
		if err := trust.CheckAudience(s.Audience); err != nil {
			p.add("CONSUMER_AUDIENCE", "%v", err)
		}
	}
	if s.Signers == "" {
		if t.SignExports {
			p.add("CONSUMER_SIGN_EXPORTS", "needs CONSUMER_TRUSTED_SIGNERS: without keys nothing can be signed")
		}
		if s.Approvers != "" {
			p.add("CONSUMER_APPROVERS", "needs CONSUMER_TRUSTED_SIGNERS: an approver approves what another person signed")
		}
		return t
	}
	if s.Audience == "" {
		p.add("CONSUMER_AUDIENCE", "is needed with CONSUMER_TRUSTED_SIGNERS: a name of this service, so that commands signed for another one count for nothing here")
	}
	two := slices.ContainsFunc(t.Signers, func(signer string) bool {
		return slices.ContainsFunc(t.Approvers, func(approver string) bool { return !trust.SameKey(signer, approver) })
	})
	if len(t.Signers) > 0 && len(t.Approvers) > 0 && !two {
		p.add("CONSUMER_APPROVERS", "has only the key of the only trusted signer, and none may approve what it signed: add the key of another person")
	}
	return t
}

// publicKeys is a list of NKey public keys. A wrong one is named by its place: it may be a secret.
func (p *problems) publicKeys(name, text string) []string {
	keys := list(text)
	if text != "" && len(keys) == 0 {
		p.add(name, "has no key")
	}
	for i, key := range keys {
		if err := trust.CheckKey(key); err != nil {
			p.add(name, "key %d of %d: %v; consumer keys new --type nkey makes keys", i+1, len(keys), err)
		} else if slices.ContainsFunc(keys[:i], func(other string) bool { return trust.SameKey(key, other) }) {
			p.add(name, "key %d of %d is there twice", i+1, len(keys))
		}
	}
	return keys
}
