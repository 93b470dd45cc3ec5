package handler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// Values of Config.Deletes.
const (
	DeletesEnabled  = "enabled"
	DeletesApproved = "approved" // only with approved_plan
	DeletesDisabled = "disabled"
)

// Working objects of a delete.
const (
	firstPlanName   = "delete-plan.json"  // digest of the plan made before the export
	begunName       = "delete-begun.json" // the point of no return
	deletePlanName  = "delete-plan-full.json"
	deleteCutName   = "delete-cut.json"
	deletedNameForm = "deleted/%06d.jsonl"
)

const (
	// callDeadline bounds a destructive call that is on its way.
	callDeadline = 30 * time.Second
	// intentFresh is how old an intent may be when its call goes out.
	intentFresh = 5 * time.Second
)

// HoldStore keeps the legal holds.
type HoldStore interface {
	// Held says whether a project is under a legal hold.
	Held(ctx context.Context, project string) (bool, error)
}

// exported is the command as its export reads it: of a delete, the same selection with all its categories.
func (c Command) exported() Command {
	if c.Action == ActionDelete {
		c.Data.Categories = DefaultCategories(ActionExport, c.Data.Narrowing())
	}
	return c
}

// begun is a delete's point of no return: frozen just before the first destructive call. From then on this plan is carried out,
// whoever does it.
type begun struct {
	V         int            `json:"v"`
	StartedAt time.Time      `json:"started_at"`
	BegunAt   time.Time      `json:"begun_at"` // predictions up to this time are deleted; verification is to be done within its time from here
	Digest    string         `json:"digest"`   // of the plan
	Tool      string         `json:"tool"`
	Facts     []projectFacts `json:"facts"`
	Export    *BundleRef     `json:"export"` // of export_first
	DryRun    bool           `json:"dry_run"`
	Command   string         `json:"command"`
	Request   requestRecord  `json:"request"`
}

// deletion is an attempt at a delete, by its coordinator.
type deletion struct {
	*run
	begun begun
	fresh bool // nothing was deleted before this attempt
}

// delete carries out a delete: plan, refuse or begin, remove project by project, verify, commit. A dry run ends with the plan.
func (r *run) delete(ctx context.Context) (*EventData, error) {
	if data, err := r.committed(ctx, sink.DeleteBag); data != nil || err != nil {
		return data, err
	}
	if err := r.openLedger(ctx); err != nil {
		return nil, err
	}
	d := &deletion{run: r}
	err := d.read(ctx, begunName, &d.begun)
	if errors.Is(err, sink.ErrNotFound) {
		d.fresh = true
		err = d.begin(ctx)
	}
	if err == nil && !d.begun.DryRun {
		err = d.execute(ctx)
	}
	if err = errors.Join(err, ctxDone(ctx, func() error { return r.keepCalls(ctx) })); err != nil {
		return nil, err
	}
	if err := d.commit(ctx); err != nil {
		return nil, err
	}
	return r.committed(ctx, sink.DeleteBag)
}

// ctxDone does what may still be done under a live context.
func ctxDone(ctx context.Context, do func() error) error {
	if ctx.Err() != nil {
		return nil
	}
	return do()
}

// read reads a frozen object; sink.ErrNotFound when it is not there.
func (r *run) read(ctx context.Context, name string, into any) error {
	b, err := r.Work.ReadAll(ctx, r.layout.Work(name), maxPlan)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return DecodeVersioned(b, name, into)
}

// begin makes the plan, judges it, exports first where asked, and freezes the beginning. Until then nothing is changed in the service.
func (d *deletion) begin(ctx context.Context) error {
	if err := d.judgePolicy(); err != nil {
		return d.refuseDelete(ctx, err, nil)
	}
	plan, err := d.planDelete(ctx)
	if err != nil {
		return err
	}
	defer func() { plan.spool.Close() }() //nolint:errcheck // a temporary file; plan may be made anew below
	if err := d.keepCalls(ctx); err != nil {
		return err
	}
	if refusal, err := d.judgePlan(ctx, plan); refusal != nil || err != nil {
		if err != nil {
			return err
		}
		return d.refuseDelete(ctx, refusal, nil)
	}
	b := begun{
		V: FormatVersion, StartedAt: d.started(), Tool: d.Version, DryRun: d.command.Data.DryRun, Command: d.command.ID,
		Request: requestRecord{
			V: FormatVersion, ID: d.command.ID, Action: d.command.Action, Source: d.command.Source, Published: d.command.Published,
			Data: d.Pseudonym.Redact(d.command.Data), Digest: d.job.Command.Digest,
		},
	}
	if d.command.Data.ExportFirst && !d.command.Data.DryRun {
		var first struct {
			V      int    `json:"v"`
			Digest string `json:"digest"`
		}
		if err := d.freeze(ctx, firstPlanName, &first, func(context.Context) (any, error) {
			first.V, first.Digest = FormatVersion, plan.digest()
			return first, nil
		}); err != nil {
			return err
		}
		if b.Export, err = d.exportFirst(ctx); err != nil {
			return err
		}
		again, err := d.planDelete(ctx)
		if err != nil {
			return err
		}
		plan.spool.Close() //nolint:errcheck,gosec // a temporary file
		plan = again
		if err := d.keepCalls(ctx); err != nil {
			return err
		}
		if plan.digest() != first.Digest {
			return d.refuseDelete(ctx, &Error{Code: CodePlanChanged, Message: "what the selection holds changed while it was exported; publish the delete again"}, b.Export)
		}
		if refusal, err := d.judgePlan(ctx, plan); refusal != nil || err != nil {
			if err != nil {
				return err
			}
			return d.refuseDelete(ctx, refusal, b.Export)
		}
	}
	b.Digest, b.Facts, b.BegunAt = plan.digest(), plan.facts, d.Now().UTC()
	if _, err := d.Work.Put(ctx, d.layout.Work(planObject(b.Digest)), plan.spool.Body("application/json")); err != nil {
		return fmt.Errorf("store the plan: %w", err)
	}
	// The phase is what a cancel looks at: from here on it comes too late.
	if err := d.save(ctx, func(j *Job) { j.Phase = PhaseDelete }); err != nil {
		return err
	}
	return d.freeze(ctx, begunName, &d.begun, func(context.Context) (any, error) { return b, nil })
}

// planObject is where a plan with this digest is stored until it is evidence.
func planObject(digest string) string { return "plan-" + digest + ".json" }

func (d *deletion) started() time.Time { return d.Now().UTC().Truncate(time.Millisecond) }

// judgePolicy refuses what the configuration forbids.
func (d *deletion) judgePolicy() *Error {
	data := d.command.Data
	if data.DryRun {
		return nil
	}
	switch {
	case d.Deletes == DeletesDisabled:
		return &Error{Code: CodeDeletesDisabled, Message: "this service does not delete: CONSUMER_DELETES is disabled"}
	case d.Deletes == DeletesApproved && data.ApprovedPlan == "":
		return &Error{Code: CodeDeletesDisabled, Message: "approved_plan: this service deletes only what was planned and approved; publish with dry_run first, then with approved_plan"}
	}
	return nil
}

// judgePlan refuses what must not be deleted, in the order of RefusalOrder.
func (d *deletion) judgePlan(ctx context.Context, plan *deletePlan) (*Error, error) {
	data := d.command.Data
	for _, f := range plan.facts {
		if len(f.published) > 0 && !data.Unpublish {
			return &Error{Code: CodeIterationPublished, Message: fmt.Sprintf(
				"unpublish: iteration %s of project %s is published; publish the command with \"unpublish\": true to allow that it is unpublished", f.published[0], f.ID)}, nil
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
		held, err := d.Queue.Held(ctx, f.ID.String())
		if err != nil {
			return nil, fmt.Errorf("look for legal holds: %w", err)
		}
		if held {
			return &Error{Code: CodeLegalHold, Message: fmt.Sprintf("project %s is under a legal hold", f.ID)}, nil
		}
	}
	for _, f := range plan.facts {
		if f.readOnly {
			return &Error{Code: CodeReadOnly, Message: fmt.Sprintf("project %s is read-only: the service is in disaster recovery mode", f.ID)}, nil
		}
	}
	return nil, nil
}

// refuseDelete ends a delete that was not begun. An export bag that it made stays, and is named.
func (d *deletion) refuseDelete(ctx context.Context, e *Error, export *BundleRef) error {
	if _, err := d.Work.RemoveAll(ctx, d.layout.Work("")); err != nil {
		return fmt.Errorf("remove the working objects: %w", err)
	}
	return d.end(ctx, EventData{Status: StatusRefused, Error: e, ExportBundle: export})
}

// exportFirst exports the selection with all its categories, and reads the stored bundle back before anything is deleted.
func (d *deletion) exportFirst(ctx context.Context) (*BundleRef, error) {
	r := *d.run
	r.command = r.command.exported()
	data, err := r.receipt(ctx, sink.ExportBag)
	if err == nil && data == nil {
		err = r.bag(ctx)
	}
	d.job, d.rev = r.job, r.rev
	if err != nil {
		return nil, err
	}
	report, err := sink.Verify(ctx, sink.StoreSource(r.Store, r.layout.Bag(sink.ExportBag)), sink.VerifyOptions{})
	if err != nil {
		return nil, fmt.Errorf("verify the exported bundle: %w", err)
	}
	switch report.Result {
	case sink.Inconclusive:
		return nil, fmt.Errorf("verify the exported bundle: %w: %v", sink.ErrUnavailable, report.Problems)
	case sink.Failed:
		return nil, &Error{Code: CodeInternal, Message: fmt.Sprintf("the exported bundle does not verify, so nothing is deleted: %v", report.Problems)}
	}
	data, err = r.receipt(ctx, sink.ExportBag)
	if err != nil {
		return nil, err
	}
	if data.Exceptions > 0 {
		return nil, &Error{Code: CodeInternal, Message: fmt.Sprintf("the exported bundle has %d exceptions, so nothing is deleted: it would be lost", data.Exceptions)}
	}
	return data.Bundle, nil
}

// destroy makes destructive calls under the fence: each is preceded by its intent in the ledger, which fails when somebody else holds the
// command, and followed by its result.
func (d *deletion) destroy(ctx context.Context, call func(ctx context.Context) error) error {
	ctx = cv.WithTrace(ctx, cv.Trace{
		Before: func(ctx context.Context, c cv.Call) error {
			for {
				sent := d.Now()
				if err := d.ledger.intent(ctx, d.calls.take(), recordOf(c)); err != nil {
					return err
				}
				if d.Now().Sub(sent) < intentFresh {
					return nil
				}
			}
		},
		After: func(c cv.Call) { d.ledger.result(recordOf(c)) },
	})
	return errors.Join(call(ctx), ctxDone(ctx, func() error { return d.ledger.flush(ctx) }))
}

// gone makes a 404 of a delete what it is: it is gone already.
func gone(err error) (already bool, _ error) {
	if errors.Is(err, cv.ErrGone) {
		return true, nil
	}
	return false, err
}

// deletedLine is a line of deleted.jsonl.
type deletedLine struct {
	ID             uuid.UUID `json:"id"`
	Category       Category  `json:"category"`
	How            string    `json:"how"` // the operation that removed it, or already_gone
	VerifiedAbsent time.Time `json:"verified_absent"`
}

const alreadyGone = "already_gone"

// execute removes what was planned, project by project. A project whose removal was verified is not touched again.
func (d *deletion) execute(ctx context.Context) error {
	if err := d.former(ctx); err != nil {
		return err
	}
	plan, _, err := d.Work.Open(ctx, d.layout.Work(planObject(d.begun.Digest)))
	if err != nil {
		return fmt.Errorf("open the plan: %w", err)
	}
	defer plan.Close() //nolint:errcheck // only read
	i := 0
	for p, err := range planProjects(plan) {
		if err != nil {
			return err
		}
		key := d.layout.Work(fmt.Sprintf(deletedNameForm, i))
		facts := d.begun.Facts[i]
		i++
		switch _, err := d.Work.Head(ctx, key); {
		case err == nil:
			continue
		case !errors.Is(err, sink.ErrNotFound):
			return fmt.Errorf("look for the record of project %s: %w", p.ID, err)
		}
		lines, err := (&removal{deletion: d, plan: p, facts: facts, done: map[uuid.UUID]string{}}).run(ctx)
		if err != nil {
			return err
		}
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		for _, l := range lines {
			if err := enc.Encode(l); err != nil {
				return fmt.Errorf("record what was deleted: %w", err)
			}
		}
		if _, err := d.Work.Put(ctx, key, sink.Bytes(buf.Bytes(), "application/jsonl")); err != nil {
			return fmt.Errorf("record what was deleted: %w", err)
		}
	}
	return nil
}

// former waits out a call that the holder before us may still have on its way: its intent is in the ledger, its result is not.
func (d *deletion) former(ctx context.Context) error {
	if d.ledger.open.IsZero() {
		return nil
	}
	if left := d.ledger.open.Add(intentFresh + callDeadline).Sub(d.Now()); left > 0 {
		d.log.Info().Dur("wait", left).Msg("wait out a destructive call that the former coordinator may have under way")
		return d.Wait(ctx, left)
	}
	return nil
}

// abortDelete ends a delete for good. Once it was begun, what was called and what is known is stored as evidence.
func (r *run) abortDelete(ctx context.Context, e *Error) error {
	d := &deletion{run: r}
	switch err := d.read(ctx, begunName, &d.begun); {
	case errors.Is(err, sink.ErrNotFound) || err == nil && d.begun.DryRun:
		r.discard(ctx)
		return r.end(ctx, EventData{Status: StatusFailed, Error: e})
	case err != nil:
		return err
	}
	if r.ledger == nil {
		if err := r.openLedger(ctx); err != nil {
			return err
		}
	}
	counts, err := d.failure(ctx, e)
	if err != nil {
		return fmt.Errorf("store the evidence of a failed delete: %w", err)
	}
	if _, err := d.Work.RemoveAll(ctx, d.layout.Work("")); err != nil {
		return fmt.Errorf("remove the working objects: %w", err)
	}
	return r.end(ctx, EventData{
		Status: StatusFailed, Error: e, StartedAt: &d.begun.StartedAt, Counts: counts, ExportBundle: d.begun.Export,
		Plan: &PlanRef{SHA256: d.begun.Digest, URI: r.uri(sink.DeleteBag) + string(sink.PlanFile)}, Residuals: d.residuals(),
	})
}

// predictionsOf is the ids that DeletePrediction was called with, out of a ledger line's target.
func predictionsOf(target string) (project uuid.UUID, ids []uuid.UUID) {
	path, list, _ := strings.Cut(target, " ")
	project, err := uuid.Parse(strings.TrimSuffix(strings.TrimPrefix(path, "projects/"), "/predictions"))
	if err != nil {
		return uuid.Nil, nil
	}
	for s := range strings.SplitSeq(list, ",") {
		if id, err := uuid.Parse(s); err == nil {
			ids = append(ids, id)
		}
	}
	return project, ids
}
