package deletion

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/links"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/report"
)

// maxNamed is how many ids a sentence lists. Those of the selection are all in request.json.
const maxNamed = 20

// named is ids in words: all of them, or the first and how many more there are.
func named(ids []uuid.UUID) string {
	names := make([]string, 0, maxNamed)
	for _, id := range contract.SortedIDs(ids)[:min(len(ids), maxNamed)] {
		names = append(names, id.String())
	}
	text := strings.Join(names, ", ")
	if n := len(ids) - maxNamed; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

// selection is what a command asked for, in words: first the projects, then what of them.
func selection(s contract.Scope) []string {
	var out []string
	ids := func(what string, ids []uuid.UUID) {
		if len(ids) > 0 {
			out = append(out, what+" "+named(ids))
		}
	}
	if s.AllProjects {
		out = append(out, "all projects of the account")
	}
	ids("projects", s.ProjectIDs)
	ids("iterations", s.IterationIDs)
	ids("tags", s.TagIDs)
	ids("images", s.ImageIDs)
	for _, want := range s.ImageMetadata {
		pairs := make([]string, 0, len(want))
		for _, name := range slices.Sorted(maps.Keys(want)) {
			pairs = append(pairs, fmt.Sprintf("%q = %s", name, want[name]))
		}
		out = append(out, "images whose metadata has "+strings.Join(pairs, " and "))
	}
	return out
}

// certificate is the page for people: what was deleted, how that was verified, what remains and
// why.
func (d *Deleter) certificate(record bagfile.Deletion, verification bagfile.Verification, cut deleteCut) ([]byte, error) {
	c := report.Certificate{
		Command: record.ID, Reference: string(record.Reference), Source: d.begun.Request.Source, Published: d.begun.Request.Published, Selection: selection(d.begun.Request.Data),
		Planned: record.DryRun, NothingFound: record.Outcome == bagfile.OutcomeNothingFound,
		Host: record.Endpoint, APIVersion: record.APIVersion, Method: record.Method, PlanSHA256: record.PlanSHA256,
		Started: record.StartedAt, Finished: record.FinishedAt, Tool: bag.ToolName + " " + record.Tool,
		LedgerEntries: cut.Ledger.Entries, LedgerHead: cut.Ledger.Head, Checks: verification.Checks, Signed: cut.Signed,
	}
	for _, k := range bagfile.Categories() {
		c.Counts = append(c.Counts, report.Count{Category: k, N: *record.Counts.Of(k)})
	}
	for _, k := range d.begun.Request.Data.Categories {
		c.Categories = append(c.Categories, string(k))
	}
	for n, p := range record.Projects {
		row := report.Project{ID: p.ID.String(), Name: unsigned(d.begun.Facts[n].Name), Whole: p.Project}
		for _, k := range bagfile.Categories() {
			row.Counts = append(row.Counts, *p.Counts.Of(k))
		}
		c.Projects = append(c.Projects, row)
	}
	for _, r := range record.Residuals {
		c.Residuals = append(c.Residuals, report.Residual(r))
	}
	if e := record.ExportBundle; e != nil {
		c.ExportURI, c.ExportReceiptSHA256, c.ExportSigned = e.URI, e.ReceiptSHA256, e.Signed
	}
	page, err := c.HTML()
	if err != nil {
		return nil, fmt.Errorf("make the certificate: %w", err)
	}
	return page, nil
}

// unsigned is a text of the customer without the queries of signed links, which no bag may hold.
func unsigned(text string) string {
	raw, err := json.Marshal(text)
	if err == nil {
		raw, err = links.Cut(raw)
	}
	if err != nil || json.Unmarshal(raw, &text) != nil {
		return ""
	}
	return text
}
