package deletion

import (
	"fmt"
	"strings"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// residuals is what remains after the delete, and why.
func (d *Deleter) residuals() []contract.Residual {
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
	widest := data.Categories[0]
	add(widest, "the service itself removes the data within 30 days of its deletion")
	if whole {
		add(contract.CategoryProjects, "copies in storage that the project's settings point to (exported models, notifications) are the customer's own, and are not touched")
	}
	if e := d.begun.Export; e != nil {
		add(widest, fmt.Sprintf("the export bundle %s holds copies; no end of its retention is set", e.URI))
	}
	return out
}
