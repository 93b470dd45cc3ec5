package export

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/account"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/action"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/known"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// Units carries units to workers, and word of their results back.
type Units interface {
	// PublishUnit queues a unit; one that is queued already is left as it is.
	PublishUnit(ctx context.Context, id string, n int, body []byte) error
	// WaitingUnits is how many units, of all commands, no worker has yet.
	WaitingUnits(ctx context.Context) (int, error)
	// PurgeUnits removes a command's queued units.
	PurgeUnits(ctx context.Context, id string) error
	// Results yields the numbers of units whose result exists, or that met the operator's problem,
	// until stop is called. Some may get lost.
	Results(ctx context.Context, id string) (numbers <-chan int, stop func(), err error)
}

// Settings are what all exports have in common.
type Settings struct {
	Window             int     // units of all commands that wait in the queue for a worker
	MaxAttempts        int     // of a unit
	Threshold, Overlap float64 // of GetIterationPerformance
	Version            string  // the tool's, as receipts name it
	Pseudonym          contract.Pseudonymizer
	Now                func() time.Time
}

// Exporter carries one export out, for one attempt of its coordinator. Each step finds what an
// earlier attempt left.
type Exporter struct {
	Settings

	Attempt action.Attempt
	Units   Units
	Client  *cv.Client
	Control *account.Control
	Ledger  *ledger.Ledger
	Bags    bag.Bags
	Results *known.Results // that workers of this process stored; nil: none
	// Command is what is exported: of a delete, the same selection with all its categories.
	Command contract.Command
	Job     contract.CommandRef // what the job remembers of the command
	// Paused is what this process waits for, of what the command needs, while its workers take no
	// units; nil while they take some.
	Paused func() *contract.Waiting
}

// Run exports, and returns the end that the receipt tells.
func (x *Exporter) Run(ctx context.Context) (action.Result, error) {
	proof, err := x.Bag(ctx, "")
	if err != nil {
		return action.Result{}, errors.Join(err, x.Attempt.FlushCalls(ctx))
	}
	end, err := x.Bags.Committed(sink.ExportBag, proof)
	return action.Result{End: end}, err
}

// Bag makes the export's bag, up to its receipt. Of an export that goes before a delete, deletes is
// the digest of the delete's plan.
func (x *Exporter) Bag(ctx context.Context, deletes string) (bag.Proof, error) {
	plan, err := x.plan(ctx, deletes)
	if err != nil {
		return bag.Proof{}, err
	}
	if err := x.Attempt.FlushCalls(ctx); err != nil {
		return bag.Proof{}, err
	}
	if err := x.Attempt.Claim(ctx, plan.Projects); err != nil { // again where the job was lost
		return bag.Proof{}, err
	}
	r := &results{x: x, plan: plan, kept: x.newKept(), digests: map[int]string{}, asked: unit.NewAsked()}
	defer r.kept.close() //nolint:errcheck // a temporary file
	r.rounds = newRounds(plan, x.Command, func(ctx context.Context, n int) (unit.Summary, error) {
		s, _, err := r.summary(ctx, n)
		return s, err
	})
	if err := r.read(ctx); err != nil {
		return bag.Proof{}, err
	}
	if err := x.Attempt.Claim(ctx, plan.Projects); err != nil { // else a later delete may have begun beside it
		return bag.Proof{}, err
	}
	if err := x.Attempt.Update(ctx, func(j *contract.Job) { j.Phase, j.Progress = contract.PhaseCommit, r.rounds.progress() }); err != nil {
		return bag.Proof{}, err
	}
	cut, err := r.cut(ctx)
	if err != nil {
		return bag.Proof{}, err
	}
	if err := x.Ledger.Continues(cut.Ledger); err != nil {
		return bag.Proof{}, err
	}
	return r.commit(ctx, cut)
}

// planName is the working object of what an export reads.
const planName = "plan.json"

// planVersion is the version of plan.json. Since version 2 the workspace is listed once more as a
// witness, and an empty listing is asked for; of a plan of version 1, units are cut as the version
// that planned it does, since their results may exist.
const planVersion = 2

// exportPlan is the first freeze of an export: what will be read, decided once. Everything after it
// is a function of it and of what its units find.
type exportPlan struct {
	V         int            `json:"v"`
	Tool      string         `json:"tool"` // the version that planned: it signs for the layout
	StartedAt time.Time      `json:"started_at"`
	Host      string         `json:"host"`    // the Training API's
	Account   string         `json:"account"` // of the resource, see account.Names
	API       string         `json:"api"`     // its version
	Scope     contract.Scope `json:"scope"`
	Digest    string         `json:"digest"` // of the command's data; see contract.Command.Ref
	Projects  []uuid.UUID    `json:"projects"`
	Named     bool           `json:"named"`            // the requester named the projects
	Proven    string         `json:"proven,omitempty"` // fingerprint of the credential that listed the projects; see account.Control
	Threshold float64        `json:"threshold"`
	Overlap   float64        `json:"overlap"`
	Deletes   string         `json:"deletes,omitempty"` // of an export that goes before a delete: the digest of the delete's plan
}

// FormatVersion implements unit.Versioned.
func (exportPlan) FormatVersion() int { return planVersion }

// witnessed reports whether the export lists the workspace once more.
func (p exportPlan) witnessed() bool { return p.V >= 2 }

// plan decides what an export reads.
func (x *Exporter) plan(ctx context.Context, deletes string) (exportPlan, error) {
	p, _, err := unit.Freeze(ctx, x.Bags.Work, x.Bags.WorkKey(planName), x.Bags.Fresh, func(ctx context.Context) (exportPlan, error) {
		d := x.Command.Data
		p := exportPlan{
			V: planVersion, Tool: x.Version, StartedAt: x.Now().UTC().Truncate(time.Millisecond),
			Host: x.Client.Host(), Account: x.Bags.Account, API: cv.APIVersion, Scope: x.Pseudonym.Redact(d), Digest: x.Job.Digest,
			Projects: d.ProjectIDs, Named: x.Command.Action == contract.ActionExport, Threshold: x.Threshold, Overlap: x.Overlap, Deletes: deletes,
		}
		if d.AllProjects {
			projects, err := x.Client.GetProjects(ctx)
			if err != nil {
				return p, fmt.Errorf("list the projects: %w", err)
			}
			p.Named, p.Projects = false, nil
			for _, project := range projects {
				p.Projects = append(p.Projects, project.ID)
			}
			slices.SortFunc(p.Projects, contract.CompareIDs)
			x.Control.Listed(p.Projects...)
			if p.Proven, err = x.Control.Fingerprint(ctx); err != nil {
				return p, err //nolint:wrapcheck // it says what it reads
			}
			if err := x.Attempt.Claim(ctx, p.Projects); err != nil { // before they are read, and while they can be listed again
				return p, err //nolint:wrapcheck // it says what is in the way
			}
		}
		if p.Projects == nil {
			p.Projects = []uuid.UUID{}
		}
		return p, nil
	})
	if err != nil {
		return p, err
	}
	return p, x.Bags.CheckUnmoved(x.Client.Host(), account.Endpoint{Host: p.Host, Name: p.Account})
}
