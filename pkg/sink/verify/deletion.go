package verify

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// checkDeletion compares what a delete says with what it has.
func (v *verifier) checkDeletion(ctx context.Context) error {
	if v.receipt == nil {
		return nil
	}
	p := &v.receipt.Predicate
	if got := v.statements.digests[planFile]; got != "" && p.Plan != nil && got != p.Plan.SHA256 {
		v.problem(sink.PlanFile, "its SHA-256 is %s, the receipt has %s", got, p.Plan.SHA256)
	}
	if v.scope.ApprovedPlan != "" && p.Plan != nil && v.scope.ApprovedPlan != p.Plan.SHA256 {
		v.problem(sink.PlanFile, "its SHA-256 is %s, and %s was approved", p.Plan.SHA256, word(v.scope.ApprovedPlan))
	}
	if v.planned.read {
		v.checkPlan()
	}
	if v.statements.verification != nil {
		v.checkVerification()
	}
	if d := v.statements.deletion; d != nil {
		v.checkDeletionFile(d)
	}
	if v.scope.DryRun {
		return nil
	}
	for _, q := range v.predictions {
		if q.answered && !q.seen {
			v.problem(sink.ProjectPath(q.project, "deleted.jsonl"), "it lacks prediction %s, which was deleted by what the ledger says", q.id)
		}
	}
	return v.nameUndone(ctx)
}

// nameUndone names what was planned and is in no deleted.jsonl.
func (v *verifier) nameUndone(ctx context.Context) error {
	undone := false
	for _, f := range v.planned.fates {
		undone = undone || !f.seen
	}
	if !undone {
		return nil
	}
	f, err := v.open(ctx, sink.PlanFile)
	if f == nil || err != nil {
		return err
	}
	defer func() { _ = f.body.Close() }()
	var again planned
	_ = again.decode(newStream(f), func(category string, project, id uuid.UUID) error { // it was read before
		name := sink.ProjectPath(project, "deleted.jsonl")
		if fate := v.planned.fate(category, project, id); fate != nil && !fate.seen && !v.enough(name) {
			v.problem(name, "it lacks %s %s, which was planned", category, id)
		}
		return nil
	})
	return f.err
}

// checkVerification compares verification.json with the receipt and with deleted.jsonl.
func (v *verifier) checkVerification() {
	bad := func(format string, args ...any) { v.problem(sink.VerificationFile, format, args...) }
	says := v.statements.verification
	raw, err := json.Marshal(says)
	if err != nil || !same(raw, v.receipt.Predicate.Verification) {
		bad("it is not what the receipt says of how it was verified")
	}
	if says.Executed == v.scope.DryRun {
		bad("it says that the plan was executed, or not, unlike what the command asks for")
	}
	rows := map[string]bool{}
	for _, c := range says.Checks {
		key := c.Project + " " + c.Category
		var found *bagfile.Check
		if d := v.deleted[plainID(c.Project)]; d != nil {
			found = d.checks[c.Category]
		}
		switch {
		case rows[key]:
			bad("a project and a category are there twice")
		case found == nil:
			bad("it has %s of project %s, and there is no deleted.jsonl that has these", quote(c.Category), quote(c.Project))
		case c.Items != found.Items || c.AlreadyGone != found.AlreadyGone || !c.First.Equal(found.First) || !c.Last.Equal(found.Last):
			bad("of %s of project %s its counts or times are not those of deleted.jsonl", c.Category, found.Project)
		case c.How == "" || c.Last.Before(c.First):
			bad("of %s of project %s it does not say how, or it ended before it began", c.Category, found.Project)
		}
		rows[key] = true
	}
	for id, d := range v.deleted {
		for category := range d.checks {
			if !rows[id.String()+" "+category] {
				bad("it lacks %s of project %s", category, id)
			}
		}
	}
}

// checkDeletionFile compares deletion.json with the receipt, the plan and deleted.jsonl.
func (v *verifier) checkDeletionFile(d *bagfile.Deletion) {
	bad := func(format string, args ...any) { v.problem(sink.DeletionFile, format, args...) }
	p := &v.receipt.Predicate
	v.checkSummary(sink.DeletionFile, summary{d.ID, string(d.Reference), d.Scope, d.Outcome, d.Counts, d.StartedAt, d.FinishedAt, d.Tool})
	if p.Plan == nil || d.PlanSHA256 != p.Plan.SHA256 {
		bad("its plan is not that of the receipt")
	}
	if d.Method != p.Method {
		bad("its method is %s, the receipt has %s", quote(d.Method), quote(p.Method))
	}
	if d.DryRun != v.scope.DryRun {
		bad("it is of a plan only, or not, unlike what the command asks for")
	}
	if len(d.Residuals) != len(p.Residuals) {
		bad("it has %d residuals, the receipt %d", len(d.Residuals), len(p.Residuals))
	} else {
		for i, r := range p.Residuals {
			if d.Residuals[i] != bagfile.Residual(r) {
				bad("residual %d is not that of the receipt", i+1)
			}
		}
	}
	if v.planned.read && (d.Endpoint != v.planned.head.Host || d.APIVersion != v.planned.head.APIVersion) {
		bad("its endpoint or version of the API is not that of the plan")
	}
	if r := v.statements.request; d.BegunAt.IsZero() || r != nil && d.BegunAt.Before(r.Published) {
		bad("it does not say when it began, or that was before the command was published")
	}
	v.checkExportBundle(d)
	v.checkDeletedCounts(d)
}

// checkExportBundle compares the bundle of export_first in deletion.json, receipt and command.
func (v *verifier) checkExportBundle(d *bagfile.Deletion) {
	bad := func(format string, args ...any) { v.problem(sink.DeletionFile, format, args...) }
	p := &v.receipt.Predicate
	if first := v.scope.ExportFirst && !v.scope.DryRun; first != (d.ExportBundle != nil) || first != (len(p.ExportBundle) > 0) {
		bad("it has an export bundle, or none, unlike the receipt or what the command asks for")
		return
	}
	if d.ExportBundle == nil {
		return
	}
	raw, err := json.Marshal(d.ExportBundle)
	if err != nil || !same(raw, p.ExportBundle) {
		bad("its export bundle is not that of the receipt")
	}
	e := d.ExportBundle
	if until := v.scope.ExportRetainUntil; e.TimeStamped && !e.Signed || (until == nil) != (e.RetainUntil == nil) || until != nil && !until.Equal(*e.RetainUntil) {
		bad("its export bundle has a time stamp without a signature, or is kept for another time than the command asks for")
	}
	want := strings.TrimSuffix(p.Bundle.URI, string(sink.DeleteBag)+"/") + string(sink.ExportBag) + "/"
	if e.URI != want || !sink.ValidDigest(e.ReceiptSHA256) || !sink.ValidDigest(e.ManifestSHA256) || e.Objects <= 0 {
		bad("its export bundle is not one of this command: it has no digests, or is at %s", quote(e.URI))
	}
}

// checkDeletedCounts compares the counts of deletion.json with the plan or with deleted.jsonl.
func (v *verifier) checkDeletedCounts(d *bagfile.Deletion) {
	bad := func(format string, args ...any) { v.problem(sink.DeletionFile, format, args...) }
	var total bagfile.Counts
	seen := map[uuid.UUID]bool{}
	for _, project := range d.Projects {
		total.Add(project.Counts)
		if seen[project.ID] {
			bad("project %s is there twice", project.ID)
		}
		seen[project.ID] = true
		p := v.planned.project(project.ID)
		if !v.planned.read {
			continue
		}
		if p == nil || p.whole != project.Project {
			bad("project %s is not in the plan, or not in this way", project.ID)
			continue
		}
		found := bagfile.Counts{}
		if deleted := v.deleted[project.ID]; deleted != nil {
			found = deleted.counts
		}
		if d.DryRun {
			found = p.counts
			found.Performance, found.Predictions = project.Counts.Performance, project.Counts.Predictions // in no plan
			if found.Performance < 0 || found.Performance > found.Iterations || found.Predictions < 0 {
				bad("of project %s it counts more performances than iterations, or something less than none", project.ID)
			}
		}
		if project.Counts != found {
			bad("the counts of project %s are not those of what was planned or deleted", project.ID)
		}
	}
	for _, p := range v.planned.projects {
		if !seen[p.id] {
			bad("it lacks project %s, which was planned", p.id)
		}
	}
	for id := range v.deleted {
		if d.DryRun {
			v.problem(sink.ProjectPath(id, "deleted.jsonl"), "a plan deletes nothing")
		}
	}
	if total != d.Counts {
		bad("its counts are not the sum of those of its projects")
	}
	outcome := bagfile.OutcomeComplete
	switch {
	case d.DryRun:
		outcome = bagfile.OutcomePlanned
	case d.Counts.Empty():
		outcome = bagfile.OutcomeNothingFound
	}
	if d.Outcome != outcome {
		bad("its outcome is %s; by what is there it is %s", quote(d.Outcome), outcome)
	}
}
