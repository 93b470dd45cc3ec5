package deletion

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/deleteplan"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// residuals is what remains after the delete, and why. A delete that failed may have lost its plan.
func (d *Deleter) residuals() ([]contract.Residual, error) {
	out := []contract.Residual{}
	add := func(c contract.Category, reason string) {
		out = append(out, contract.Residual{Category: c, Reason: reason})
	}
	var whole, iterations, kept bool
	data := d.Command.Data
	for _, f := range d.begun.Facts {
		iterations = iterations || f.Iterations > 0
		kept = kept || f.Kept
	}
	whole = data.Narrowing() == contract.NarrowNone && data.Has(contract.CategoryProjects)
	if iterations || whole || data.Has(contract.CategoryExports) {
		add(contract.CategoryExports, "the service offers no deletion of exported models: they go with the account")
	}
	if kept {
		add(contract.CategoryTags, "iterations keep their own copies of the tags they were trained with, until they are deleted")
	}
	if lost := d.begun.NotFound; len(lost.Projects) > 0 {
		names := make([]string, 0, len(lost.Projects))
		for _, id := range lost.Projects {
			names = append(names, id.String())
		}
		add(contract.CategoryProjects, fmt.Sprintf("not found at %s, which listed %d projects: %s; nothing is known of them, and nothing was deleted of them",
			d.begun.Host, lost.Listed, strings.Join(names, ", ")))
	}
	lost, err := d.neverFound()
	if err != nil {
		return nil, err
	}
	for _, c := range contract.Categories() {
		if ids := lost[c]; len(ids) > 0 {
			add(c, fmt.Sprintf("%d %s that the command names were not found when the plan was made: %s; nothing is known of them, and nothing was deleted of them", len(ids), c, bag.Named(ids)))
		}
	}
	for _, f := range d.begun.Facts {
		if len(f.Learned) > 0 {
			add(contract.CategoryIterations, fmt.Sprintf("iterations of project %s that were trained on images of the selection stay, with what they learned of them: %s", f.ID, bag.Named(f.Learned)))
		}
	}
	if !deleteplan.TakesPredictions(data) && (data.Has(contract.CategoryImages) || data.Has(contract.CategoryIterations)) {
		add(contract.CategoryPredictions, "stored predictions were not searched: they stay, with the pictures that were sent for them, until a delete takes the predictions of the project")
	}
	widest := data.Categories[0]
	add(widest, "the service itself removes the data within 30 days of its deletion")
	if whole {
		add(contract.CategoryProjects, "copies in storage that the project's settings point to (exported models, notifications) are the customer's own, and are not touched")
	}
	if e := d.begun.Export; e != nil {
		retention := "no end of its retention is set"
		if e.RetainUntil != nil {
			retention = "it is locked until " + e.RetainUntil.UTC().Format(time.RFC3339) + ", and stays then until it is removed"
		}
		add(widest, fmt.Sprintf("the export bundle %s holds copies; %s", e.URI, retention))
	}
	return out, nil
}

// neverFound is the named iterations, tags and images that the plan does not have, though it has
// their project: they were not found when it was made.
func (d *Deleter) neverFound() (map[contract.Category][]uuid.UUID, error) {
	out := map[contract.Category][]uuid.UUID{}
	if d.plan == nil {
		return out, nil
	}
	for p, err := range d.plannedProjects() { // a command that names such things has one project
		if err != nil {
			return nil, err
		}
		lacks := func(c contract.Category, named, planned []uuid.UUID) {
			for _, id := range contract.SortedIDs(named) {
				if d.Command.Data.Has(c) && !has(planned, id) {
					out[c] = append(out[c], id)
				}
			}
		}
		lacks(contract.CategoryIterations, d.Command.Data.IterationIDs, p.Iterations)
		lacks(contract.CategoryTags, d.Command.Data.TagIDs, p.Tags)
		lacks(contract.CategoryImages, d.Command.Data.ImageIDs, p.Images)
	}
	return out, nil
}

// inBag is residuals as the bag's files have them.
func inBag(residuals []contract.Residual) []bagfile.Residual {
	out := make([]bagfile.Residual, 0, len(residuals))
	for _, r := range residuals {
		out = append(out, bagfile.Residual{Category: string(r.Category), Reason: r.Reason})
	}
	return out
}
