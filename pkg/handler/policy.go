package handler

import (
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// DeletePolicy says which deletes this service carries out. Dry runs change nothing: they are
// allowed under every policy.
type DeletePolicy string

// The policies.
const (
	DeletesEnabled  DeletePolicy = "enabled"
	DeletesApproved DeletePolicy = "approved" // only with approved_plan
	DeletesDisabled DeletePolicy = "disabled"
)

// Refuse refuses a delete that the policy forbids; nil for everything else.
func (p DeletePolicy) Refuse(c contract.Command) *contract.Refusal {
	switch {
	case c.Action != contract.ActionDelete || c.Data.DryRun:
		return nil
	case p == DeletesDisabled:
		return c.Refuse(contract.CodeDeletesDisabled, string(contract.ActionDelete), "this service deletes nothing: CONSUMER_DELETES is disabled; dry_run is allowed")
	case p == DeletesApproved && c.Data.ApprovedPlan == "":
		return c.Refuse(contract.CodeDeletesDisabled, "approved_plan", "this service deletes only what was planned and approved; publish with dry_run first, then with the digest it gives")
	}
	return nil
}
