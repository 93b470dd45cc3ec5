package export

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/report"
)

// maxDocument bounds a document of the service that pages show, in bytes.
const maxDocument = 16 << 20

// pagesAtOnce is how many pages are stored at once, while the next one is made.
const pagesAtOnce = 4

// newSite begins the pages for people. They are a function of the cut, like all of the bag.
func (c *committing) newSite(ctx context.Context) *report.Site {
	var categories []string
	for _, k := range c.x.Command.Data.Categories {
		categories = append(categories, string(k))
	}
	put := func(ctx context.Context, name string, page []byte) error {
		if _, err := c.out.PutPage(ctx, sink.Path(name), sink.Bytes(page, "text/html; charset=utf-8")); err != nil {
			return fmt.Errorf("store %s: %w", name, err)
		}
		return nil
	}
	group, storing := errgroup.WithContext(ctx)
	group.SetLimit(pagesAtOnce)
	c.pages = group
	return report.NewSite(c.x.Command.ID, bag.ToolName+" "+c.results.plan.Tool, categories, func(name string, page []byte) error {
		if name == string(sink.IndexFile) { // the last one
			if err := group.Wait(); err != nil {
				return err //nolint:wrapcheck // it says what it stores
			}
			return put(ctx, name, page)
		}
		if storing.Err() != nil {
			return context.Cause(storing) //nolint:wrapcheck // it says what it stores
		}
		page = bytes.Clone(page)
		group.Go(func() error { return put(storing, name, page) })
		return nil
	})
}

// documents reads what pages show of a project, of the files that its units stored. The checks
// before the receipt need not read these again.
func (p *projectCommit) documents(ctx context.Context) (report.Documents, error) {
	d := report.Documents{Performance: map[uuid.UUID][]byte{}}
	for _, e := range p.shown {
		b, err := p.c.x.Bags.Store.ReadAll(ctx, p.c.x.Bags.Layout.Key(sink.ExportBag, sink.Path(e.Path)), maxDocument)
		if err != nil {
			return d, fmt.Errorf("read %s for its page: %w", e.Path, err)
		}
		if sink.HexSHA256(b) != e.SHA256 {
			return d, fmt.Errorf("read %s for its page: %w", e.Path, errChangedAfterCut)
		}
		p.c.out.Keep(sink.Path(e.Path), b)
		switch name := nameIn(p.state.id, e); {
		case name == "project.json":
			d.Project = b
		case name == "tags.json":
			d.Tags = b
		case name == "iterations.json":
			d.Iterations = b
		default:
			d.Performance[e.ID] = b
		}
	}
	return d, nil
}

// nameIn is the name of an entry relative to its project's folder.
func nameIn(project uuid.UUID, e unit.EntryRecord) string {
	return strings.TrimPrefix(e.Path, string(sink.ProjectPath(project, "")))
}

// show notes an entry that pages show: a document, or a model.
func (p *projectCommit) show(e unit.EntryRecord) {
	name := nameIn(p.state.id, e)
	switch {
	case e.Model:
		id, err := uuid.Parse(strings.Split(strings.TrimPrefix(name, "iterations/"), "/")[0])
		if err == nil {
			p.models = append(p.models, report.Model{Iteration: id, File: name, SHA256: e.SHA256, Bytes: e.Bytes})
		}
	case name == "project.json", name == "tags.json", name == "iterations.json", strings.HasSuffix(name, "/performance.json"):
		p.shown = append(p.shown, e)
	}
}

// index makes the first page, once everything else of the payload is there.
func (c *committing) index(outcome contract.Outcome, asked bag.Request) error {
	plan := c.results.plan
	b := report.Bundle{
		Reference: asked.Data.Reference, Source: asked.Source, Published: asked.Published, Signer: asked.Signer, Approver: asked.Approver,
		Selection: bag.Selection(asked.Data), Host: plan.Host, APIVersion: plan.API, Account: plan.Account, Threshold: plan.Threshold, Overlap: plan.Overlap,
		Started: plan.StartedAt, Finished: c.cut.FinishedAt, Outcome: string(outcome), Bytes: c.counts.Bytes,
		LedgerEntries: c.cut.Ledger.Entries, LedgerHead: c.cut.Ledger.Head, ManifestSHA256: c.out.ManifestSHA256(), Signed: c.cut.Signed, DeletesPlan: plan.Deletes,
		Residuals: c.residuals(),
	}
	for _, k := range asked.Data.Categories {
		b.Categories = append(b.Categories, string(k))
		b.Counts = append(b.Counts, report.Count{Category: string(k), N: *c.counts.Of(string(k))})
	}
	return c.site.End(b) //nolint:wrapcheck // it names the page
}

// residuals are what the bundle does not have, and why, in words.
func (c *committing) residuals() []string {
	d := c.x.Command.Data
	var without []string
	for _, k := range bagfile.Categories() {
		if !d.Has(contract.Category(k)) {
			without = append(without, k)
		}
	}
	out := []string{"The service still has everything: an export removes nothing."}
	if len(without) > 0 {
		out = append(out, "Not asked for: "+strings.ReplaceAll(strings.Join(without, ", "), bagfile.Exports, "exported models")+".")
	}
	if d.Narrowing() != contract.NarrowNone {
		out = append(out, "Whatever is outside the selection.")
	}
	if d.Has(contract.CategoryImages) {
		out = append(out, "Pictures as they were uploaded: these are the ones that the service gives, which may be encoded again, smaller, or without their metadata.")
	}
	if d.Has(contract.CategoryExports) {
		out = append(out, "Models that were never exported: the service has no call that gives a trained model as such.")
	}
	return append(out, "What the pages of projects name under Exceptions and Notes.")
}
