package sink

import (
	"encoding/json"
	"time"
)

// Types of a receipt.
const (
	StatementType       = "https://in-toto.io/Statement/v1"
	ExportPredicateType = "https://cvconsumer.dev/export/v1"
	DeletePredicateType = "https://cvconsumer.dev/delete/v1"
)

// Receipt is an in-toto Statement v1 about a bag.
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

// Predicate is what a receipt says.
type Predicate struct {
	V            int               `json:"v"` // 1
	Command      ReceiptCommand    `json:"command"`
	Scope        json.RawMessage   `json:"scope"`
	Outcome      string            `json:"outcome"`
	Counts       map[string]int64  `json:"counts"` // per category, and "bytes"
	Exceptions   int64             `json:"exceptions"`
	Verification json.RawMessage   `json:"verification"`
	Residuals    []ReceiptResidual `json:"residuals"`
	Retention    *ReceiptRetention `json:"retention"`
	Tool         ReceiptTool       `json:"tool"`
	StartedAt    time.Time         `json:"started_at"`
	FinishedAt   time.Time         `json:"finished_at"`
	Ledger       ReceiptLedger     `json:"ledger"`
	Bundle       ReceiptBundle     `json:"bundle"`
	Method       string            `json:"method,omitempty"` // of a delete: "logical deletion through the service's API"
	Plan         *ReceiptPlan      `json:"plan,omitempty"`   // of a delete
}

// ReceiptCommand is the command a receipt answers.
type ReceiptCommand struct {
	ID        string `json:"id"`
	Action    string `json:"action"`
	Reference string `json:"reference"`
	Resource  string `json:"resource"`
	SHA256    string `json:"sha256"` // of evidence/request.json
}

// ReceiptResidual is something that stays although it was selected.
type ReceiptResidual struct {
	Category string `json:"category"`
	Reason   string `json:"reason"`
}

// ReceiptRetention is the Object Lock retention set on the bag.
type ReceiptRetention struct {
	Mode        string    `json:"mode"` // GOVERNANCE, COMPLIANCE
	RetainUntil time.Time `json:"retain_until"`
}

// ReceiptTool is the program that made the bag.
type ReceiptTool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// ReceiptLedger is the ledger's length and head.
type ReceiptLedger struct {
	Entries int64  `json:"entries"`
	Head    string `json:"head"`
}

// ReceiptBundle is the bag's extent.
type ReceiptBundle struct {
	URI            string `json:"uri"`
	Objects        int    `json:"objects"`
	PayloadObjects int    `json:"payload_objects"`
	PayloadBytes   int64  `json:"payload_bytes"`
}

// ReceiptPlan is the plan a delete carried out.
type ReceiptPlan struct {
	SHA256 string `json:"sha256"`
}

// NewReceipt makes the statement about a sealed bag: type, subjects and the bag's extent are filled in from seal.
func NewReceipt(predicateType string, seal Seal, p Predicate) Receipt { return Receipt{} }

// Encode gives the bytes of receipt.json: canonical JSON.
func (r Receipt) Encode() ([]byte, error) { return nil, errSkeleton }

// ParseReceipt reads receipt.json and checks its form.
func ParseReceipt(b []byte) (*Receipt, error) { return nil, errSkeleton }

// CanonicalJSON is JSON with sorted keys and no white space, after RFC 8785.
func CanonicalJSON(v any) ([]byte, error) { return nil, errSkeleton }
