package deletion

import (
	"encoding/json"
	"fmt"

	"github.com/cvconsumer/cvconsumer/internal/links"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/deleterecord"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/report"
)

// certificate is the page for people: what was deleted, how that was verified, what remains and
// why.
func (d *Deleter) certificate(record bagfile.Deletion, verification bagfile.Verification, cut deleterecord.Cut) ([]byte, error) {
	c := report.Certificate{
		Command: record.ID, Reference: string(record.Reference), Source: d.begun.Request.Source, Published: d.begun.Request.Published, Selection: bag.Selection(d.begun.Request.Data),
		Signer: d.begun.Request.Signer, Approver: d.begun.Request.Approver,
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
	for _, p := range record.Projects {
		row := report.Project{ID: p.ID.String(), Name: p.Name, Whole: p.Project}
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
