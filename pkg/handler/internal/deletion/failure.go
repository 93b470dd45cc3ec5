package deletion

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/deleterecord"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// Fail ends a delete that fails or was cancelled. Once it was begun, what was called and what is
// known is stored as evidence, and told by the end; left says what could not be removed. The end is
// nil where nothing was begun, so that nothing was changed.
func (d *Deleter) Fail(ctx context.Context, e *contract.Error) (end *contract.EventData, left string, err error) {
	defer d.close()
	found, err := d.resume(ctx)
	if found && err == nil {
		err = d.loadPlan(ctx)
	}
	var final *contract.Error
	switch {
	case errors.As(err, &final): // the plan is no longer known: the ledger is the only evidence
		found = true
	case err != nil:
		return nil, "", err
	}
	if !found || d.Command.Data.DryRun {
		return nil, "", d.neverBegins(ctx)
	}
	if e == nil {
		e = &contract.Error{Code: contract.CodeInternal, Message: "the command was cancelled after its job was removed from NATS, and after it had begun to delete: " +
			"what was called and what is known to be gone is in the evidence"}
	}
	if left, err = d.storeFailure(ctx, e); err != nil {
		return nil, "", fmt.Errorf("store the evidence of a failed delete: %w", err)
	}
	end, err = LoadFailure(ctx, d.Bags)
	if err == nil && end == nil {
		err = errors.New("the evidence of a failed delete is missing although it was just stored")
	}
	return end, left, err
}

// LoadFailure is the end of a delete whose evidence of failure is stored; nil when there is none.
func LoadFailure(ctx context.Context, b bag.Bags) (*contract.EventData, error) {
	raw, err := b.Store.OfAnyMessage().ReadAll(ctx, b.Layout.Key(sink.DeleteBag, sink.FailureFile), bag.MaxReceipt)
	if errors.Is(err, sink.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for the evidence of a failure: %w", err)
	}
	var f bagfile.Failed
	if err := contract.DecodeVersioned(raw, string(sink.FailureFile), &f); err != nil {
		return nil, err
	}
	same, err := b.SameRequest(ctx, sink.DeleteBag) // an earlier command with this id may have failed, too
	if err != nil || !same || f.ID != b.Command.ID {
		return nil, err //nolint:wrapcheck // it says what it reads
	}
	end := &contract.EventData{
		Status: contract.StatusFailed, StartedAt: &f.StartedAt, FinishedAt: &f.FinishedAt, Counts: contract.Counts(f.Counts), ExportBundle: (*contract.BundleRef)(f.ExportBundle),
		Error: &contract.Error{Code: f.Error.Code, Message: f.Error.Message, Retryable: f.Error.Retryable, RequestID: string(f.Error.RequestID)},
	}
	if f.PlanSHA256 != "" { // else neither job nor storage has it any more
		end.Plan = &contract.PlanRef{SHA256: f.PlanSHA256, URI: b.URI(sink.DeleteBag) + string(sink.PlanFile)}
	}
	for _, r := range f.Residuals {
		end.Residuals = append(end.Residuals, contract.Residual{Category: contract.Category(r.Category), Reason: r.Reason})
	}
	return end, nil
}

// storeFailure stores the evidence of a delete that ends without success.
func (d *Deleter) storeFailure(ctx context.Context, e *contract.Error) (left string, err error) {
	if err := d.Attempt.FlushCalls(ctx); err != nil {
		return "", err
	}
	put := func(ctx context.Context, path sink.Path, body sink.Body) (sink.Object, error) {
		return d.Bags.Store.Put(ctx, d.Bags.Layout.Key(sink.DeleteBag, path), body)
	}
	if left, err = d.dropBag(ctx); err != nil {
		return "", err
	}
	if err := d.records().TakeCut(ctx); err != nil {
		return "", err
	}
	t := deleterecord.Tally{Checks: []bagfile.Check{}}
	missing := []bagfile.UnverifiedStep{}
	if d.begun.V == 0 {
		d.rebuildBegun()
	}
	planned := d.plannedAtLeast()
	n := 0
	for p, err := range planned {
		if err != nil {
			return "", err
		}
		project := bagfile.DeletionProject{ID: p.ID, Project: p.Project}
		m := &removal{d: d, n: n, plan: p}
		for _, step := range steps() {
			stored, err := d.records().Ended(ctx, m.at(step))
			if err == nil && stored {
				err = d.records().ReadEnded(ctx, m.at(step), func(l bagfile.Deleted) error {
					t.Add(p.ID, &project.Counts, l)
					return nil
				})
			}
			if err != nil {
				return "", err
			}
			if !stored && d.plan != nil && m.wants(step) {
				missing = append(missing, bagfile.UnverifiedStep{Project: p.ID, Step: step})
			}
		}
		t.AddProject(project)
		n++
	}
	if _, err := d.evidence(ctx, put, ledger.Ref{Seq: d.Ledger.End()}); err != nil { // whatever is left of the ledger
		return "", err
	}
	residuals, err := d.residuals()
	if err != nil {
		return "", err
	}
	// The last object. A crash before it leaves evidence that the next attempt stores again; behind
	// it the next attempt ends the command as it says.
	_, err = bag.PutJSON(ctx, put, sink.FailureFile, bagfile.Failed{
		V: bagfile.Version, ID: d.Command.ID, PlanSHA256: d.begun.Digest, Called: d.Ledger.Destructive(),
		Error:       bagfile.FailedError{Code: e.Code, Message: e.Message, Retryable: e.Retryable, RequestID: bagfile.Text(e.RequestID)},
		KnownAbsent: t.Checks, NotVerified: missing, Counts: t.Counts, Residuals: inBag(residuals), ExportBundle: (*bagfile.BundleRef)(d.begun.Export),
		StartedAt: d.begun.StartedAt, FinishedAt: d.Now().UTC().Truncate(time.Millisecond),
	})
	return left, err
}

// rebuildBegun fills in what can be said of a delete whose beginning is no longer there.
func (d *Deleter) rebuildBegun() {
	d.begun = beginning{
		V: contract.FormatVersion, StartedAt: d.Job.Created, Tool: d.Version,
		Request: d.Bags.Request(d.Pseudonym.Redact(d.Command.Data), d.Job.Command.Digest, d.Job.Command.Account),
	}
	if ref := d.Job.Deletion; ref != nil {
		d.begun.Digest = ref.PlanSHA256
	}
}

// dropBag removes what there is of a bag that will not be finished, but for what is evidence of a
// failure too: that may be a later holder's already. left says what could not be removed.
func (d *Deleter) dropBag(ctx context.Context) (left string, err error) {
	var kept []sink.Key
	for _, path := range []sink.Path{sink.RequestFile, sink.PlanFile, sink.LedgerFile, sink.FailureFile} {
		kept = append(kept, d.Bags.Layout.Key(sink.DeleteBag, path))
	}
	_, err = d.Bags.Store.RemoveAll(ctx, d.Bags.Layout.Bag(sink.DeleteBag), kept...)
	if err != nil && ctx.Err() == nil { // as where an ended export cannot be removed: it must not keep the command from ending
		d.Log.Error().Err(err).Msg("an unfinished bag is left behind")
		return d.Bags.URI(sink.DeleteBag) + ": " + err.Error(), nil
	}
	return "", err //nolint:wrapcheck // the end of ctx
}
