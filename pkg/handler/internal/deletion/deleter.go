package deletion

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/account"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/action"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/deleterecord"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// Exporter exports what is to be deleted.
type Exporter interface {
	// Bag makes the export's bag, up to its receipt, for the plan with this digest.
	Bag(ctx context.Context, plan string) (bag.Proof, error)
}

// Holds has the legal holds.
type Holds interface {
	// Held reports whether a project is under a legal hold; read from the leader.
	Held(ctx context.Context, project string) (bool, error)
}

// Settings are what all deletes have in common.
type Settings struct {
	Deletes       contract.DeletePolicy
	VerifyTimeout time.Duration // for a deletion to be seen in the service
	Version       string        // the tool's, as receipts name it
	Pseudonym     contract.Pseudonymizer
	Now           func() time.Time
	// Wait waits between two looks at what was deleted, until d has passed or ctx is done.
	Wait func(ctx context.Context, d time.Duration) error
}

// Deleter carries one delete out, for one attempt of its coordinator.
type Deleter struct {
	Settings

	Attempt  action.Attempt
	Exporter Exporter
	Holds    Holds
	Client   *cv.Client
	Ledger   *ledger.Ledger
	Calls    *ledger.Recorder // of this attempt, which are not in the ledger yet
	Control  *account.Control
	Bags     bag.Bags
	Command  contract.Command
	Job      contract.Job // as it was when the attempt began, with the changes of this delete
	Log      zerolog.Logger

	begun    beginning
	plan     *sink.Spool           // the plan that begun names, once it was read and found to be it
	projects []bagfile.PlanProject // of the plan, once all were read and if they are few; nil else
	planned  time.Time             // when this attempt began to read it from the service; zero: an earlier one did
	kept     deleterecord.Kept
	small    bool  // records are kept for the cut
	marked   bool  // the working objects are, by this attempt
	done     int64 // things seen to be gone in this attempt
}

// Run plans, refuses or begins, removes project by project, verifies and commits. A dry run ends
// with the plan. It returns the end that the receipt tells, a refusal, or what the delete waits
// for.
func (d *Deleter) Run(ctx context.Context) (action.Result, error) {
	defer d.close()
	refused, err := d.carryOut(ctx)
	kept := d.Attempt.FlushCalls(ctx)
	var (
		waits        *action.WaitError
		uncontrolled *account.UncontrolledError
	)
	if err != nil && kept == nil {
		d.storeKept(ctx, err)
	}
	switch {
	case errors.As(err, &waits) && kept == nil:
		return action.Result{Wait: &waits.Waiting}, nil
	case errors.As(err, &uncontrolled) && kept == nil:
		return action.Result{Wait: &uncontrolled.Waiting}, nil
	case err != nil || kept != nil:
		return action.Result{}, errors.Join(err, kept)
	case refused != nil:
		return action.Result{End: refused}, d.neverBegins(ctx)
	}
	proof, err := d.commit(ctx)
	if err != nil {
		return action.Result{}, err
	}
	end, err := d.Bags.Committed(sink.DeleteBag, proof)
	return action.Result{End: end}, err
}

// neverBegins fences a delete that ends before it has begun: a coordinator that stood still cannot
// begin it afterwards, whatever becomes of the job.
func (d *Deleter) neverBegins(ctx context.Context) error {
	if len(d.Ledger.Destructive()) > 0 {
		return nil
	}
	return d.Ledger.TakeOver(ctx, d.Now()) //nolint:wrapcheck // it says what it writes
}

// refusedEnd is the end of a delete that was not begun. An export bag that it made stays, and is
// named. There is none without a refusal.
func refusedEnd(e *contract.Error, exported *contract.BundleRef) *contract.EventData {
	if e == nil {
		return nil
	}
	return &contract.EventData{Status: contract.StatusRefused, Error: e, ExportBundle: exported}
}

// update changes the job, and what this delete knows of it.
func (d *Deleter) update(ctx context.Context, change func(*contract.Job)) error {
	if err := d.Attempt.Update(ctx, change); err != nil {
		return err //nolint:wrapcheck // it says what it writes
	}
	change(&d.Job)
	return nil
}

// close removes the plan's temporary file.
func (d *Deleter) close() {
	if d.plan == nil {
		return
	}
	if err := d.plan.Close(); err != nil {
		d.Log.Warn().Err(err).Msg("remove a temporary file")
	}
	d.plan, d.projects = nil, nil
}

// carryOut begins the delete, or takes it up where an earlier attempt left it, and does what was
// planned.
func (d *Deleter) carryOut(ctx context.Context) (refused *contract.EventData, err error) {
	found, err := d.resume(ctx)
	if err != nil {
		return nil, err
	}
	if !found {
		if refused, err := d.begin(ctx); refused != nil || err != nil {
			return refused, err
		}
	}
	if d.Command.Data.DryRun {
		return nil, nil
	}
	if err := d.mayExecute(ctx); err != nil {
		return nil, err
	}
	if err := d.Ledger.Continues(d.begun.Ledger); err != nil {
		return nil, err
	}
	return nil, d.execute(ctx)
}

// mayExecute judges the beginning against the command before every execution: policy, approval, and
// that the plan takes no more than the command names. Where the account is another one, or a
// project is under a legal hold, execute ends the delete.
func (d *Deleter) mayExecute(ctx context.Context) error {
	if refusal := d.Deletes.Refuse(d.Command); refusal != nil {
		e := refusal.Reason()
		e.Message += "; what was not deleted yet stays"
		return e
	}
	if approved := d.Command.Data.ApprovedPlan; approved != "" && approved != d.begun.Digest {
		return &contract.Error{Code: contract.CodePlanChanged, Message: fmt.Sprintf(
			"approved_plan: the plan under way has digest %s; what was not deleted yet stays: approve that digest under a new id", d.begun.Digest)}
	}
	if err := d.loadPlan(ctx); err != nil {
		return err
	}
	return d.withinCommand()
}

// execute first waits until a call of the previous holder must be over, then removes what was
// planned, project by project. It fails as misconfigured while the alias means another account:
// absence there proves nothing.
func (d *Deleter) execute(ctx context.Context) error {
	if err := d.Bags.CheckUnmoved(d.Client.Host(), account.Endpoint{Host: d.begun.Host, Name: d.begun.Account}); err != nil {
		return err
	}
	d.Control.Resume(d.begun.Host, d.Job.Deletion.Credentials)
	if d.Job.Phase != contract.PhaseDelete { // else the beginning said so
		if err := d.update(ctx, func(j *contract.Job) { j.Phase = contract.PhaseDelete }); err != nil {
			return err
		}
	}
	if err := d.awaitFormerCall(ctx); err != nil {
		return err
	}
	d.Control.Expect(d.begun.Others...)
	for _, f := range d.begun.Facts {
		d.Control.Expect(f.ID)
	}
	if !d.Bags.Fresh {
		if err := d.records().TakeCut(ctx); err != nil {
			return err
		}
	}
	n := 0
	for p, err := range d.plannedProjects() {
		if err != nil {
			return err
		}
		d.small = d.isSmall(p)
		if err := (&removal{d: d, n: n, plan: p, facts: d.begun.Facts[n]}).run(ctx); err != nil {
			return err
		}
		n++
	}
	return nil
}

// awaitFormerCall waits out a call that the holder before us may still have on its way: its intent
// is in the ledger, its result is not. When the intent was written is known by that holder's clock
// only, so the wait is as long as a call can take from now on.
func (d *Deleter) awaitFormerCall(ctx context.Context) error {
	if d.Ledger.Pending().IsZero() {
		return nil
	}
	const longest = intentFresh + callDeadline
	d.Log.Info().Dur("wait_ms", longest).Msg("waiting: a destructive call of the previous holder may be under way")
	return d.Wait(ctx, longest)
}
