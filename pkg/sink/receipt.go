package sink

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/sink/signature"
)

// Types of a receipt.
const (
	StatementType       = "https://in-toto.io/Statement/v1"
	ExportPredicateType = "https://cvconsumer.dev/export/v1"
	DeletePredicateType = "https://cvconsumer.dev/delete/v1"
)

// maxReceiptBytes bounds a receipt that is read. It holds counts and digests, no lists of items.
const maxReceiptBytes = 4 << 20

// Receipt is an in-toto Statement v1 about a bag: what was exported or deleted, and how that was
// verified. Its subjects are the two manifests.
type Receipt struct {
	Type          string    `json:"_type"`
	Subject       []Subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     Predicate `json:"predicate"`
}

// Subject is a file a receipt speaks of.
type Subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"` // "sha256": hex
}

// Predicate is what a receipt says, of an export (export/v1) or of a delete (delete/v1).
type Predicate struct {
	V            int               `json:"v"` // 1
	Command      ReceiptCommand    `json:"command"`
	Scope        json.RawMessage   `json:"scope"` // selection and categories, metadata values pseudonymised
	Outcome      string            `json:"outcome"`
	Counts       map[string]int64  `json:"counts"` // per category, and "bytes"
	Exceptions   int64             `json:"exceptions"`
	Verification json.RawMessage   `json:"verification"`
	Residuals    []ReceiptResidual `json:"residuals"`
	Retention    *ReceiptRetention `json:"retention"` // nil: none was asked for
	Encryption   *Encryption       `json:"encryption,omitempty"`
	Tool         ReceiptTool       `json:"tool"`
	StartedAt    time.Time         `json:"started_at"`
	FinishedAt   time.Time         `json:"finished_at"`
	Ledger       ReceiptLedger     `json:"ledger"`
	Bundle       ReceiptBundle     `json:"bundle"`
	Signed       bool              `json:"signed"`                  // receipt.sigstore.json is stored before it
	KeyID        string            `json:"key_id,omitempty"`        // of a signed one; see signature.Key
	Timestamp    string            `json:"timestamp,omitempty"`     // whether the signature has a time stamp: see signature.Policy; older versions did not say
	Method       string            `json:"method,omitempty"`        // of a delete: "logical deletion through the service's API"
	Plan         *ReceiptPlan      `json:"plan,omitempty"`          // of a delete
	ExportBundle json.RawMessage   `json:"export_bundle,omitempty"` // of a delete with export_first: the other bag
}

// ReceiptCommand is the command a receipt answers.
type ReceiptCommand struct {
	ID        string `json:"id"`
	Action    string `json:"action"`
	Reference string `json:"reference"`
	Resource  string `json:"resource"`
	Account   string `json:"account"` // which the alias meant; aliases differ between deployments
	SHA256    string `json:"sha256"`  // of the command's canonical data, hex

	// NKey public keys by which the command was signed and approved; empty where that was not
	// demanded.
	Signer   string `json:"signer,omitempty"`
	Approver string `json:"approver,omitempty"`
}

// ReceiptResidual is something that stays although it was selected.
type ReceiptResidual struct {
	Category string `json:"category"`
	Reason   string `json:"reason"`
}

// ReceiptRetention is the Object Lock retention of the bag. Each object was locked and read back
// before the receipt was written, which is locked as it is written.
type ReceiptRetention struct {
	Mode        string    `json:"mode"` // GOVERNANCE, COMPLIANCE
	RetainUntil time.Time `json:"retain_until"`
	Objects     int       `json:"objects"`          // that were locked and read back: all but receipts
	Lapsed      bool      `json:"lapsed,omitempty"` // none was: the time was over, or almost, when the bag was whole
}

// Encryption is the server-side encryption that every write of a bag asks for, and that the store
// confirmed in its answer. Objects that an earlier attempt stored under other settings may have
// another.
type Encryption struct {
	Algorithm string `json:"algorithm"`        // AES256, aws:kms
	KeyID     string `json:"key_id,omitempty"` // as configured; empty: the store's default
}

// ReceiptTool is the program that made the bag.
type ReceiptTool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// ReceiptLedger is the length and head of evidence/ledger.jsonl.
type ReceiptLedger struct {
	Entries int64  `json:"entries"`
	Head    string `json:"head"`
}

// ReceiptBundle is the bag's address and extent.
type ReceiptBundle struct {
	URI            string `json:"uri"`
	Objects        int    `json:"objects"` // receipts included
	PayloadObjects int    `json:"payload_objects"`
	PayloadBytes   int64  `json:"payload_bytes"`
}

// ReceiptPlan is the plan a delete carried out.
type ReceiptPlan struct {
	SHA256 string `json:"sha256"` // of evidence/plan.json
}

// NewReceipt makes the statement about a sealed bag: type and subjects, and in the predicate the
// version and the bag's extent, come from the bag.
func NewReceipt(predicateType string, bag SealedBag, p Predicate) Receipt {
	p.V = 1
	p.Bundle.Objects, p.Bundle.PayloadObjects, p.Bundle.PayloadBytes = bag.Objects, bag.PayloadObjects, bag.PayloadBytes
	return Receipt{
		Type: StatementType,
		Subject: []Subject{
			{Name: string(ManifestFile), Digest: map[string]string{"sha256": bag.ManifestSHA256}},
			{Name: string(TagManifestFile), Digest: map[string]string{"sha256": bag.TagManifestSHA256}},
		},
		PredicateType: predicateType,
		Predicate:     p,
	}
}

// Sign makes it a receipt that is signed by the key with this id: its signature is one object more.
func (r *Receipt) Sign(keyID string, stamps signature.Policy) {
	p := &r.Predicate
	p.Signed, p.KeyID, p.Timestamp = true, keyID, string(stamps)
	p.Bundle.Objects++
}

// Encode gives the bytes of receipt.json: canonical JSON and a newline. Counts and residuals are
// never null, times are in UTC. Without a word on time stamps there is none.
func (r Receipt) Encode() ([]byte, error) {
	p := &r.Predicate
	if p.Counts == nil {
		p.Counts = map[string]int64{}
	}
	if p.Residuals == nil {
		p.Residuals = []ReceiptResidual{}
	}
	if p.Timestamp == "" {
		p.Timestamp = string(signature.None)
	}
	p.StartedAt, p.FinishedAt = p.StartedAt.UTC(), p.FinishedAt.UTC()
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("encode receipt: %w", err)
	}
	b, err := CanonicalJSON(r)
	if err != nil {
		return nil, fmt.Errorf("encode receipt: %w", err)
	}
	return append(b, '\n'), nil
}

// ParseReceipt reads receipt.json and checks its form: type, predicate type and version, the two
// subjects with their digests, and the ledger's head. Fields it does not know are left for later
// versions.
func ParseReceipt(b []byte) (*Receipt, error) {
	if len(b) > maxReceiptBytes {
		return nil, fmt.Errorf("parse receipt: it has %d bytes, at most %d are allowed", len(b), maxReceiptBytes)
	}
	var r Receipt
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("parse receipt: %w", err)
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("parse receipt: %w", err)
	}
	return &r, nil
}

// check says what is wrong with the form of a receipt.
func (r *Receipt) check() error {
	if r.Type != StatementType {
		return fmt.Errorf("type %q, expected %q", r.Type, StatementType)
	}
	if r.PredicateType != ExportPredicateType && r.PredicateType != DeletePredicateType {
		return fmt.Errorf("unknown predicate type %q", r.PredicateType)
	}
	if r.Predicate.V != 1 {
		return fmt.Errorf("predicate of version %d, only 1 is known", r.Predicate.V)
	}
	if len(r.Subject) != 2 {
		return fmt.Errorf("%d subjects, expected the two manifests", len(r.Subject))
	}
	for i, name := range []Path{ManifestFile, TagManifestFile} {
		if r.Subject[i].Name != string(name) || !ValidDigest(r.Subject[i].Digest["sha256"]) {
			return fmt.Errorf("subject %d is not %s with a SHA-256", i+1, name)
		}
	}
	if !ValidDigest(r.Predicate.Ledger.Head) {
		return errors.New("no digest of the ledger's head")
	}
	return r.Predicate.checkSignature()
}

// checkSignature says what is wrong with what a receipt says of its signature. Older versions say
// nothing, and did not sign.
func (p *Predicate) checkSignature() error {
	stamps := []signature.Policy{signature.Required, signature.Optional, signature.None}
	if !p.Signed {
		stamps = []signature.Policy{signature.None, ""}
	}
	switch {
	case p.Signed && !ValidDigest(p.KeyID), !p.Signed && p.KeyID != "":
		return fmt.Errorf("it is signed: %t, with the key id %q", p.Signed, p.KeyID)
	case !slices.Contains(stamps, signature.Policy(p.Timestamp)):
		return fmt.Errorf("it is signed: %t, with the time stamp %q", p.Signed, p.Timestamp)
	}
	return nil
}

// Kind is the kind of bag the receipt is of.
func (r *Receipt) Kind() BagKind {
	if r.PredicateType == DeletePredicateType {
		return DeleteBag
	}
	return ExportBag
}
