package export

import (
	"context"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/report"
)

// committing writes the bag that a cut describes. It is a pure function of the cut and the results:
// an attempt that comes later writes the same bytes.
type committing struct {
	x          *Exporter
	results    *results
	cut        exportCut
	out        *sink.Bag
	counts     bagfile.Counts
	exceptions int64
	inventory  bagfile.Inventory
	adopted    map[string]adopted // by stem
	site       *report.Site
	pages      *errgroup.Group // stores the pages of the site
}

// commit writes generated files, manifests and, last, the receipt.
func (r *results) commit(ctx context.Context, cut exportCut) (bag.Proof, error) {
	x := r.x
	out, err := sink.NewBag(x.Bags.Store, x.Bags.Layout.Bag(sink.ExportBag), x.Bags.SpoolDir)
	if err != nil {
		return bag.Proof{}, fmt.Errorf("open the bag: %w", err)
	}
	defer out.Close() //nolint:errcheck // temporary files
	c := &committing{x: x, results: r, cut: cut, out: out, adopted: map[string]adopted{}, inventory: bagfile.Inventory{V: bagfile.Version, Projects: []bagfile.InventoryProject{}}}
	c.site = c.newSite(ctx)
	defer c.pages.Wait() //nolint:errcheck // of a commit that failed; else there is nothing to wait for
	for _, a := range cut.Adopted {
		c.adopted[strings.TrimSuffix(a.Path, path.Ext(a.Path))] = a
	}
	// Generated files. After a crash here the next attempt writes the same bytes to the same keys.
	for i, p := range r.rounds.projects {
		if err := c.addProject(ctx, p, cut.Projects[i]); err != nil {
			return bag.Proof{}, err
		}
	}
	outcome := contract.OutcomeComplete
	switch {
	case c.exceptions > 0:
		outcome = contract.OutcomeExceptions
	case c.counts.Empty():
		outcome = contract.OutcomeNothingFound
	}
	scope, err := contract.Marshal(r.plan.Scope)
	if err != nil {
		return bag.Proof{}, fmt.Errorf("encode the scope: %w", err)
	}
	if _, err := bag.PutJSON(ctx, out.Put, sink.ExportFile, bagfile.Export{
		V: bagfile.Version, ID: x.Command.ID, Reference: bagfile.Text(x.Command.Data.Reference), Endpoint: r.plan.Host, APIVersion: r.plan.API, Scope: scope,
		PerformanceThreshold: r.plan.Threshold, OverlapThreshold: r.plan.Overlap,
		Outcome: string(outcome), Counts: c.counts, Exceptions: c.exceptions, StartedAt: r.plan.StartedAt, FinishedAt: cut.FinishedAt, Tool: r.plan.Tool,
	}); err != nil {
		return bag.Proof{}, err
	}
	var asked bag.Request
	if err := contract.DecodeVersioned(cut.Request, string(sink.RequestFile), &asked); err != nil {
		return bag.Proof{}, err //nolint:wrapcheck // it names the file
	}
	if err := c.index(outcome, asked); err != nil {
		return bag.Proof{}, err
	}
	request, err := c.evidence(ctx)
	if err != nil {
		return bag.Proof{}, err
	}
	// From this compare-and-set on a cancel is too late. After a crash here the next attempt begins
	// the commit again, and no cancel comes between.
	if x.Command.Action == contract.ActionExport { // an export that goes before a delete can still be cancelled with it
		if err := x.Attempt.Update(ctx, func(j *contract.Job) { j.Phase = contract.PhaseSeal }); err != nil {
			return bag.Proof{}, err
		}
	}
	// Manifests and, last, the receipt: the commit point. A crash before it leaves a bag for the
	// next attempt to finish, with the same manifests; after a crash behind it the next attempt
	// finds the receipt, and only publishes what it says.
	info := x.Bags.Info(cut.FinishedAt, r.plan.Tool, "Export of user data from Azure Custom Vision, "+r.plan.Host)
	return x.Bags.Commit(ctx, sink.ExportBag, out, info, bag.Statement{
		Account: r.plan.Account, Request: request, Signer: asked.Signer, Approver: asked.Approver, Scope: r.plan.Scope, Outcome: outcome, Counts: contract.Counts(c.counts), Exceptions: c.exceptions,
		Verification: bagfile.ExportVerification{PayloadObjects: out.PayloadObjects(), Unstable: c.unstable()},
		Tool:         r.plan.Tool, StartedAt: r.plan.StartedAt, FinishedAt: cut.FinishedAt, Ledger: cut.Ledger, Plan: r.plan.Deletes, Signed: cut.Signed,
	})
}

// evidence stores request.json, inventory.json and ledger.jsonl, and returns the request's digest.
func (c *committing) evidence(ctx context.Context) (string, error) {
	request, err := bag.PutJSON(ctx, c.out.PutTag, sink.RequestFile, c.cut.Request)
	if err != nil {
		return "", err
	}
	if _, err := bag.PutJSON(ctx, c.out.PutTag, sink.InventoryFile, c.inventory); err != nil {
		return "", err
	}
	return request.SHA256, c.x.Bags.PutLedger(ctx, c.x.Ledger, c.out.PutTag, c.cut.Ledger)
}

func (c *committing) unstable() int {
	n := 0
	for _, p := range c.cut.Projects {
		n += len(p.Unstable)
	}
	return n
}
