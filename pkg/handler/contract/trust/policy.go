package trust

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// MaxAhead is how far ahead of its publishing the not_after of a signed delete may be.
const MaxAhead = 7 * 24 * time.Hour

// Policy is whose signatures a service demands. The zero value demands none, and looks at none.
type Policy struct {
	Audience    string   // names the service: what is signed for another one counts for nothing here
	Signers     []string // NKey public keys; with any, deletes and cancels must be signed
	SignExports bool     // exports, too
	Approvers   []string // NKey public keys; with any, deletes must be approved, but for dry runs
}

// Demands reports whether commands with an action must be signed.
func (p Policy) Demands(a contract.Action) bool {
	return len(p.Signers) > 0 && (a != contract.ActionExport || p.SignExports)
}

// Deletes is the policy for deletes where that of the settings is d: with approvers, only plans are
// carried out that were approved.
func (p Policy) Deletes(d contract.DeletePolicy) contract.DeletePolicy {
	if len(p.Approvers) > 0 && d == contract.DeletesEnabled {
		return contract.DeletesApproved
	}
	return d
}

// Verdict is what was found of a message.
type Verdict struct {
	Signer, Approver string // who signed and approved it; empty where that is not demanded
	// NotAfter is that of a signed delete that is refused: a copy of its message, with other
	// headers or at another time, could be carried out until then.
	NotAfter *time.Time
	// Refusal is why it must not be carried out: unsigned, under "seq-<stream sequence>", or, of a
	// delete without a good not_after, invalid_command. It is nil where all is well.
	Refusal *contract.Refusal
	// Detail is what is wrong with a signature, for the operator's log: the publisher is told what
	// is needed, and not how near it came.
	Detail error
}

// Judge judges who signed and approved a message, before anything else of it is judged.
func (p Policy) Judge(prefix string, m contract.Message) Verdict {
	token, _ := strings.CutPrefix(m.Subject, prefix+".commands.")
	action := contract.Action(token)
	if !p.Demands(action) {
		return Verdict{}
	}
	var (
		v   Verdict
		err error
	)
	if v.Signer, err = p.signed(m, Signature, p.Signers); err != nil {
		return unsigned(m, action, Signature, fmt.Sprintf(
			"it is missing, or not valid: this service carries out %ss only with the signature of a trusted key over this very message, its id, its subject and the service's audience", action), err)
	}
	if action != contract.ActionDelete {
		return v
	}
	c, broken := contract.DecodeCommand(prefix, m)
	said := contract.Glimpse{DryRun: c.Data.DryRun, NotAfter: c.Data.NotAfter}
	if broken != nil {
		said = contract.GlimpseOf(m)
	}
	if len(p.Approvers) > 0 && !said.DryRun {
		v.Approver, err = p.signed(m, Approval, p.Approvers)
		if err == nil && SameKey(v.Approver, v.Signer) {
			err = errors.New("the approver is the signer")
		}
		if err != nil {
			return unsigned(m, action, Approval,
				"it is missing, or not valid: this service carries out deletes only with the approval of this very message by a trusted approver, who is not its signer", err)
		}
	}
	if broken == nil {
		v.Refusal = unbounded(c)
	}
	if (v.Refusal != nil || broken != nil) && !said.DryRun {
		v.NotAfter = said.NotAfter
	}
	return v
}

// signed is the trusted key that signed a message.
func (p Policy) signed(m contract.Message, k Kind, trusted []string) (string, error) {
	key, err := k.By(m, p.Audience)
	if err == nil && !slices.Contains(trusted, key) {
		return "", fmt.Errorf("%s is not trusted for it", key)
	}
	return key, err
}

// unsigned refuses a message under its sequence: it takes no id.
func unsigned(m contract.Message, a contract.Action, k Kind, needed string, detail error) Verdict {
	r := &contract.Refusal{ID: contract.SeqID(m.Seq), Action: a, Code: contract.CodeUnsigned, Field: k.Header, Message: k.Header + ": " + needed}
	if id := contract.GivenID(m); contract.ValidID(id) {
		r.Given = id
	}
	return Verdict{Refusal: r, Detail: fmt.Errorf("%s: %w", k.Header, detail)}
}

// unbounded refuses a signed delete that could be published again for too long, once its traces are
// gone; nil for one that says until when it may begin.
func unbounded(c contract.Command) *contract.Refusal {
	switch limit := c.Data.NotAfter; {
	case limit == nil:
		return c.Refuse(contract.CodeInvalidCommand, "not_after", "missing: a signed delete must say until when it may begin, at most 7 days ahead")
	case limit.Sub(c.Published) > MaxAhead:
		return c.Refuse(contract.CodeInvalidCommand, "not_after", "more than 7 days ahead: a signed delete must begin within 7 days of its publishing")
	}
	return nil
}

// CheckAudience says what is wrong with the name of a service.
func CheckAudience(audience string) error {
	if audience == "" || strings.ContainsFunc(audience, unicode.IsControl) {
		return errors.New("it must be a name, without line breaks and control characters")
	}
	return nil
}
