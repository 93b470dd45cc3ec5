package handler

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// DeletePolicy says which deletes this service carries out. Dry runs change nothing: they are allowed under every policy.
type DeletePolicy string

// The policies.
const (
	DeletesEnabled  DeletePolicy = "enabled"
	DeletesApproved DeletePolicy = "approved" // only with approved_plan
	DeletesDisabled DeletePolicy = "disabled"
)

// refuse refuses a delete that the policy forbids; nil for everything else.
func (p DeletePolicy) refuse(c Command) *Refusal {
	switch {
	case c.Action != ActionDelete || c.Data.DryRun:
		return nil
	case p == DeletesDisabled:
		return c.refuse(CodeDeletesDisabled, string(ActionDelete), "this service deletes nothing: CONSUMER_DELETES is disabled; dry_run is allowed")
	case p == DeletesApproved && c.Data.ApprovedPlan == "":
		return c.refuse(CodeDeletesDisabled, "approved_plan", "this service deletes only what was planned and approved; publish with dry_run first, then with the digest it gives")
	}
	return nil
}

// Working objects of a delete.
const (
	begunName     = "delete-begun.json" // the first freeze, and the point of no return
	deleteCutName = "delete-cut.json"   // the last
)

// planObject is where the plan with this digest is kept until it is evidence.
func planObject(digest string) string { return "plan-" + digest + ".json" }

const (
	// callDeadline is more than a destructive call that is on its way can take.
	callDeadline = 30 * time.Second
	// intentFresh is how old an intent may be when its call goes out.
	intentFresh = 5 * time.Second
)

// HoldStore keeps the legal holds.
type HoldStore interface {
	// Held says whether a project is under a legal hold; read from the leader.
	Held(ctx context.Context, project string) (bool, error)
}

// exported is the command as its export reads it: of a delete, the same selection with all its categories.
func (c Command) exported() Command {
	if c.Action == ActionDelete {
		c.Data.Categories = DefaultCategories(ActionExport, c.Data.Narrowing())
	}
	return c
}

// begun is a delete's point of no return, frozen just before its first destructive call: from then on this plan is carried out, whoever does it.
type begun struct {
	V         int            `json:"v"`
	StartedAt time.Time      `json:"started_at"`
	BegunAt   time.Time      `json:"begun_at"` // predictions stored up to this time are deleted
	Host      string         `json:"host"`     // the Training API's
	Digest    string         `json:"digest"`   // of the plan
	Tool      string         `json:"tool"`
	DryRun    bool           `json:"dry_run"`
	Facts     []projectFacts `json:"facts"` // in the order of the plan's projects
	Export    *BundleRef     `json:"export"`
	Ledger    ledgerRef      `json:"ledger"` // as it was then
	Request   requestRecord  `json:"request"`
}

// deletion is an attempt at a delete, by its coordinator.
type deletion struct {
	*run
	begun begun
	done  int64 // things seen to be gone in this attempt
}

// delete carries out a delete: plan, refuse or begin, remove project by project, verify, commit. A dry run ends with the plan.
func (r *run) delete(ctx context.Context) (*EventData, error) {
	if data, err := r.committed(ctx, sink.DeleteBag); data != nil || err != nil {
		return data, err
	}
	if err := r.failedBefore(ctx); err != nil {
		return nil, err
	}
	if err := r.openLedger(ctx); err != nil {
		return nil, err
	}
	d := &deletion{run: r}
	err := d.carryOut(ctx)
	if kept := r.keepCalls(ctx); err != nil || kept != nil {
		return nil, errors.Join(err, kept)
	}
	if err := r.save(ctx, func(j *Job) { j.Phase = PhaseCommit }); err != nil {
		return nil, err
	}
	if err := d.commit(ctx); err != nil {
		return nil, err
	}
	return r.committed(ctx, sink.DeleteBag)
}

// carryOut begins the delete, or takes it up where an earlier attempt left it, and does what was planned.
func (d *deletion) carryOut(ctx context.Context) error {
	found, err := d.resume(ctx)
	if err != nil {
		return err
	}
	if !found {
		if err := d.begin(ctx); err != nil {
			return err
		}
	}
	if d.begun.DryRun {
		return nil
	}
	if err := d.continues(d.begun.Ledger); err != nil {
		return err
	}
	return d.execute(ctx)
}

// resume reads what an earlier attempt began; false when none did.
func (d *deletion) resume(ctx context.Context) (bool, error) {
	b, err := d.Work.ReadAll(ctx, d.layout.Work(begunName), maxPlan)
	if errors.Is(err, sink.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for an earlier beginning: %w", err)
	}
	return true, DecodeVersioned(b, begunName, &d.begun)
}

// begin makes the plan, judges it, exports first where asked, and freezes the beginning. Until then nothing is changed in the service.
func (d *deletion) begin(ctx context.Context) error {
	if refusal := d.Deletes.refuse(d.command); refusal != nil {
		return d.refuseDelete(ctx, errorOf(refusal), nil)
	}
	started := d.Now().UTC().Truncate(time.Millisecond)
	plan, err := d.judged(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { plan.spool.Close() }() //nolint:errcheck // a temporary file; plan may be made anew below
	var exported *BundleRef
	if d.command.Data.ExportFirst && !d.command.Data.DryRun {
		var planned string
		if exported, planned, err = d.exportFirst(ctx, plan.digest()); err != nil {
			return err
		}
		again, err := d.judged(ctx, exported)
		if err != nil {
			return err
		}
		plan.spool.Close() //nolint:errcheck,gosec // a temporary file
		plan = again
		if plan.digest() != planned {
			return d.refuseDelete(ctx, &Error{Code: CodePlanChanged, Message: "what the selection holds changed since it was exported; publish the delete again under a new id"}, exported)
		}
		if err := d.allExported(ctx, plan, exported); err != nil {
			return err
		}
	}
	if _, err := d.Work.Put(ctx, d.layout.Work(planObject(plan.digest())), plan.spool.Body("application/json")); err != nil {
		return fmt.Errorf("store the plan: %w", err)
	}
	if err := d.queued(ctx); err != nil { // else a later command may have begun beside it
		return err
	}
	if !d.command.Data.DryRun {
		// This compare-and-set decides between the delete and whoever wants to cancel it.
		if err := d.save(ctx, func(j *Job) { j.Phase = PhaseDelete }); err != nil {
			return err
		}
	}
	return d.freeze(ctx, begunName, &d.begun, func(context.Context) (any, error) {
		return begun{
			V: FormatVersion, StartedAt: started, BegunAt: d.Now().UTC(), Host: d.client.Host(), Digest: plan.digest(), Tool: d.Version,
			DryRun: d.command.Data.DryRun, Facts: plan.facts, Export: exported, Ledger: d.ledger.ref(),
			Request: d.request(d.Pseudonym.Redact(d.command.Data), d.job.Command.Digest),
		}, nil
	})
}

// judged makes the plan and refuses the delete when it must not be carried out. Where an iteration in training hides images from the plan, the delete waits.
func (d *deletion) judged(ctx context.Context, exported *BundleRef) (*deletePlan, error) {
	plan, err := d.planDelete(ctx)
	if err != nil {
		return nil, err
	}
	err = d.keepCalls(ctx)
	if err == nil {
		var refusal *Error
		if refusal, err = d.judgePlan(ctx, plan); refusal != nil {
			err = d.refuseDelete(ctx, refusal, exported)
		}
	}
	for n, f := range plan.facts {
		if err == nil && f.training != uuid.Nil && !d.command.Data.DryRun {
			err = d.training(ctx, n, f.ID, f.training)
		}
	}
	if err != nil {
		return nil, errors.Join(err, plan.spool.Close())
	}
	return plan, nil
}

// judgePlan refuses what must not be deleted, in the order of RefusalOrder.
func (d *deletion) judgePlan(ctx context.Context, plan *deletePlan) (*Error, error) {
	data := d.command.Data
	for _, f := range plan.facts {
		if len(f.published) > 0 && !data.Unpublish {
			return &Error{Code: CodeIterationPublished, Message: fmt.Sprintf(
				`unpublish: iteration %s of project %s is published; publish the command with "unpublish": true to allow that it is unpublished`, f.published[0], f.ID)}, nil
		}
	}
	if e := data.Expect; e != nil {
		for _, f := range plan.facts {
			if e.ProjectName != "" && f.name != e.ProjectName {
				return &Error{Code: CodePreconditionFailed, Message: fmt.Sprintf("expect.project_name: project %s has another name", f.ID)}, nil
			}
		}
		if n := plan.images(); e.MaxImages != nil && int64(n) > *e.MaxImages {
			return &Error{Code: CodePreconditionFailed, Message: fmt.Sprintf("expect.max_images: the selection holds %d images", n)}, nil
		}
	}
	if data.ApprovedPlan != "" && data.ApprovedPlan != plan.digest() {
		return &Error{Code: CodePlanChanged, Message: fmt.Sprintf("approved_plan: the plan made now has digest %s; look at it with dry_run and approve it", plan.digest())}, nil
	}
	for _, f := range plan.facts {
		if !f.touched {
			continue
		}
		held, err := d.Queue.Held(ctx, f.ID.String())
		if err != nil {
			return nil, fmt.Errorf("look for legal holds: %w", err)
		}
		if held {
			return &Error{Code: CodeLegalHold, Message: fmt.Sprintf("project %s is under a legal hold", f.ID)}, nil
		}
	}
	for _, f := range plan.facts {
		if f.touched && f.readOnly {
			return &Error{Code: CodeReadOnly, Message: fmt.Sprintf("project %s is read-only: the service is in disaster recovery mode", f.ID)}, nil
		}
	}
	return nil, nil
}

// refuseDelete ends a delete that was not begun. An export bag that it made stays, and is named.
func (d *deletion) refuseDelete(ctx context.Context, e *Error, exported *BundleRef) error {
	if err := d.keepCalls(ctx); err != nil {
		return err
	}
	if err := d.cleanUp(ctx); err != nil {
		return err
	}
	return d.end(ctx, EventData{Status: StatusRefused, Error: e, ExportBundle: exported})
}

// exportFirst exports the selection with all its categories, and reads the stored bundle back. planned is the digest of the plan that the export was made
// for: digest, or that of an earlier attempt whose export this one took up.
func (d *deletion) exportFirst(ctx context.Context, digest string) (exported *BundleRef, planned string, err error) {
	r := *d.run
	r.command = r.command.exported()
	data, err := r.receipt(ctx, sink.ExportBag)
	if err == nil && data == nil {
		if err = r.bag(ctx, digest); err == nil {
			data, err = r.receipt(ctx, sink.ExportBag)
		}
	}
	d.job, d.rev, d.published, d.events = r.job, r.rev, r.published, r.events
	if err != nil {
		return nil, "", err
	}
	if data == nil || data.Plan == nil {
		return nil, "", &Error{Code: CodeInternal, Message: "the bundle under this id was not exported for this delete, so nothing is deleted"}
	}
	report, err := sink.Verify(ctx, sink.StoreSource(r.Store, r.layout.Bag(sink.ExportBag)), sink.VerifyOptions{})
	if err != nil {
		return nil, "", fmt.Errorf("verify the exported bundle: %w", err)
	}
	if report.Result != sink.OK {
		return nil, "", &Error{Code: CodeInternal, Message: fmt.Sprintf("the exported bundle does not verify, so nothing is deleted: %v", report.Problems)}
	}
	if data.Exceptions > 0 {
		return nil, "", d.refuseDelete(ctx, &Error{Code: CodePreconditionFailed, Message: fmt.Sprintf(
			"export_first: the exported bundle has %d exceptions (see its evidence/inventory.json), so nothing is deleted: they would be lost", data.Exceptions)}, data.Bundle)
	}
	return data.Bundle, data.Plan.SHA256, nil
}

// allExported refuses a delete of predictions that were stored after they were exported.
func (d *deletion) allExported(ctx context.Context, plan *deletePlan, exported *BundleRef) error {
	if !d.command.Data.takesPredictions() {
		return nil
	}
	for _, f := range plan.facts {
		prediction, err := d.unexported(ctx, f.ID)
		if err != nil {
			return err
		}
		if prediction != uuid.Nil {
			return d.refuseDelete(ctx, notExported(f.ID, prediction), exported)
		}
	}
	return nil
}

// execute removes what was planned, project by project, once a call that an earlier holder may have under way is surely over. It waits while the resource's alias
// means another account than the one that was planned for: what is not there proves nothing.
func (d *deletion) execute(ctx context.Context) error {
	if host := d.client.Host(); host != d.begun.Host {
		return fmt.Errorf("%w: resource %s is at another endpoint, %s, than when the delete was begun, %s", cv.ErrMisconfigured, d.command.Data.Resource, host, d.begun.Host)
	}
	if d.job.Phase != PhaseDelete { // else the beginning said so
		if err := d.save(ctx, func(j *Job) { j.Phase = PhaseDelete }); err != nil {
			return err
		}
	}
	if err := d.former(ctx); err != nil {
		return err
	}
	n := 0
	for p, err := range d.planFile(ctx) {
		if err != nil {
			return err
		}
		if err := (&removal{deletion: d, n: n, plan: p, facts: d.begun.Facts[n]}).run(ctx); err != nil {
			return err
		}
		n++
	}
	return nil
}

// former waits out a call that the holder before us may still have on its way: its intent is in the ledger, its result is not.
func (d *deletion) former(ctx context.Context) error {
	if d.ledger.open.IsZero() {
		return nil
	}
	left := min(d.ledger.open.Add(intentFresh+callDeadline).Sub(d.Now()), intentFresh+callDeadline)
	if left <= 0 {
		return nil
	}
	d.log.Info().Dur("wait", left).Msg("a destructive call of the former coordinator may be under way: wait until it is over")
	return d.Wait(ctx, left)
}

// destroy makes a destructive call under the fence: its intent goes into the ledger first, which fails when somebody else holds the command; its
// result after. Each try of the call has its own. gone says that the service did not know what was to be deleted, already that no earlier try can be why,
// whoever made it.
func (d *deletion) destroy(ctx context.Context, call func(ctx context.Context) error) (gone, already bool, err error) {
	var (
		broken   error
		key      [sha256.Size]byte
		intended time.Time // when the last intent was sent
	)
	fresh := func() bool { return d.Now().Sub(intended) < intentFresh }
	traced := cv.WithTrace(ctx, cv.Trace{
		Before: func(ctx context.Context, c cv.Call) error {
			for {
				intended = d.Now()
				record := recordOf(c)
				key = callKey(record.Operation, record.Target)
				record.Time = intended.UTC() // an heir reckons from it how long the call may be under way
				if err := d.ledger.intend(ctx, d.calls.take(), record); err != nil {
					return err
				}
				if fresh() {
					return nil
				}
				// Too much time went by, as when this process stood still: this call is not made, and the next intent finds out who holds the command.
				if err := d.ledger.write(recordOf(c).line(sink.LedgerResult)); err != nil {
					return err
				}
			}
		},
		Fresh: fresh,
		After: func(c cv.Call) {
			broken = errors.Join(broken, d.ledger.write(recordOf(c).line(sink.LedgerResult)))
		},
	})
	err = call(traced)
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if kept := errors.Join(broken, d.ledger.flush(late)); kept != nil {
		return false, false, errors.Join(err, kept)
	}
	gone, err = isGone(err)
	return gone, gone && d.ledger.fates.intents[key] == 1, err
}

// isGone makes a 404 of the API's own what it is to a delete: it is gone.
func isGone(err error) (bool, error) {
	if errors.Is(err, cv.ErrGone) {
		return true, nil
	}
	return false, err
}

// finishDelete ends a delete that fails or is cancelled. Once it was begun, what was called and what is known is stored as evidence; before, nothing was changed, and
// all that it stored goes but a whole bag of export_first.
func (r *run) finishDelete(ctx context.Context, status Status, e *Error) error {
	if err := r.failedBefore(ctx); err != nil {
		return err
	}
	d := &deletion{run: r}
	found, err := d.resume(ctx)
	if err != nil {
		return err
	}
	if !found || d.begun.DryRun {
		end := EventData{Status: status, Error: e}
		data, err := r.receipt(ctx, sink.ExportBag)
		if err != nil {
			return err
		}
		bags := []sink.BagKind{sink.DeleteBag}
		if data != nil {
			end.ExportBundle = data.Bundle
		} else {
			bags = append(bags, sink.ExportBag)
		}
		if err := r.discard(ctx, bags...); err != nil {
			return err
		}
		return r.end(ctx, end)
	}
	if r.ledger == nil {
		if err := r.openLedger(ctx); err != nil {
			return err
		}
	}
	if err := d.fail(ctx, e); err != nil {
		return fmt.Errorf("store the evidence of a failed delete: %w", err)
	}
	return r.failedBefore(ctx)
}
