package deletion

import (
	"context"
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
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/deleteplan"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// begunPrefix begins the names of the working objects that hold a delete's beginning.
const begunPrefix = "delete-begun-"

// begunObject is where the beginning with this digest is kept. The job names the digest: an object
// under another name, or with other content, is no beginning.
func begunObject(digest string) string { return begunPrefix + digest + ".json" }

// planObject is where the plan with this digest is kept until it is evidence.
func planObject(digest string) string { return "plan-" + digest + ".json" }

const (
	// callDeadline is the longest that a destructive call can be on its way.
	callDeadline = cv.TryTimeout
	// intentFresh is how old an intent may be when its call goes out.
	intentFresh = 5 * time.Second
)

// beginning is a delete's point of no return, frozen just before its first destructive call: from
// then on this plan is carried out, by whichever attempt.
type beginning struct {
	V         int                 `json:"v"`
	StartedAt time.Time           `json:"started_at"`
	BegunAt   time.Time           `json:"begun_at"`   // what was stored up to this time is deleted: the later of the service's clock when the plan was made and the time of publishing
	Host      string              `json:"host"`       // the Training API's
	Account   string              `json:"account"`    // of the resource, see account.Names
	Digest    string              `json:"digest"`     // of the plan
	PlanBytes int64               `json:"plan_bytes"` // its size; 0: an older version did not say
	Tool      string              `json:"tool"`
	DryRun    bool                `json:"dry_run"`
	Facts     []deleteplan.Facts  `json:"facts"` // in the order of the plan's projects
	Export    *contract.BundleRef `json:"export"`
	NotFound  deleteplan.NotFound `json:"not_found"`
	Others    []uuid.UUID         `json:"others"` // projects that the account listed then and that are not planned; older versions kept none
	Ledger    ledger.Ref          `json:"ledger"` // as it was then
	Request   bag.Request         `json:"request"`

	// Credentials are those proven when it began: for an attempt that finds no job any more.
	Credentials []string `json:"credentials"`
}

// resume reads what an earlier attempt began; false when none did. The job names the beginning.
// Where the job was removed, a destructive call in the ledger shows that there was one, and the
// latest stored beginning that fits the command and the ledger is taken.
func (d *Deleter) resume(ctx context.Context) (bool, error) {
	if ref := d.Job.Deletion; ref != nil {
		if err := d.loadBegun(ctx, d.Bags.Work.Unsealed(), ref.BegunSHA256); err != nil {
			return true, err
		}
		if d.begun.Digest != ref.PlanSHA256 {
			return true, bag.Spoiled(begunObject(ref.BegunSHA256), "names another plan than the job")
		}
		return true, nil
	}
	if len(d.Ledger.Destructive()) == 0 || d.Command.Data.DryRun {
		return false, nil
	}
	chosen, entries := "", int64(-1)
	for o, err := range d.Bags.Work.List(ctx, d.Bags.WorkKey(begunPrefix)) {
		if err != nil {
			return false, fmt.Errorf("look for an earlier beginning: %w", err)
		}
		name := strings.TrimPrefix(string(o.Key), string(d.Bags.WorkKey("")))
		digest := strings.TrimSuffix(strings.TrimPrefix(name, begunPrefix), ".json")
		err = d.loadFitting(ctx, digest)
		var foreign *contract.Error
		if errors.As(err, &foreign) {
			d.Log.Warn().Err(err).Msg("a stored beginning is not this delete's")
			continue
		}
		if err != nil {
			return false, err
		}
		if d.begun.Ledger.Entries > entries {
			chosen, entries = digest, d.begun.Ledger.Entries
		}
	}
	d.begun = beginning{}
	d.close()
	if chosen == "" {
		return true, &contract.Error{Code: contract.CodeInternal, Message: "the ledger has destructive calls of this delete, but the plan they followed is " +
			"neither in the job nor in storage: nothing more is deleted; publish the command again under a new id"}
	}
	if err := d.loadFitting(ctx, chosen); err != nil {
		return true, err
	}
	return true, d.update(ctx, func(j *contract.Job) {
		j.Deletion = &contract.DeletionRef{BegunSHA256: chosen, PlanSHA256: d.begun.Digest, Credentials: d.begun.Credentials}
		j.Phase = contract.PhaseDelete
	})
}

// loadFitting reads the beginning with this digest, and its plan. The ledger must be the one under
// which it was stored, and all destructive calls must come after it and be about what it planned.
func (d *Deleter) loadFitting(ctx context.Context, digest string) error {
	d.close()
	if err := d.loadBegun(ctx, d.Bags.Work.OfAnyMessage(), digest); err != nil {
		return err
	}
	if err := d.Ledger.Continues(d.begun.Ledger); err != nil {
		return err
	}
	if d.Ledger.FirstIntent() <= d.begun.Ledger.Entries {
		return bag.Spoiled(begunObject(digest), "comes after the first destructive call")
	}
	if err := d.loadPlan(ctx); err != nil {
		return err
	}
	if err := d.withinCommand(); err != nil {
		return err
	}
	return d.plannedCalls(ctx)
}

// plannedCalls checks that the plan has what the destructive calls in the ledger were about.
func (d *Deleter) plannedCalls(ctx context.Context) error {
	unplanned := bag.Spoiled(planObject(d.begun.Digest), "does not have what was called for in the ledger")
	called := d.Ledger.Projects()
	for p, err := range d.plannedProjects() {
		if err != nil {
			return err
		}
		called = slices.DeleteFunc(called, func(id uuid.UUID) bool { return id == p.ID })
		if d.Ledger.ProjectCalls(ledger.OpDeleteImages, p.ID) == 0 {
			continue
		}
		removed, all, err := d.Ledger.Removed(ctx, ledger.OpDeleteImages, p.ID)
		if err != nil {
			return err //nolint:wrapcheck // it says what it reads
		}
		if all && !p.Project || slices.ContainsFunc(removed, func(id uuid.UUID) bool { return !has(p.Images, id) }) {
			return unplanned
		}
	}
	if len(called) > 0 {
		return unplanned
	}
	return nil
}

// loadBegun reads the beginning with this digest, and checks that it is that, and this command's.
// It needs no seal where the job has its digest.
func (d *Deleter) loadBegun(ctx context.Context, work *sink.Store, digest string) error {
	name := begunObject(digest)
	b, err := work.ReadAll(ctx, d.Bags.WorkKey(name), unit.MaxObject)
	if errors.Is(err, sink.ErrNotFound) {
		return bag.Spoiled(name, "is missing")
	}
	if err != nil {
		return fmt.Errorf("read the beginning: %w", err)
	}
	if sink.HexSHA256(b) != digest {
		return bag.Spoiled(name, "is not what was stored there")
	}
	var found beginning
	switch err := contract.DecodeVersioned(b, name, &found); {
	case errors.Is(err, contract.ErrNewer):
		return err
	case err != nil:
		return bag.Spoiled(name, "cannot be read")
	}
	r := found.Request
	r.Account = "" // the digest may be of a job that is older than accounts
	if found.DryRun != d.Command.Data.DryRun || !d.Bags.Made(r) {
		return bag.Spoiled(name, "is of another command")
	}
	d.begun = found
	return nil
}

// loadPlan reads the plan that the beginning names into a temporary file, unless it is there, and
// checks its digest before anything is read of it.
func (d *Deleter) loadPlan(ctx context.Context) error {
	if d.plan != nil {
		return nil
	}
	name := planObject(d.begun.Digest)
	stored, _, err := d.Bags.Work.Unsealed().Open(ctx, d.Bags.WorkKey(name))
	if errors.Is(err, sink.ErrNotFound) {
		return bag.Spoiled(name, "is missing")
	}
	if err != nil {
		return fmt.Errorf("open the plan: %w", err)
	}
	defer stored.Close()
	spool := sink.NewSpool(d.Bags.SpoolDir)
	from := io.Reader(stored)
	if d.begun.PlanBytes > 0 {
		from = io.LimitReader(stored, d.begun.PlanBytes+1) // one more shows that it is another one
	}
	_, err = io.Copy(spool, from)
	switch {
	case err != nil:
		err = fmt.Errorf("read the plan: %w", err)
	case spool.SHA256() != d.begun.Digest:
		err = bag.Spoiled(name, "does not have the digest that was begun with")
	default:
		d.plan = spool
		return nil
	}
	return errors.Join(err, spool.Close())
}

// withinCommand checks that the plan takes no more than the command names.
func (d *Deleter) withinCommand() error {
	var (
		head bagfile.Plan
		name = planObject(d.begun.Digest)
	)
	for p, err := range deleteplan.Projects(d.plan.ReadSeeker(), &head) {
		if err != nil {
			return err
		}
		if more := deleteplan.Exceeds(d.Command.Data, p); more != "" {
			return bag.Spoiled(name, "has what the command does not name ("+more+")")
		}
	}
	want := d.planHead(d.begun.Host)
	if len(want.Selection.ImageMetadata) == len(head.Selection.ImageMetadata) {
		want.Selection.ImageMetadata = head.Selection.ImageMetadata // pseudonyms, under a key that may have been replaced
	}
	if !reflect.DeepEqual(want.Selection, head.Selection) || !slices.Equal(want.Categories, head.Categories) || want.Unpublish != head.Unpublish || want.Host != head.Host {
		return bag.Spoiled(name, "differs from the command in selection, categories or unpublish")
	}
	return nil
}

// latest is the later of two times: of the service's clock and JetStream's, which may be behind.
func latest(a, b time.Time) time.Time {
	if b.After(a) {
		a = b
	}
	return a.UTC()
}

// putNamed stores a working object whose name contains its digest.
func (d *Deleter) putNamed(ctx context.Context, name string, body sink.Body) error {
	o, err := d.Bags.Work.Put(ctx, d.Bags.WorkKey(name), body)
	if err == nil && o.SHA256 != body.SHA256 {
		err = bag.Spoiled(name, "has other content than its name says")
	}
	return err //nolint:wrapcheck // the caller says what it stores
}
