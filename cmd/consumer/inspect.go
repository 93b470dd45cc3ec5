package main

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/dataset"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

type inspectCmd struct {
	Where      []string `arg:"" name:"where" help:"A folder, a .zip file or s3://bucket/prefix/ that holds a bundle, or several in folders of it."`
	outputFlag `embed:""`
	S3         storeAccess `embed:"" group:"Storage, for s3://:"`
}

// Help implements kong.HelpProvider.
func (inspectCmd) Help() string {
	return "Shows what a bundle says: projects with their names, counts, outcome, exceptions, what remains. It believes the bundle: consumer verify checks it."
}

// maxInventory bounds the documents that are read of a bundle, in bytes.
const maxInventory = 64 << 20

// inspected is what a bundle says, as -o json prints it.
type inspected struct {
	Where      string                 `json:"where"`
	State      string                 `json:"state"` // finished, failed, unfinished, foreign
	CommandID  string                 `json:"command_id,omitempty"`
	Action     string                 `json:"action,omitempty"`
	Kind       string                 `json:"kind,omitempty"` // export, delete
	Outcome    string                 `json:"outcome,omitempty"`
	Reference  string                 `json:"reference,omitempty"`
	Account    string                 `json:"account,omitempty"`
	StartedAt  *time.Time             `json:"started_at,omitempty"`
	FinishedAt *time.Time             `json:"finished_at,omitempty"`
	Tool       string                 `json:"tool,omitempty"`
	Signed     bool                   `json:"signed"` // as the receipt says; not checked
	Retention  *sink.ReceiptRetention `json:"retention,omitempty"`
	Files      int                    `json:"files"`
	Bytes      int64                  `json:"bytes"`
	Counts     *bagfile.Counts        `json:"counts,omitempty"`
	Projects   []inspectedProject     `json:"projects"`
	Exceptions int64                  `json:"exceptions"`
	Listed     []inspectedException   `json:"listed_exceptions"`
	Residuals  []sink.ReceiptResidual `json:"residuals"`
	Error      *bagfile.FailedError   `json:"error,omitempty"` // of a delete that failed
}

// inspectedProject is a project of a bundle.
type inspectedProject struct {
	ID     string         `json:"id"`
	Name   string         `json:"name,omitempty"`
	Type   dataset.Kind   `json:"type,omitempty"`
	Gone   bool           `json:"gone,omitempty"`    // before it could be read
	Whole  bool           `json:"project,omitempty"` // of a delete: the project itself, too
	Counts bagfile.Counts `json:"counts"`
}

// inspectedException is one thing that an export lacks, or that is not as it should be.
type inspectedException struct {
	Project  string `json:"project"`
	Category string `json:"category"`
	bagfile.Failure
}

// Run prints what each bundle says.
func (c inspectCmd) Run(p *program) error {
	for _, where := range c.Where {
		if err := c.inspect(p, where); err != nil {
			return err
		}
	}
	return nil
}

// inspect prints the bundles of one place.
func (c inspectCmd) inspect(p *program, where string) error {
	at, err := c.S3.open(p.ctx, p.env, where)
	if err != nil {
		return err
	}
	defer at.close()
	b := bundle{location: at}
	if at.damaged != nil {
		return b.failed(fmt.Errorf("%s: %w", where, at.damaged), nil)
	}
	place, err := verify.Look(p.ctx, at.src)
	if err != nil {
		return fmt.Errorf("look into %s: %w", where, at.access.unreachable(err))
	}
	for _, bag := range place.Bags {
		a, err := inspectBundle(p.ctx, bag.Source)
		if err != nil {
			return b.failed(fmt.Errorf("inspect %s: %w", at.within(bag.Root), err), nil)
		}
		a.Where = at.within(bag.Root)
		if a.Files == 0 {
			return fmt.Errorf("%w: there are no files at %s", errRefused, a.Where)
		}
		if err := c.printResult(p, a); err != nil {
			return err
		}
	}
	return nil
}

// inspectBundle reads what a bundle says.
func inspectBundle(ctx context.Context, src verify.Source) (inspected, error) {
	a := inspected{State: "unfinished", Projects: []inspectedProject{}, Listed: []inspectedException{}, Residuals: []sink.ReceiptResidual{}}
	for file, err := range src.List(ctx) {
		if err != nil {
			return a, fmt.Errorf("list the bundle: %w", err)
		}
		a.Files++
		a.Bytes += max(file.Bytes, 0)
	}
	var receipt sink.Receipt
	there, err := verify.ReadJSON(ctx, src, sink.ReceiptFile, maxInventory, &receipt)
	switch {
	case err != nil:
		return a, err
	case there:
		a.readReceipt(receipt)
	case verify.Foreign(ctx, src):
		a.State = "foreign"
		return a, nil
	}
	if err := a.readExport(ctx, src); err != nil {
		return a, err
	}
	return a, a.readDelete(ctx, src)
}

// readReceipt takes what the receipt says.
func (a *inspected) readReceipt(r sink.Receipt) {
	p := r.Predicate
	a.State, a.CommandID, a.Action, a.Kind, a.Outcome = "finished", p.Command.ID, p.Command.Action, string(r.Kind()), p.Outcome
	a.Reference, a.Account, a.Tool, a.Signed, a.Retention = p.Command.Reference, p.Command.Account, p.Tool.Name+" "+p.Tool.Version, p.Signed, p.Retention
	a.StartedAt, a.FinishedAt = &p.StartedAt, &p.FinishedAt
	counts := bagfile.CountsByName(p.Counts)
	a.Counts, a.Exceptions = &counts, p.Exceptions
	a.Residuals = append(a.Residuals, p.Residuals...)
}

// readExport reads the inventory of an export, and the names of its projects.
func (a *inspected) readExport(ctx context.Context, src verify.Source) error {
	var inventory bagfile.Inventory
	if _, err := verify.ReadJSON(ctx, src, sink.InventoryFile, maxInventory, &inventory); err != nil {
		return err
	}
	for _, one := range inventory.Projects {
		p := inspectedProject{ID: one.ID, Gone: one.Gone}
		for name, category := range one.Categories {
			if counter := p.Counts.Of(name); counter != nil && category != nil {
				*counter = int64(category.Exported)
				p.Counts.Bytes += category.Bytes
			}
		}
		a.list(one)
		if id, err := uuid.Parse(one.ID); err == nil {
			says, err := dataset.ReadProject(ctx, src, id)
			if err != nil {
				return fmt.Errorf("read project %s: %w", id, err)
			}
			if p.Name = says.Name; p.Name != "" {
				p.Type = says.Kind
			}
		}
		a.Projects = append(a.Projects, p)
	}
	return nil
}

// list notes the exceptions of a project.
func (a *inspected) list(p bagfile.InventoryProject) {
	for _, name := range bagfile.Categories() {
		category := p.Categories[name]
		if category == nil {
			continue
		}
		for _, f := range category.Failed {
			a.Listed = append(a.Listed, inspectedException{p.ID, name, f})
		}
		for _, u := range category.Unfinished {
			if u.Exception() {
				a.Listed = append(a.Listed, inspectedException{p.ID, name, bagfile.Failure{ID: u.ID, Code: "unfinished", Message: "its status is " + u.Status}})
			}
		}
	}
	for _, scope := range p.Unstable {
		a.Listed = append(a.Listed, inspectedException{p.ID, bagfile.Images, bagfile.Failure{ID: scope, Code: "unstable", Message: "the listing did not stand still"}})
	}
}

// readDelete reads the summary of a delete, or why it failed.
func (a *inspected) readDelete(ctx context.Context, src verify.Source) error {
	var deletion bagfile.Deletion
	if _, err := verify.ReadJSON(ctx, src, sink.DeletionFile, maxInventory, &deletion); err != nil {
		return err
	}
	for _, p := range deletion.Projects {
		a.Projects = append(a.Projects, inspectedProject{ID: p.ID.String(), Name: p.Name, Whole: p.Project, Counts: p.Counts})
	}
	if a.State == "finished" {
		return nil
	}
	var failed bagfile.Failed
	there, err := verify.ReadJSON(ctx, src, sink.FailureFile, maxInventory, &failed)
	if err != nil || !there {
		return err
	}
	a.State, a.CommandID, a.Action, a.Kind, a.Outcome = "failed", failed.ID, bagfile.ActionDelete, string(sink.DeleteBag), "failed"
	a.StartedAt, a.FinishedAt, a.Counts, a.Error = &failed.StartedAt, &failed.FinishedAt, &failed.Counts, &failed.Error
	for _, r := range failed.Residuals {
		a.Residuals = append(a.Residuals, sink.ReceiptResidual(r))
	}
	return nil
}
