package handler

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
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

// refuse refuses a delete that the policy forbids; nil for everything else.
func (p DeletePolicy) refuse(c contract.Command) *contract.Refusal {
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

// deleteCutName is the working object of a delete's last freeze.
const deleteCutName = "delete-cut.json"

// begunPrefix begins the names of the working objects that hold a delete's beginning.
const begunPrefix = "delete-begun-"

// begunObject is where the beginning with this digest is kept. The job names the digest: an object
// under another name, or with other content, is no beginning.
func begunObject(digest string) string { return begunPrefix + digest + ".json" }

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

// begun is a delete's point of no return, frozen just before its first destructive call: from then
// on this plan is carried out, whoever does it.
type begun struct {
	V         int                 `json:"v"`
	StartedAt time.Time           `json:"started_at"`
	BegunAt   time.Time           `json:"begun_at"` // predictions stored up to this time are deleted
	Host      string              `json:"host"`     // the Training API's
	Account   string              `json:"account"`  // see Config.Accounts
	Digest    string              `json:"digest"`   // of the plan
	Tool      string              `json:"tool"`
	DryRun    bool                `json:"dry_run"`
	Facts     []projectFacts      `json:"facts"` // in the order of the plan's projects
	Export    *contract.BundleRef `json:"export"`
	NotFound  notFound            `json:"not_found"`
	Ledger    ledgerRef           `json:"ledger"` // as it was then
	Request   requestRecord       `json:"request"`

	// Credentials are those proven when it began: for an attempt that finds no job any more.
	Credentials []string `json:"credentials"`
}

// deletion is an attempt at a delete, by its coordinator.
type deletion struct {
	*run
	begun begun
	plan  *sink.Spool // the plan that begun names, once it was read and found to be it
	done  int64       // things seen to be gone in this attempt
}

// close removes the plan's temporary file.
func (d *deletion) close() {
	if d.plan == nil {
		return
	}
	if err := d.plan.Close(); err != nil {
		d.log.Warn().Err(err).Msg("remove a temporary file")
	}
	d.plan = nil
}

// delete carries out a delete: plan, refuse or begin, remove project by project, verify, commit. A
// dry run ends with the plan.
func (r *run) delete(ctx context.Context) (*contract.EventData, error) {
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
	defer d.close()
	err := d.carryOut(ctx)
	if kept := r.keepCalls(ctx); err != nil || kept != nil {
		return nil, errors.Join(err, kept)
	}
	if err := r.save(ctx, func(j *contract.Job) { j.Phase = contract.PhaseCommit }); err != nil {
		return nil, err
	}
	if err := d.commit(ctx); err != nil {
		return nil, err
	}
	return r.committed(ctx, sink.DeleteBag)
}

// carryOut begins the delete, or takes it up where an earlier attempt left it, and does what was
// planned.
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
	if d.command.Data.DryRun {
		return nil
	}
	if err := d.mayExecute(); err != nil {
		return err
	}
	if err := d.continues(d.begun.Ledger); err != nil {
		return err
	}
	return d.execute(ctx)
}

// mayExecute judges policy and approval again before every execution: the stored beginning is not
// trusted.
func (d *deletion) mayExecute() error {
	if refusal := d.Deletes.refuse(d.command); refusal != nil {
		e := refusal.Reason()
		e.Message += "; what was not deleted yet stays"
		return e
	}
	if approved := d.command.Data.ApprovedPlan; approved != "" && approved != d.begun.Digest {
		return &contract.Error{Code: contract.CodePlanChanged, Message: fmt.Sprintf(
			"approved_plan: the plan under way has digest %s; what was not deleted yet stays: approve that digest under a new id", d.begun.Digest)}
	}
	return nil
}

// resume reads what an earlier attempt began; false when none did. The job names the beginning.
// Where the job was removed, a destructive call in the ledger shows that there was one, and the
// latest stored beginning that fits the command and the ledger is taken, if its plan holds no more
// than the command.
func (d *deletion) resume(ctx context.Context) (bool, error) {
	if ref := d.job.Deletion; ref != nil {
		return true, d.loadBegun(ctx, ref.BegunSHA256)
	}
	if len(d.ledger.fates.calls) == 0 || d.command.Data.DryRun {
		return false, nil
	}
	var (
		last   *begun
		chosen string // its digest
	)
	for o, err := range d.Work.List(ctx, d.layout.Work(begunPrefix)) {
		if err != nil {
			return false, fmt.Errorf("look for an earlier beginning: %w", err)
		}
		name := strings.TrimPrefix(string(o.Key), string(d.layout.Work("")))
		digest := strings.TrimSuffix(strings.TrimPrefix(name, begunPrefix), ".json")
		err = d.loadBegun(ctx, digest)
		if err == nil {
			err = d.continues(d.begun.Ledger)
		}
		var foreign *contract.Error
		if errors.As(err, &foreign) {
			continue
		}
		if err != nil {
			return false, err
		}
		if last == nil || d.begun.Ledger.Entries > last.Ledger.Entries {
			found := d.begun
			last, chosen = &found, digest
		}
	}
	d.begun = begun{}
	if last == nil {
		return true, &contract.Error{Code: contract.CodeInternal, Message: "the ledger has destructive calls of this delete, but the plan they followed is " +
			"neither in the job nor in storage: nothing more is deleted; publish the command again under a new id"}
	}
	d.begun = *last
	if err := d.loadPlan(ctx); err != nil {
		return true, err
	}
	if err := d.withinCommand(); err != nil {
		return true, err
	}
	return true, d.save(ctx, func(j *contract.Job) {
		j.Deletion = &contract.DeletionRef{BegunSHA256: chosen, PlanSHA256: d.begun.Digest, Credentials: d.begun.Credentials}
		j.Phase = contract.PhaseDelete
	})
}

// loadBegun reads the beginning with this digest, and checks that it is that, and this command's.
func (d *deletion) loadBegun(ctx context.Context, digest string) error {
	name := begunObject(digest)
	b, err := d.Work.ReadAll(ctx, d.layout.Work(name), maxPlan)
	if errors.Is(err, sink.ErrNotFound) {
		return spoiled(name, "is missing")
	}
	if err != nil {
		return fmt.Errorf("read the beginning: %w", err)
	}
	if hexSHA256(b) != digest {
		return spoiled(name, "is not what was stored there")
	}
	var found begun
	switch err := contract.DecodeVersioned(b, name, &found); {
	case errors.Is(err, contract.ErrNewer):
		return err
	case err != nil:
		return spoiled(name, "cannot be read")
	}
	r := found.Request
	if found.DryRun != d.command.Data.DryRun || !d.command.SameAs(contract.Job{ID: r.ID, Action: r.Action, Command: contract.CommandRef{Digest: r.Digest}}) {
		return spoiled(name, "is of another command")
	}
	d.begun = found
	return nil
}

// spoiled says that a working object which decides what is deleted is not the one that was stored.
func spoiled(name, how string) error {
	return &contract.Error{Code: contract.CodeInternal, Message: fmt.Sprintf("the working object %s %s: the bucket was changed from outside, so nothing more is deleted; "+
		"restrict who may write to it, and publish the command again under a new id", name, how)}
}

// hexSHA256 is the lower-case hex SHA-256 of b.
func hexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// loadPlan reads the plan that the beginning names into a temporary file, unless it is there, and
// checks its digest before anything is read of it.
func (d *deletion) loadPlan(ctx context.Context) error {
	if d.plan != nil {
		return nil
	}
	name := planObject(d.begun.Digest)
	stored, _, err := d.Work.Open(ctx, d.layout.Work(name))
	if errors.Is(err, sink.ErrNotFound) {
		return spoiled(name, "is missing")
	}
	if err != nil {
		return fmt.Errorf("open the plan: %w", err)
	}
	defer stored.Close()
	spool, err := sink.NewSpool(d.SpoolDir)
	if err != nil {
		return fmt.Errorf("open a spool: %w", err)
	}
	_, err = io.Copy(spool, stored)
	switch {
	case err != nil:
		err = fmt.Errorf("read the plan: %w", err)
	case spool.SHA256() != d.begun.Digest:
		err = spoiled(name, "does not have the digest that was begun with")
	default:
		d.plan = spool
		return nil
	}
	return errors.Join(err, spool.Close())
}

// withinCommand checks that the plan takes no more than the command names.
func (d *deletion) withinCommand() error {
	var head planHead
	for p, err := range planProjects(d.plan.ReadSeeker(), &head) {
		if err != nil {
			return err
		}
		if !d.command.Data.AllProjects && !slices.Contains(d.command.Data.ProjectIDs, p.ID) {
			return spoiled(planObject(d.begun.Digest), "has a project that the command does not name")
		}
	}
	want := d.newPlanHead(d.begun.Host)
	if !reflect.DeepEqual(want, head) {
		return spoiled(planObject(d.begun.Digest), "differs from the command in selection, categories or unpublish")
	}
	return nil
}

// begin makes the plan, judges it, exports first where asked, and stores the beginning. Until then
// nothing is changed in the service.
func (d *deletion) begin(ctx context.Context) error {
	if refusal := d.Deletes.refuse(d.command); refusal != nil {
		return d.refuseDelete(ctx, refusal.Reason(), nil)
	}
	started := d.Now().UTC().Truncate(time.Millisecond)
	plan, err := d.planAndCheck(ctx, nil)
	if err != nil {
		return err
	}
	d.plan = plan.spool
	var exported *contract.BundleRef
	if d.command.Data.ExportFirst && !d.command.Data.DryRun {
		var planned string
		if exported, planned, err = d.exportFirst(ctx, plan.digest()); err != nil {
			return err
		}
		again, err := d.planAndCheck(ctx, exported)
		if err != nil {
			return err
		}
		d.close()
		plan, d.plan = again, again.spool
		if plan.digest() != planned {
			return d.refuseDelete(ctx, &contract.Error{Code: contract.CodePlanChanged, Message: "what the selection holds changed since it was exported; publish the delete again under a new id"}, exported)
		}
		if err := d.allExported(ctx, plan, exported); err != nil {
			return err
		}
	}
	if err := d.putNamed(ctx, planObject(plan.digest()), plan.spool.Body("application/json")); err != nil {
		return fmt.Errorf("store the plan: %w", err)
	}
	credentials := []string{}
	fingerprint, err := d.provenFingerprint(ctx)
	if err != nil {
		return err
	}
	if fingerprint != "" {
		credentials = append(credentials, fingerprint)
	}
	d.begun = begun{
		V: contract.FormatVersion, StartedAt: started, BegunAt: latest(d.Now(), d.command.Published), Host: d.client.Host(),
		Account: d.accountOf(d.command.Data.Resource), Digest: plan.digest(), Tool: d.Version,
		DryRun: d.command.Data.DryRun, Facts: plan.facts, NotFound: plan.notFound, Export: exported, Ledger: d.ledger.ref(), Credentials: credentials,
		Request: d.request(d.Pseudonym.Redact(d.command.Data), d.job.Command),
	}
	d.begun.Request.Account = d.begun.Account
	b, err := contract.Marshal(d.begun)
	if err != nil {
		return fmt.Errorf("encode the beginning: %w", err)
	}
	body := sink.Bytes(b, "application/json")
	digest := body.SHA256
	if err := d.queued(ctx); err != nil { // else a later command may have begun beside it
		return err
	}
	if err := d.putNamed(ctx, begunObject(digest), body); err != nil {
		return fmt.Errorf("store the beginning: %w", err)
	}
	// This compare-and-set is the point of no return: it decides between the delete and a cancel,
	// and says which of the stored beginnings is the one.
	return d.save(ctx, func(j *contract.Job) {
		j.Deletion = &contract.DeletionRef{BegunSHA256: digest, PlanSHA256: plan.digest(), Credentials: credentials}
		if !d.command.Data.DryRun {
			j.Phase = contract.PhaseDelete
		}
	})
}

// latest is the later of two times: of this replica's clock and JetStream's, which may be behind.
func latest(a, b time.Time) time.Time {
	if b.After(a) {
		a = b
	}
	return a.UTC()
}

// putNamed stores a working object whose name contains its digest, and replaces other content under
// that name.
func (d *deletion) putNamed(ctx context.Context, name string, body sink.Body) error {
	key := d.layout.Work(name)
	for again := false; ; again = true {
		o, err := d.Work.Put(ctx, key, body)
		if err != nil || !o.Adopted {
			return err //nolint:wrapcheck // the caller says what it stores
		}
		there, _, err := d.Work.Open(ctx, key)
		if err != nil {
			return err //nolint:wrapcheck // as above
		}
		hash := sha256.New()
		_, err = io.Copy(hash, there)
		if err = errors.Join(err, there.Close()); err != nil {
			return fmt.Errorf("read back %s: %w", name, err)
		}
		if hex.EncodeToString(hash.Sum(nil)) == body.SHA256 {
			return nil
		}
		if again {
			return spoiled(name, "is replaced again and again")
		}
		if err := d.Work.Remove(ctx, key); err != nil {
			return err //nolint:wrapcheck // as above
		}
	}
}

// planAndCheck makes the plan and refuses the delete when it must not be carried out. Where an
// iteration in training hides images from the plan, the delete waits.
func (d *deletion) planAndCheck(ctx context.Context, exported *contract.BundleRef) (*deletePlan, error) {
	plan, err := d.planDelete(ctx)
	if err != nil {
		return nil, err
	}
	err = d.keepCalls(ctx)
	if err == nil {
		var refusal *contract.Error
		if refusal, err = d.checkPlan(ctx, plan); refusal != nil {
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

// checkPlan refuses what must not be deleted, in the order of RefusalOrder.
func (d *deletion) checkPlan(ctx context.Context, plan *deletePlan) (*contract.Error, error) {
	data := d.command.Data
	for _, f := range plan.facts {
		if len(f.published) > 0 && !data.Unpublish {
			return &contract.Error{Code: contract.CodeIterationPublished, Message: fmt.Sprintf(
				`unpublish: iteration %s of project %s is published; publish the command with "unpublish": true to allow that it is unpublished`, f.published[0], f.ID)}, nil
		}
	}
	if e := data.Expect; e != nil {
		for _, f := range plan.facts {
			if e.ProjectName != "" && f.name != e.ProjectName {
				return &contract.Error{Code: contract.CodePreconditionFailed, Message: fmt.Sprintf("expect.project_name: project %s has another name", f.ID)}, nil
			}
		}
		if n := plan.images(); e.MaxImages != nil && int64(n) > *e.MaxImages {
			return &contract.Error{Code: contract.CodePreconditionFailed, Message: fmt.Sprintf("expect.max_images: the selection holds %d images", n)}, nil
		}
	}
	if data.ApprovedPlan != "" && data.ApprovedPlan != plan.digest() {
		return &contract.Error{Code: contract.CodePlanChanged, Message: fmt.Sprintf("approved_plan: the plan made now has digest %s; look at it with dry_run and approve it", plan.digest())}, nil
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
			return &contract.Error{Code: contract.CodeLegalHold, Message: fmt.Sprintf("project %s is under a legal hold", f.ID)}, nil
		}
	}
	for _, f := range plan.facts {
		if f.touched && f.readOnly {
			return &contract.Error{Code: contract.CodeReadOnly, Message: fmt.Sprintf("project %s is read-only: the service is in disaster recovery mode", f.ID)}, nil
		}
	}
	return nil, nil
}

// refuseDelete ends a delete that was not begun. An export bag that it made stays, and is named.
func (d *deletion) refuseDelete(ctx context.Context, e *contract.Error, exported *contract.BundleRef) error {
	if err := d.keepCalls(ctx); err != nil {
		return err
	}
	if err := d.cleanUp(ctx); err != nil {
		return err
	}
	return d.end(ctx, contract.EventData{Status: contract.StatusRefused, Error: e, ExportBundle: exported})
}

// exportFirst exports the selection with all its categories, and reads the stored bundle back.
// planned is the digest of the plan that the export was made for: digest, or that of an earlier
// attempt whose export this one took up.
func (d *deletion) exportFirst(ctx context.Context, digest string) (exported *contract.BundleRef, planned string, err error) {
	r := *d.run
	r.command = r.command.AsExport()
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
		return nil, "", &contract.Error{Code: contract.CodeInternal, Message: "the bundle under this id was not exported for this delete, so nothing is deleted"}
	}
	report, err := sink.Verify(ctx, sink.StoreSource(r.Store, r.layout.Bag(sink.ExportBag)), sink.VerifyOptions{})
	if err != nil {
		return nil, "", fmt.Errorf("verify the exported bundle: %w", err)
	}
	if report.Result != sink.OK {
		return nil, "", &contract.Error{Code: contract.CodeInternal, Message: fmt.Sprintf("the exported bundle does not verify, so nothing is deleted: %v", report.Problems)}
	}
	if data.Exceptions > 0 {
		return nil, "", d.refuseDelete(ctx, &contract.Error{Code: contract.CodePreconditionFailed, Message: fmt.Sprintf(
			"export_first: the exported bundle has %d exceptions (see its evidence/inventory.json), so nothing is deleted: they would be lost", data.Exceptions)}, data.Bundle)
	}
	return data.Bundle, data.Plan.SHA256, nil
}

// allExported refuses a delete of predictions that were stored after they were exported.
func (d *deletion) allExported(ctx context.Context, plan *deletePlan, exported *contract.BundleRef) error {
	if !takesPredictions(d.command.Data) {
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

// execute removes what was planned, project by project, once a call that an earlier holder may have
// under way is surely over. It waits while the resource's alias means another account than the one
// that was planned for: what is not there proves nothing.
func (d *deletion) execute(ctx context.Context) error {
	if err := d.sameAsBegun(d.begun.Host, d.begun.Account); err != nil {
		return err
	}
	d.account.host = d.begun.Host
	if d.job.Phase != contract.PhaseDelete { // else the beginning said so
		if err := d.save(ctx, func(j *contract.Job) { j.Phase = contract.PhaseDelete }); err != nil {
			return err
		}
	}
	if err := d.awaitFormerCall(ctx); err != nil {
		return err
	}
	if err := d.loadPlan(ctx); err != nil {
		return err
	}
	for _, f := range d.begun.Facts {
		d.account.expect(f.ID)
	}
	n := 0
	for p, err := range d.planned() {
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

// awaitFormerCall waits out a call that the holder before us may still have on its way: its intent
// is in the ledger, its result is not.
func (d *deletion) awaitFormerCall(ctx context.Context) error {
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

// destroy makes a destructive call under the fence: its intent goes into the ledger first, which
// fails when somebody else holds the command; its result after. Each try of the call has its own.
// gone says that the service did not know what was to be deleted, already that no earlier try can
// be why, whoever made it.
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
				record := recordOf(c, intended) // an heir reckons from its time how long the call may be under way
				key = callKey(record.Operation, record.Target)
				if err := d.ledger.intend(ctx, d.calls.take(), record); err != nil {
					return err
				}
				if fresh() {
					return nil
				}
				// Too much time went by, as when this process stood still: this call is not made,
				// and the next intent finds out who holds the command.
				if err := d.ledger.write(recordOf(c, d.Now()).line(sink.LedgerResult)); err != nil {
					return err
				}
			}
		},
		Fresh: fresh,
		After: func(c cv.Call) {
			d.account.note(c)
			broken = errors.Join(broken, d.ledger.write(recordOf(c, d.Now()).line(sink.LedgerResult)))
		},
	})
	err = call(traced)
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if kept := errors.Join(broken, d.ledger.flush(late)); kept != nil {
		return false, false, errors.Join(err, kept)
	}
	gone, err = d.provenGone(ctx, err)
	return gone, gone && d.ledger.fates.intents[key] == 0, err
}

// isGone makes a 404 of the API's own what it is to a delete: it is gone.
func isGone(err error) (bool, error) {
	if errors.Is(err, cv.ErrGone) {
		return true, nil
	}
	return false, err
}

// finishDelete ends a delete that fails or is cancelled. Once it was begun, what was called and
// what is known is stored as evidence; before, nothing was changed, and all that it stored goes but
// a whole bag of export_first.
func (r *run) finishDelete(ctx context.Context, status contract.Status, e *contract.Error) error {
	if err := r.failedBefore(ctx); err != nil {
		return err
	}
	if r.ledger == nil {
		if err := r.openLedger(ctx); err != nil {
			return err
		}
	}
	d := &deletion{run: r}
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
		return err
	}
	if !found || r.command.Data.DryRun {
		end := contract.EventData{Status: status, Error: e}
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
	if e == nil {
		e = &contract.Error{Code: contract.CodeInternal, Message: "the command was cancelled after its job was removed from NATS, and after it had begun to delete: " +
			"what was called and what is known to be gone is in the evidence"}
	}
	if err := d.fail(ctx, e); err != nil {
		return fmt.Errorf("store the evidence of a failed delete: %w", err)
	}
	return r.failedBefore(ctx)
}
