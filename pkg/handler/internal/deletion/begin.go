package deletion

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/deleteplan"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// begin makes the plan, judges it, exports first where asked, and stores the beginning. Until then
// nothing is changed in the service.
func (d *Deleter) begin(ctx context.Context) (refused *contract.EventData, err error) {
	if refusal := d.Deletes.Refuse(d.Command); refusal != nil {
		return refusedEnd(refusal.Reason(), nil), nil
	}
	started := d.Now().UTC().Truncate(time.Millisecond)
	plan, refused, err := d.planAndCheck(ctx, nil)
	if refused != nil || err != nil {
		return refused, err
	}
	d.plan = plan.Spool
	var exported *contract.BundleRef
	if d.Command.Data.ExportFirst && !d.Command.Data.DryRun {
		var planned string
		if exported, planned, refused, err = d.exportFirst(ctx, plan.Digest()); refused != nil || err != nil {
			return refused, err
		}
		again, refused, err := d.planAndCheck(ctx, exported)
		if refused != nil || err != nil {
			return refused, err
		}
		d.close()
		plan, d.plan = again, again.Spool
		if plan.Digest() != planned {
			return refusedEnd(&contract.Error{Code: contract.CodePlanChanged, Message: "what the selection holds changed since it was exported; publish the delete again under a new id"}, exported), nil
		}
		if refused, err := d.allExported(ctx, plan, exported); refused != nil || err != nil {
			return refused, err
		}
	}
	// After a crash here the job names no beginning: the next attempt plans again, and the clean-up
	// at the command's end removes this plan.
	if err := d.putNamed(ctx, planObject(plan.Digest()), plan.Spool.Body("application/json")); err != nil {
		return nil, fmt.Errorf("store the plan: %w", err)
	}
	credentials := []string{}
	fingerprint, err := d.Control.Fingerprint(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it reads
	}
	if fingerprint != "" {
		credentials = append(credentials, fingerprint)
	}
	d.begun = beginning{
		V: contract.FormatVersion, StartedAt: started, BegunAt: latest(plan.At, d.Command.Published), Host: d.Client.Host(),
		Account: d.Bags.Account, Digest: plan.Digest(), PlanBytes: plan.Spool.Size(), Tool: d.Version,
		DryRun: d.Command.Data.DryRun, Facts: plan.Facts, NotFound: plan.NotFound, Others: plan.Others, Export: exported, Ledger: d.Ledger.Ref(), Credentials: credentials,
		Request: d.Bags.Request(d.Pseudonym.Redact(d.Command.Data), d.Job.Command.Digest, d.Bags.Account),
	}
	b, err := contract.Marshal(d.begun)
	if err != nil {
		return nil, fmt.Errorf("encode the beginning: %w", err)
	}
	body := sink.Bytes(b, "application/json")
	digest := body.SHA256
	if err := d.Attempt.Claim(ctx, plan.Projects()); err != nil { // else a later command may have begun beside it
		return nil, err
	}
	// After a crash here, too, nothing was begun: an object that no job names decides nothing.
	if err := d.putNamed(ctx, begunObject(digest), body); err != nil {
		return nil, fmt.Errorf("store the beginning: %w", err)
	}
	// This compare-and-set is the point of no return: it decides between the delete and a cancel,
	// and says which of the stored beginnings is the one. After a crash here the next attempt
	// carries out exactly this plan.
	return nil, d.update(ctx, func(j *contract.Job) {
		j.Deletion = &contract.DeletionRef{BegunSHA256: digest, PlanSHA256: plan.Digest(), Credentials: credentials}
		if !d.Command.Data.DryRun {
			j.Phase = contract.PhaseDelete
		}
	})
}

// planAndCheck makes the plan, and the end of a delete that must not be carried out. Where an
// iteration in training hides images from the plan, the delete waits.
func (d *Deleter) planAndCheck(ctx context.Context, exported *contract.BundleRef) (_ *deleteplan.Plan, refused *contract.EventData, err error) {
	plan, refusal, err := d.planDelete(ctx)
	if refusal != nil || err != nil {
		return nil, refusedEnd(refusal, exported), err
	}
	defer func() {
		if refused != nil || err != nil {
			err = errors.Join(err, plan.Spool.Close())
		}
	}()
	if err := d.Attempt.FlushCalls(ctx); err != nil {
		return nil, nil, err
	}
	refusal, err = d.checkPlan(ctx, plan)
	if err != nil {
		return nil, nil, err
	}
	if refusal != nil {
		return nil, refusedEnd(refusal, exported), nil
	}
	for n, f := range plan.Facts {
		if f.Training != uuid.Nil && !d.Command.Data.DryRun {
			return nil, nil, d.training(ctx, n, f.ID, f.Training)
		}
	}
	return plan, nil, nil
}

// checkPlan refuses what must not be deleted, in the order of RefusalOrder.
func (d *Deleter) checkPlan(ctx context.Context, plan *deleteplan.Plan) (*contract.Error, error) {
	data := d.Command.Data
	for _, f := range plan.Facts {
		if len(f.Published) > 0 && !data.Unpublish {
			return &contract.Error{Code: contract.CodeIterationPublished, Message: fmt.Sprintf(
				`unpublish: iteration %s of project %s is published; publish the command with "unpublish": true to allow that it is unpublished`, f.Published[0], f.ID)}, nil
		}
	}
	if e := data.Expect; e != nil {
		for _, f := range plan.Facts {
			if e.ProjectName != "" && f.Name != e.ProjectName {
				return &contract.Error{Code: contract.CodePreconditionFailed, Message: fmt.Sprintf("expect.project_name: project %s does not have the expected name", f.ID)}, nil
			}
		}
		if n := plan.Images(); e.MaxImages != nil && int64(n) > *e.MaxImages {
			return &contract.Error{Code: contract.CodePreconditionFailed, Message: fmt.Sprintf("expect.max_images: the selection holds %d images", n)}, nil
		}
	}
	if data.ApprovedPlan != "" && data.ApprovedPlan != plan.Digest() {
		return &contract.Error{Code: contract.CodePlanChanged, Message: fmt.Sprintf("approved_plan: the plan made now has digest %s; look at it with dry_run and approve it", plan.Digest())}, nil
	}
	for _, f := range plan.Facts {
		if !f.Touched {
			continue
		}
		held, err := d.Holds.Held(ctx, f.ID.String())
		if err != nil {
			return nil, fmt.Errorf("look for legal holds: %w", err)
		}
		if held {
			return &contract.Error{Code: contract.CodeLegalHold, Message: fmt.Sprintf("project %[1]s is under a legal hold: publish the delete again when the operator has lifted it (consumer holds rm %[1]s)", f.ID)}, nil
		}
	}
	for _, f := range plan.Facts {
		if f.Touched && f.ReadOnly {
			return &contract.Error{Code: contract.CodeReadOnly, Message: fmt.Sprintf("project %s is read-only: the service is in disaster recovery mode", f.ID)}, nil
		}
	}
	return nil, nil
}

// exportFirst exports the selection with all its categories, and reads the stored bundle back.
// planned is the digest of the plan that the export was made for: digest, or that of an earlier
// attempt whose export this one took up.
func (d *Deleter) exportFirst(ctx context.Context, digest string) (exported *contract.BundleRef, planned string, refused *contract.EventData, err error) {
	data, err := d.Bags.Receipt(ctx, sink.ExportBag)
	if err == nil && data == nil {
		var proof bag.Proof
		if proof, err = d.Exporter.Bag(ctx, digest); err == nil {
			data, err = d.Bags.Committed(sink.ExportBag, proof)
		}
	}
	if err != nil {
		return nil, "", nil, err
	}
	if data == nil || data.Plan == nil {
		return nil, "", nil, &contract.Error{Code: contract.CodeInternal, Message: "the bundle under this id was not exported for this delete, so nothing is deleted"}
	}
	report, err := verify.Bag(ctx, verify.Stored(d.Bags.Store.Unsealed(), d.Bags.Layout.Bag(sink.ExportBag)), verify.Options{})
	if err != nil {
		return nil, "", nil, fmt.Errorf("verify the exported bundle: %w", err)
	}
	if report.Result != verify.OK {
		return nil, "", nil, &contract.Error{Code: contract.CodeInternal, Message: "the exported bundle does not verify, so nothing is deleted: " + report.Findings(bag.MaxFindings)}
	}
	if report.ReceiptSHA256 != data.Bundle.ReceiptSHA256 {
		return nil, "", nil, &contract.Error{Code: contract.CodeInternal, Message: "the exported bundle was replaced before it was verified, so nothing is deleted: the bucket was changed from outside"}
	}
	if data.Exceptions > 0 {
		return nil, "", refusedEnd(&contract.Error{Code: contract.CodePreconditionFailed, Message: fmt.Sprintf(
			"export_first: the exported bundle has %d exceptions (see its evidence/inventory.json), so nothing is deleted: they would be lost", data.Exceptions)}, data.Bundle), nil
	}
	return data.Bundle, data.Plan.SHA256, nil, nil
}

// allExported is the end of a delete of predictions that were stored after they were exported; nil
// when all are in the bundle.
func (d *Deleter) allExported(ctx context.Context, plan *deleteplan.Plan, exported *contract.BundleRef) (refused *contract.EventData, err error) {
	if !deleteplan.TakesPredictions(d.Command.Data) {
		return nil, nil
	}
	for _, f := range plan.Facts {
		prediction, err := d.unexported(ctx, f.ID)
		if err != nil {
			return nil, err
		}
		if prediction != uuid.Nil {
			return refusedEnd(notExported(f.ID, prediction), exported), nil
		}
	}
	return nil, nil
}
