package deletion

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/deleteplan"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/deleterecord"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// newCut is the cut as it is now.
func (d *Deleter) newCut(ctx context.Context) (deleterecord.Cut, error) {
	if err := d.neverBegins(ctx); err != nil {
		return deleterecord.Cut{}, err
	}
	finished, err := d.finished(ctx)
	if err != nil {
		return deleterecord.Cut{}, err
	}
	signed := d.Bags.Signs()
	cut := deleterecord.Cut{V: bag.CutVersion(signed), FinishedAt: finished, Ledger: d.Ledger.Ref(), Signed: signed, Records: d.kept.ForCut()}
	if len(cut.Records) > 0 {
		cut.V, cut.Begun = deleterecord.CutVersion, d.Job.Deletion.BegunSHA256
	}
	return cut, nil
}

// maxKeptPlan is how large a plan is, in bytes, whose projects are kept once they were read.
const maxKeptPlan = 64 << 10

// plannedProjects yields the plan's projects, once it is loaded.
func (d *Deleter) plannedProjects() iter.Seq2[bagfile.PlanProject, error] {
	return func(yield func(bagfile.PlanProject, error) bool) {
		if d.projects != nil {
			for _, p := range d.projects {
				if !yield(p, nil) {
					return
				}
			}
			return
		}
		var (
			head bagfile.Plan
			all  = []bagfile.PlanProject{}
			keep = d.plan.Size() <= maxKeptPlan
		)
		for p, err := range deleteplan.Projects(d.plan.ReadSeeker(), &head) {
			if !yield(p, err) || err != nil {
				return
			}
			if keep {
				all = append(all, p)
			}
		}
		if keep {
			d.projects = all
		}
	}
}

// plannedAtLeast yields the plan's projects, as far as they are known: where the plan is lost, by
// id.
func (d *Deleter) plannedAtLeast() iter.Seq2[bagfile.PlanProject, error] {
	if d.plan != nil {
		return d.plannedProjects()
	}
	return func(yield func(bagfile.PlanProject, error) bool) {
		for _, f := range d.begun.Facts {
			if !yield(bagfile.PlanProject{ID: f.ID}, nil) {
				return
			}
		}
	}
}

// commit writes the bag of a delete that is verified, or of a plan. Everything in it follows from
// what is frozen.
func (d *Deleter) commit(ctx context.Context) (bag.Proof, error) {
	if err := d.loadPlan(ctx); err != nil {
		return bag.Proof{}, err
	}
	cut, mine, err := unit.Freeze(ctx, d.Bags.Work, d.Bags.WorkKey(deleterecord.CutName), d.Bags.Fresh, d.newCut)
	if err != nil {
		d.storeKept(ctx, err)
		return bag.Proof{}, err
	}
	if err := d.Ledger.Continues(cut.Ledger); err != nil {
		return bag.Proof{}, err
	}
	if !mine {
		if cut.Begun != "" && cut.Begun != d.Job.Deletion.BegunSHA256 {
			return bag.Proof{}, bag.Spoiled(deleterecord.CutName, "is of another beginning than the job's")
		}
		d.kept.FromCut(cut.Records) // the bag is made of the first cut that was stored
	}
	out, err := sink.NewBag(d.Bags.Store, d.Bags.Layout.Bag(sink.DeleteBag), d.Bags.SpoolDir)
	if err != nil {
		return bag.Proof{}, fmt.Errorf("open the bag: %w", err)
	}
	defer out.Close() //nolint:errcheck // temporary files
	if d.Bags.Alone() {
		out.LeaveUploads()
	}
	// The files of the bag follow from what is frozen: after a crash here the next attempt writes
	// the same bytes to the same keys.
	t, err := d.payload(ctx, out)
	if err != nil {
		return bag.Proof{}, err
	}
	outcome := contract.OutcomeComplete
	switch {
	case d.begun.DryRun:
		outcome = contract.OutcomePlanned
	case t.Counts.Empty(): // what was planned, if anything, was gone when its turn came
		outcome = contract.OutcomeNothingFound
	}
	scope, err := contract.Marshal(d.begun.Request.Data)
	if err != nil {
		return bag.Proof{}, fmt.Errorf("encode the scope: %w", err)
	}
	residuals, err := d.residuals()
	if err != nil {
		return bag.Proof{}, err
	}
	record := bagfile.Deletion{
		V: bagfile.Version, ID: d.Command.ID, Reference: bagfile.Text(d.Command.Data.Reference), Method: bagfile.Method, Endpoint: d.begun.Host, APIVersion: cv.APIVersion,
		Scope: scope, DryRun: d.begun.DryRun, Outcome: string(outcome), Counts: t.Counts, PlanSHA256: d.begun.Digest, Projects: t.Projects,
		ExportBundle: (*bagfile.BundleRef)(d.begun.Export), Residuals: inBag(residuals), StartedAt: d.begun.StartedAt, BegunAt: d.begun.BegunAt, FinishedAt: cut.FinishedAt, Tool: d.begun.Tool,
	}
	if _, err := bag.PutJSON(ctx, out.Put, sink.DeletionFile, record); err != nil {
		return bag.Proof{}, err
	}
	verification := bagfile.Verification{V: bagfile.Version, Executed: !d.begun.DryRun, Checks: t.Checks}
	if _, err := bag.PutJSON(ctx, out.PutTag, sink.VerificationFile, verification); err != nil {
		return bag.Proof{}, err
	}
	request, err := d.evidence(ctx, out.PutTag, cut.Ledger)
	if err != nil {
		return bag.Proof{}, err
	}
	page, err := d.certificate(record, verification, cut)
	if err != nil {
		return bag.Proof{}, err
	}
	if _, err := out.PutPage(ctx, sink.IndexFile, sink.Bytes(page, "text/html; charset=utf-8")); err != nil {
		return bag.Proof{}, fmt.Errorf("store the certificate: %w", err)
	}
	// This compare-and-set decides between the receipt and a cancel of the plan, or a takeover.
	// After a crash here the next attempt begins the commit again, and no cancel comes between.
	if err := d.update(ctx, func(j *contract.Job) { j.Phase = contract.PhaseSeal }); err != nil {
		return bag.Proof{}, err
	}
	what := "Deletion of user data from Azure Custom Vision, "
	if d.begun.DryRun {
		what = "Plan of a deletion of user data from Azure Custom Vision, "
	}
	// Manifests and, last, the receipt: the commit point. Without it the bag is none: the next
	// attempt seals it again. After a crash behind it the next attempt finds the receipt, and only
	// publishes what it says.
	return d.Bags.Commit(ctx, sink.DeleteBag, out, d.Bags.Info(cut.FinishedAt, d.begun.Tool, what+d.begun.Host), bag.Statement{
		Account: d.begun.Account, Request: request, Signer: d.begun.Request.Signer, Approver: d.begun.Request.Approver, Scope: d.begun.Request.Data, Outcome: outcome, Counts: contract.Counts(record.Counts), Verification: verification,
		Residuals: residuals, Tool: record.Tool, StartedAt: record.StartedAt, FinishedAt: record.FinishedAt, Ledger: cut.Ledger,
		Method: record.Method, Plan: record.PlanSHA256, ExportBundle: d.begun.Export, Signed: cut.Signed,
	})
}

// finished is when the delete is finished: now, or the time of the last thing that it did or saw if
// this clock is behind that of an earlier holder.
func (d *Deleter) finished(ctx context.Context) (time.Time, error) {
	finished := latest(latest(d.Now(), d.begun.StartedAt), d.Ledger.Last())
	n := 0
	for p, err := range d.plannedProjects() {
		if err != nil {
			return time.Time{}, err
		}
		if err := d.recordedSteps(ctx, n, p, func(l bagfile.Deleted) error {
			finished = latest(finished, l.VerifiedAbsent)
			return nil
		}); err != nil {
			return time.Time{}, err
		}
		n++
	}
	return finished.UTC().Truncate(time.Millisecond), nil
}

// recordedSteps reads the records of a project's steps, in their order; a dry run has none.
func (d *Deleter) recordedSteps(ctx context.Context, n int, p bagfile.PlanProject, each func(bagfile.Deleted) error) error {
	if d.begun.DryRun {
		return nil
	}
	m := &removal{d: d, n: n, plan: p}
	for _, step := range m.wanted() {
		if err := d.records().ReadEnded(ctx, m.at(step), each); err != nil {
			return err //nolint:wrapcheck // it says what it reads
		}
	}
	return nil
}

// payload writes deleted.jsonl of every project.
func (d *Deleter) payload(ctx context.Context, out *sink.Bag) (t deleterecord.Tally, err error) {
	t = deleterecord.Tally{Projects: []bagfile.DeletionProject{}, Checks: []bagfile.Check{}}
	n := 0
	for p, err := range d.plannedProjects() {
		if err != nil {
			return t, err
		}
		project := bagfile.DeletionProject{ID: p.ID, Name: unsigned(d.begun.Facts[n].Name), Project: p.Project}
		if d.begun.DryRun {
			project.Counts = d.begun.Facts[n].Counts(p)
		} else if project.Counts.Bytes, err = d.deleted(ctx, out, n, p, &t, &project); err != nil {
			return t, err
		}
		t.AddProject(project)
		n++
	}
	return t, nil
}

// deleted writes one project's deleted.jsonl, when anything of it was deleted, and returns its
// size.
func (d *Deleter) deleted(ctx context.Context, out *sink.Bag, n int, p bagfile.PlanProject, t *deleterecord.Tally, project *bagfile.DeletionProject) (size int64, err error) {
	err = d.Bags.Spooled(func(s *sink.Spool) error {
		buffered := bufio.NewWriter(s)
		enc := json.NewEncoder(buffered)
		if err := d.recordedSteps(ctx, n, p, func(l bagfile.Deleted) error {
			t.Add(project.ID, &project.Counts, l)
			return enc.Encode(l)
		}); err != nil {
			return err
		}
		if err := buffered.Flush(); err != nil {
			return err
		}
		if size = s.Size(); size == 0 {
			return nil
		}
		_, err := out.Put(ctx, sink.ProjectPath(project.ID, "deleted.jsonl"), s.Body("application/jsonl"))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("write deleted.jsonl of project %s: %w", project.ID, err)
	}
	return size, nil
}

// evidence stores request.json, the plan if it is known, and ledger.jsonl as far as ref says, and
// returns the request's digest.
func (d *Deleter) evidence(ctx context.Context, put bag.Putter, ref ledger.Ref) (string, error) {
	request, err := bag.PutJSON(ctx, put, sink.RequestFile, d.begun.Request)
	if err != nil {
		return "", err
	}
	if d.plan != nil {
		if _, err := put(ctx, sink.PlanFile, d.plan.Body("application/json")); err != nil {
			return "", fmt.Errorf("store the plan: %w", err)
		}
	}
	return request.SHA256, d.Bags.PutLedger(ctx, d.Ledger, put, ref)
}
