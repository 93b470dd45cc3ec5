package verify_test

import (
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// NKey public keys.
const (
	signer   = "UAHKJ3M3VHWQQWJ5BWUKNSQDVGMF2EQYFL4UQXPSX6MLAXIL7L3HV4EO"
	approver = "UBGBUJCMDHB6DZ4SPLLBWEJU2RTZ4WBWZZ5KXR2NQEKZXTHV2PG5MQXA"
)

// approved is the bag of a delete that was signed and approved.
func approved(t *testing.T) memory {
	t.Helper()
	return tampered(t, deletion(t, false), tampering{change: func(e *editor) {
		plan := `"approved_plan":"` + digest(e.m[planJSON]) + `",`
		e.swap(receipt+" "+request+" "+deletionJSON, `"export_first":true,`, plan+`"export_first":true,`)
		e.swap(request, `"digest":"salt.0"`, `"digest":"salt.0","signer":"`+signer+`","approver":"`+approver+`"`)
		e.swap(receipt, `"command":{`, `"command":{"signer":"`+signer+`","approver":"`+approver+`",`)
		e.swap(certificate, "<title>", "<title>"+signer+" "+approver)
	}})
}

// TestSigners reads a bag that names who signed and who approved the command, and bags that do not
// agree about it.
func TestSigners(t *testing.T) {
	good := approved(t)
	if found := problems(t, good); found != "" {
		t.Fatal(found)
	}
	report, err := verify.Bag(t.Context(), good, verify.Options{})
	if err != nil || report.Receipt.Signer != signer || report.Receipt.Approver != approver {
		t.Fatalf("the report says %+v, %v", report.Receipt, err)
	}
	both := receipt + " " + request
	for _, c := range []tampering{
		{name: "another signer", change: say(receipt, signer, approver[:55]+"B"), want: "the signer is"},
		{name: "another approver", change: say(request, approver, approver[:55]+"B"), want: "the approver is"},
		{name: "no approver in the request", change: say(request, `,"approver":"`+approver+`"`, ""), want: "the approver is"},
		{name: "no key", change: say(both, signer, "Mallory"), want: "is not an NKey public key"},
		{name: "approved by the signer", change: func(e *editor) { e.swap(both+" "+certificate, approver, signer) }, want: "its approver is the signer"},
		{name: "approved by the signer's account", change: func(e *editor) { e.swap(both+" "+certificate, approver, "A"+signer[1:]) }, want: "its approver is the signer"},
		{name: "approved and not signed", change: func(e *editor) {
			e.swap(request, `"signer":"`+signer+`",`, "")
			e.swap(receipt, `,"signer":"`+signer+`"`, "")
		}, want: "or there is no signer"},
		{name: "no plan approved", change: func(e *editor) {
			e.swap(both+" "+deletionJSON, `"approved_plan":"`+digest(e.m[planJSON])+`",`, "")
		}, want: "approves no plan"},
		{name: "certificate of another signer", change: say(certificate, signer, ""), want: "it does not show"},
		{name: "certificate without an approver", change: say(certificate, approver, ""), want: "it does not show"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if found := problems(t, tampered(t, good, c)); !strings.Contains(found, c.want) {
				t.Errorf("want %q in\n%s", c.want, found)
			}
		})
	}
}
