package contract

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	"github.com/google/uuid"
)

// Redacted stands for a metadata value where no pseudonym key is configured.
const Redacted = "redacted"

// Scope is a command's data as it may be stored and shown: fields named as in the command, metadata
// values replaced by pseudonyms. It is what plan, evidence/request.json, receipts and logs carry.
type Scope struct {
	Resource          string              `json:"resource,omitempty"`
	AllProjects       bool                `json:"all_projects,omitempty"`
	ProjectIDs        []uuid.UUID         `json:"project_ids,omitempty"`
	IterationIDs      []uuid.UUID         `json:"iteration_ids,omitempty"`
	TagIDs            []uuid.UUID         `json:"tag_ids,omitempty"`
	ImageIDs          []uuid.UUID         `json:"image_ids,omitempty"`
	ImageMetadata     []map[string]string `json:"image_metadata,omitempty"`
	Categories        []Category          `json:"categories,omitempty"`
	Reference         string              `json:"reference,omitempty"`
	NotAfter          *time.Time          `json:"not_after,omitempty"`
	RetainUntil       *time.Time          `json:"retain_until,omitempty"`
	DryRun            bool                `json:"dry_run,omitempty"`
	ApprovedPlan      string              `json:"approved_plan,omitempty"`
	ExportFirst       bool                `json:"export_first,omitempty"`
	ExportRetainUntil *time.Time          `json:"export_retain_until,omitempty"`
	Unpublish         bool                `json:"unpublish,omitempty"`
	Expect            *Expect             `json:"expect,omitempty"`
	ID                string              `json:"id,omitempty"` // of a cancel: the command to cancel
}

// Pseudonymizer replaces metadata values, which are personal data, by pseudonyms. A nil one
// redacts. It is safe for concurrent use.
type Pseudonymizer struct{ key []byte }

// NewPseudonymizer returns a Pseudonymizer under key; with an empty key everything becomes
// Redacted.
func NewPseudonymizer(key []byte) *Pseudonymizer { return &Pseudonymizer{key: slices.Clone(key)} }

// Value returns "hmac-sha256:" and the first 16 hex digits of the HMAC-SHA-256 of v under the key,
// or Redacted without a key. The same value always has the same pseudonym under one key, so that
// an auditor with the value and the key can find the cases that concern it.
func (p *Pseudonymizer) Value(v string) string {
	if p == nil || len(p.key) == 0 {
		return Redacted
	}
	m := hmac.New(sha256.New, p.key)
	m.Write([]byte(v))
	return "hmac-sha256:" + hex.EncodeToString(m.Sum(nil)[:8])
}

// Redact returns d as it may be stored and shown.
func (p *Pseudonymizer) Redact(d Data) Scope { return d.scope(p.Value) }

// scope returns d in its wire form with every metadata value passed through value.
func (d Data) scope(value func(string) string) Scope {
	s := Scope{
		Resource: d.Resource, AllProjects: d.AllProjects,
		ProjectIDs: d.ProjectIDs, IterationIDs: d.IterationIDs, TagIDs: d.TagIDs, ImageIDs: d.ImageIDs,
		Categories: d.Categories, Reference: d.Reference,
		NotAfter: d.NotAfter, RetainUntil: d.RetainUntil, ExportRetainUntil: d.ExportRetainUntil,
		DryRun: d.DryRun, ApprovedPlan: d.ApprovedPlan, ExportFirst: d.ExportFirst, Unpublish: d.Unpublish,
		Expect: d.Expect, ID: d.CancelID,
	}
	for _, pairs := range d.ImageMetadata {
		shown := make(map[string]string, len(pairs))
		for k, v := range pairs {
			shown[k] = value(v)
		}
		s.ImageMetadata = append(s.ImageMetadata, shown)
	}
	return s
}

// MarshalJSON gives the data with metadata values redacted, so that no careless log line or record
// shows them.
func (d Data) MarshalJSON() ([]byte, error) {
	return json.Marshal((*Pseudonymizer)(nil).Redact(d))
}

// String gives the data as JSON with metadata values redacted.
func (d Data) String() string { return string(encodeCanonical((*Pseudonymizer)(nil).Redact(d))) }

// GoString does as String, for %#v.
func (d Data) GoString() string { return d.String() }
