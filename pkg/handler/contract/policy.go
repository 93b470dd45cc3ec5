package contract

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
func (p DeletePolicy) Refuse(c Command) *Refusal {
	switch {
	case c.Action != ActionDelete || c.Data.DryRun:
		return nil
	case p == DeletesDisabled:
		return c.Refuse(CodeDeletesDisabled, string(ActionDelete), "this service deletes nothing: CONSUMER_DELETES is disabled; dry_run is allowed")
	case p == DeletesApproved && c.Data.ApprovedPlan == "":
		return c.Refuse(CodeDeletesDisabled, "approved_plan", "this service deletes only what was planned and approved; publish with dry_run first, then with the digest it gives")
	}
	return nil
}
