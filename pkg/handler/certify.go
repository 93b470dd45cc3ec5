package handler

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/report"
)

// deleteMethod is what a delete amounts to, in its receipt's words.
const deleteMethod = "logical deletion through the service's API"

// deleteCut is the last freeze of a delete: when it was finished, and how far its ledger goes into
// the bag. The bag is a function of it, of the beginning and of the steps' records.
type deleteCut struct {
	V          int       `json:"v"`
	FinishedAt time.Time `json:"finished_at"`
	Ledger     ledgerRef `json:"ledger"`
}

// deletionRecord is data/deletion.json: the delete in a nutshell.
type deletionRecord struct {
	V            int                 `json:"v"`
	ID           string              `json:"id"`
	Reference    contract.Text       `json:"reference"`
	Method       string              `json:"method"`
	Endpoint     string              `json:"endpoint"` // host of the Training API
	APIVersion   string              `json:"api_version"`
	Scope        contract.Scope      `json:"scope"`
	DryRun       bool                `json:"dry_run"` // nothing was deleted: the counts are what would be
	Outcome      contract.Outcome    `json:"outcome"`
	Counts       contract.Counts     `json:"counts"`
	PlanSHA256   string              `json:"plan_sha256"`
	Projects     []deletionProject   `json:"projects"`
	ExportBundle *contract.BundleRef `json:"export_bundle"`
	Residuals    []contract.Residual `json:"residuals"`
	StartedAt    time.Time           `json:"started_at"`
	BegunAt      time.Time           `json:"begun_at"` // predictions stored up to this time were deleted
	FinishedAt   time.Time           `json:"finished_at"`
	Tool         string              `json:"tool"`
}

// deletionProject is one project of a delete.
type deletionProject struct {
	ID      uuid.UUID       `json:"id"`
	Project bool            `json:"project"` // the project itself, too
	Counts  contract.Counts `json:"counts"`
}

// verificationRecord is evidence/verification.json: what was seen to be gone, how, and when.
type verificationRecord struct {
	V        int                   `json:"v"`
	Executed bool                  `json:"executed"` // false of a dry run: there is nothing to verify
	Checks   []report.Verification `json:"checks"`
}

// verifiedBy says how the absence of a category's things was seen.
func verifiedBy(c contract.Category) string {
	switch c {
	case contract.CategoryProjects:
		return "GetProject answers 404 and GetProjects does not list it"
	case contract.CategoryIterations:
		return "GetIteration answers 404"
	case contract.CategoryPerformance:
		return "it goes with its iteration, for which GetIteration answers 404"
	case contract.CategoryTags:
		return "GetTag answers 404 in the workspace, or the project is gone"
	case contract.CategoryImages:
		return "the image counts of the workspace and of every iteration are 0, or GetImagesByIds does not give them"
	default:
		return "QueryPredictions gives none, for the workspace and every iteration"
	}
}

// planned yields the plan's projects, once it is loaded.
func (d *deletion) planned() iter.Seq2[projectPlan, error] {
	var head planHead
	return planProjects(d.plan.ReadSeeker(), &head)
}

// plannedAtLeast yields the plan's projects, as far as they are known: where the plan is lost, by
// id.
func (d *deletion) plannedAtLeast() iter.Seq2[projectPlan, error] {
	if d.plan != nil {
		return d.planned()
	}
	return func(yield func(projectPlan, error) bool) {
		for _, f := range d.begun.Facts {
			if !yield(projectPlan{ID: f.ID}, nil) {
				return
			}
		}
	}
}

// recorded yields what the steps of a project saw to be gone; stored says that the step was ended.
func (d *deletion) recorded(ctx context.Context, n int, step string) (stored bool, lines []deletedLine, err error) {
	body, _, err := d.Work.Open(ctx, d.layout.Work(recordName(n, step)))
	if errors.Is(err, sink.ErrNotFound) {
		return false, nil, nil
	}
	if err != nil {
		return false, nil, fmt.Errorf("read what was deleted: %w", err)
	}
	defer body.Close()
	dec := json.NewDecoder(bufio.NewReader(body))
	for {
		var l deletedLine
		err := dec.Decode(&l)
		if errors.Is(err, io.EOF) {
			return true, lines, nil
		}
		if err != nil {
			return false, nil, fmt.Errorf("read what was deleted: %w", err)
		}
		lines = append(lines, l)
	}
}

// tally is what a delete came to, over all projects.
type tally struct {
	counts   contract.Counts
	projects []deletionProject
	checks   []report.Verification
}

// add counts what a step of a project saw to be gone.
func (t *tally) add(project uuid.UUID, into *contract.Counts, lines []deletedLine) {
	for _, l := range lines {
		n := into.Of(l.Category)
		if n != nil && l.How != alreadyGone {
			*n++
		}
		check := t.check(project, l)
		check.Items++
		if l.How == alreadyGone {
			check.AlreadyGone++
		}
		check.Last = l.VerifiedAbsent
	}
}

// check is the row of the project and category of a line.
func (t *tally) check(project uuid.UUID, l deletedLine) *report.Verification {
	name := project.String()
	for i := len(t.checks) - 1; i >= 0 && t.checks[i].Project == name; i-- {
		if t.checks[i].Category == string(l.Category) {
			return &t.checks[i]
		}
	}
	t.checks = append(t.checks, report.Verification{Project: name, Category: string(l.Category), How: verifiedBy(l.Category), First: l.VerifiedAbsent})
	return &t.checks[len(t.checks)-1]
}

func (t *tally) end(p deletionProject) {
	t.projects = append(t.projects, p)
	t.counts.Add(p.Counts)
}

// planned is what a dry run would delete of a project.
func (f projectFacts) planned(p projectPlan) contract.Counts {
	c := contract.Counts{
		Images: int64(f.Images), Iterations: int64(f.Iterations), Tags: int64(f.Tags), Performance: int64(len(f.Trained)), Predictions: int64(f.Predictions),
	}
	if p.Project {
		c.Projects = 1
	}
	return c
}

// commit writes the bag of a delete that is verified, or of a plan. Everything in it follows from
// what is frozen.
func (d *deletion) commit(ctx context.Context) error {
	var cut deleteCut
	if err := d.freeze(ctx, deleteCutName, &cut, func(context.Context) (any, error) {
		return deleteCut{V: contract.FormatVersion, FinishedAt: d.Now().UTC().Truncate(time.Millisecond), Ledger: d.ledger.ref()}, nil
	}); err != nil {
		return err
	}
	if err := d.continues(cut.Ledger); err != nil {
		return err
	}
	bag, err := sink.NewBag(d.Store, d.layout.Bag(sink.DeleteBag), d.SpoolDir)
	if err != nil {
		return fmt.Errorf("open the bag: %w", err)
	}
	defer bag.Close() //nolint:errcheck // temporary files
	t, err := d.payload(ctx, bag)
	if err != nil {
		return err
	}
	outcome := contract.OutcomeComplete
	switch {
	case d.begun.DryRun:
		outcome = contract.OutcomePlanned
	case t.counts.Empty(): // what was planned, if anything, was gone when its turn came
		outcome = contract.OutcomeNothingFound
	}
	record := deletionRecord{
		V: contract.FormatVersion, ID: d.command.ID, Reference: contract.Text(d.command.Data.Reference), Method: deleteMethod, Endpoint: d.begun.Host, APIVersion: cv.APIVersion,
		Scope: d.begun.Request.Data, DryRun: d.begun.DryRun, Outcome: outcome, Counts: t.counts, PlanSHA256: d.begun.Digest, Projects: t.projects,
		ExportBundle: d.begun.Export, Residuals: d.residuals(), StartedAt: d.begun.StartedAt, BegunAt: d.begun.BegunAt, FinishedAt: cut.FinishedAt, Tool: d.begun.Tool,
	}
	if err := putJSON(ctx, bag.Put, sink.DeletionFile, record); err != nil {
		return err
	}
	verification := verificationRecord{V: contract.FormatVersion, Executed: !d.begun.DryRun, Checks: t.checks}
	if err := putJSON(ctx, bag.PutTag, sink.VerificationFile, verification); err != nil {
		return err
	}
	request, err := d.evidence(ctx, bag.PutTag, cut.Ledger.Seq)
	if err != nil {
		return err
	}
	page, err := d.certificate(record, verification, cut)
	if err != nil {
		return err
	}
	if _, err := bag.PutTag(ctx, sink.IndexFile, sink.Bytes(page, "text/html; charset=utf-8")); err != nil {
		return fmt.Errorf("store the certificate: %w", err)
	}
	// This compare-and-set decides between the receipt and whoever wants to cancel a plan, or took
	// the command over.
	if err := d.save(ctx, func(j *contract.Job) { j.Phase = contract.PhaseSeal }); err != nil {
		return err
	}
	what := "Deletion of user data from Azure Custom Vision, "
	if d.begun.DryRun {
		what = "Plan of a deletion of user data from Azure Custom Vision, "
	}
	seal, err := bag.Seal(ctx, bagInfo(cut.FinishedAt, d.begun.Tool, d.command, what+d.begun.Host))
	if err != nil {
		return fmt.Errorf("seal the bag: %w", err)
	}
	return d.putReceipt(ctx, bag, seal, record, verification, cut, request)
}

// payload writes deleted.jsonl of every project.
func (d *deletion) payload(ctx context.Context, bag *sink.Bag) (t tally, err error) {
	t = tally{projects: []deletionProject{}, checks: []report.Verification{}}
	if err := d.loadPlan(ctx); err != nil {
		return t, err
	}
	n := 0
	for p, err := range d.planned() {
		if err != nil {
			return t, err
		}
		project := deletionProject{ID: p.ID, Project: p.Project}
		if d.begun.DryRun {
			project.Counts = d.begun.Facts[n].planned(p)
		} else if project.Counts.Bytes, err = d.deleted(ctx, bag, n, &t, &project); err != nil {
			return t, err
		}
		t.end(project)
		n++
	}
	return t, nil
}

// deleted writes one project's deleted.jsonl, when anything of it was deleted, and returns its
// size.
func (d *deletion) deleted(ctx context.Context, bag *sink.Bag, n int, t *tally, project *deletionProject) (size int64, err error) {
	err = d.spooled(func(s *sink.Spool) error {
		buffered := bufio.NewWriter(s)
		enc := json.NewEncoder(buffered)
		for _, step := range steps() {
			_, lines, err := d.recorded(ctx, n, step)
			if err != nil {
				return err
			}
			t.add(project.ID, &project.Counts, lines)
			for _, l := range lines {
				if err := enc.Encode(l); err != nil {
					return err
				}
			}
		}
		if err := buffered.Flush(); err != nil {
			return err
		}
		if size = s.Size(); size == 0 {
			return nil
		}
		_, err := bag.Put(ctx, sink.ProjectPath(project.ID, "deleted.jsonl"), s.Body("application/jsonl"))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("write deleted.jsonl of project %s: %w", project.ID, err)
	}
	return size, nil
}

// putter stores a file under a bag's root.
type putter func(ctx context.Context, path sink.Path, body sink.Body) (sink.Object, error)

// putJSON stores a JSON file.
func putJSON(ctx context.Context, put putter, path sink.Path, v any) error {
	b, err := contract.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	if _, err := put(ctx, path, sink.Bytes(append(b, '\n'), "application/json")); err != nil {
		return fmt.Errorf("store %s: %w", path, err)
	}
	return nil
}

// evidence stores request.json, the plan if it is known, and ledger.jsonl, and returns the
// request's digest.
func (d *deletion) evidence(ctx context.Context, put putter, ledger uint64) (string, error) {
	b, err := contract.Marshal(d.begun.Request)
	if err != nil {
		return "", fmt.Errorf("encode the request: %w", err)
	}
	request, err := put(ctx, sink.RequestFile, sink.Bytes(append(b, '\n'), "application/json"))
	if err != nil {
		return "", fmt.Errorf("store the request: %w", err)
	}
	if d.plan != nil {
		if _, err := put(ctx, sink.PlanFile, d.plan.Body("application/json")); err != nil {
			return "", fmt.Errorf("store the plan: %w", err)
		}
	}
	return request.SHA256, d.putLedger(ctx, put, ledger)
}

// putReceipt writes the receipt, and with it commits the bag.
func (d *deletion) putReceipt(ctx context.Context, bag *sink.Bag, seal sink.Seal, record deletionRecord, verification verificationRecord, cut deleteCut, request string) error {
	scope, err := contract.Marshal(record.Scope)
	if err != nil {
		return fmt.Errorf("encode the scope: %w", err)
	}
	verified, err := contract.Marshal(verification)
	if err != nil {
		return fmt.Errorf("encode the verification: %w", err)
	}
	var exported json.RawMessage
	if record.ExportBundle != nil {
		if exported, err = contract.Marshal(record.ExportBundle); err != nil {
			return fmt.Errorf("encode the export bundle: %w", err)
		}
	}
	residuals := []sink.ReceiptResidual{}
	for _, r := range record.Residuals {
		residuals = append(residuals, sink.ReceiptResidual{Category: string(r.Category), Reason: r.Reason})
	}
	receipt := sink.NewReceipt(sink.DeletePredicateType, seal, sink.Predicate{
		Command: receiptCommand(d.command, d.begun.Account, request),
		Scope:   scope, Outcome: string(record.Outcome), Counts: record.Counts.ByName(), Verification: verified, Residuals: residuals,
		Tool:      sink.ReceiptTool{Name: toolName, Version: record.Tool},
		StartedAt: record.StartedAt, FinishedAt: record.FinishedAt,
		Ledger: sink.ReceiptLedger{Entries: cut.Ledger.Entries, Head: cut.Ledger.Head},
		Bundle: sink.ReceiptBundle{URI: d.uri(sink.DeleteBag)},
		Method: record.Method, Plan: planOf(record.PlanSHA256), ExportBundle: exported,
	})
	return storeReceipt(ctx, bag, receipt)
}

// residuals is what remains after the delete, and why.
func (d *deletion) residuals() []contract.Residual {
	out := []contract.Residual{}
	add := func(c contract.Category, reason string) {
		out = append(out, contract.Residual{Category: c, Reason: reason})
	}
	var whole, iterations, kept bool
	data := d.command.Data
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

// certificate is the page for people: what was deleted, how that was verified, what remains and
// why.
func (d *deletion) certificate(record deletionRecord, verification verificationRecord, cut deleteCut) ([]byte, error) {
	c := report.Certificate{
		Command: record.ID, Reference: string(record.Reference), Planned: record.DryRun, NothingFound: record.Outcome == contract.OutcomeNothingFound,
		Host: record.Endpoint, APIVersion: record.APIVersion, Method: record.Method, PlanSHA256: record.PlanSHA256,
		Started: record.StartedAt, Finished: record.FinishedAt, Tool: toolName + " " + record.Tool,
		LedgerEntries: cut.Ledger.Entries, LedgerHead: cut.Ledger.Head, Checks: verification.Checks,
	}
	for _, k := range contract.Categories() {
		c.Counts = append(c.Counts, report.Count{Category: string(k), N: *record.Counts.Of(k)})
	}
	for _, p := range record.Projects {
		row := report.Project{ID: p.ID.String(), Whole: p.Project}
		for _, k := range contract.Categories() {
			row.Counts = append(row.Counts, *p.Counts.Of(k))
		}
		c.Projects = append(c.Projects, row)
	}
	for _, r := range record.Residuals {
		c.Residuals = append(c.Residuals, report.Residual{Category: string(r.Category), Reason: r.Reason})
	}
	if e := record.ExportBundle; e != nil {
		c.ExportURI, c.ExportReceiptSHA256 = e.URI, e.ReceiptSHA256
	}
	page, err := c.HTML()
	if err != nil {
		return nil, fmt.Errorf("make the certificate: %w", err)
	}
	return page, nil
}

// failureRecord is evidence/failure.json, the last object of a delete that failed after its first
// destructive call may have gone out: no receipt, but what was called and what is known to be gone.
type failureRecord struct {
	V            int                   `json:"v"`
	ID           string                `json:"id"`
	Error        *contract.Error       `json:"error"`
	PlanSHA256   string                `json:"plan_sha256"`
	Called       []operationFate       `json:"called"`
	KnownAbsent  []report.Verification `json:"known_absent"` // whole steps of a project, whose ids are in the plan; those of predictions in the ledger
	NotVerified  []unverifiedStep      `json:"not_verified"`
	Counts       contract.Counts       `json:"counts"` // of what is known to be gone
	Residuals    []contract.Residual   `json:"residuals"`
	ExportBundle *contract.BundleRef   `json:"export_bundle"`
	StartedAt    time.Time             `json:"started_at"`
	FinishedAt   time.Time             `json:"finished_at"`
}

// unverifiedStep is a step that was to be done and whose end was not seen.
type unverifiedStep struct {
	Project uuid.UUID `json:"project"`
	Step    string    `json:"step"`
}

// fail stores the evidence of a delete that ends without success.
func (d *deletion) fail(ctx context.Context, e *contract.Error) error {
	if err := d.keepCalls(ctx); err != nil {
		return err
	}
	put := func(ctx context.Context, path sink.Path, body sink.Body) (sink.Object, error) {
		return d.Store.Put(ctx, d.layout.Key(sink.DeleteBag, path), body)
	}
	if err := d.dropBag(ctx); err != nil {
		return err
	}
	t := tally{checks: []report.Verification{}}
	missing := []unverifiedStep{}
	if d.begun.V == 0 {
		d.rebuildBegun()
	}
	planned := d.plannedAtLeast()
	n := 0
	for p, err := range planned {
		if err != nil {
			return err
		}
		project := deletionProject{ID: p.ID, Project: p.Project}
		m := &removal{deletion: d, n: n, plan: p}
		for _, step := range steps() {
			stored, lines, err := d.recorded(ctx, n, step)
			if err != nil {
				return err
			}
			t.add(p.ID, &project.Counts, lines)
			if !stored && d.plan != nil && m.wants(step) {
				missing = append(missing, unverifiedStep{p.ID, step})
			}
		}
		t.end(project)
		n++
	}
	if _, err := d.evidence(ctx, put, d.ledger.seq); err != nil {
		return err
	}
	return putJSON(ctx, put, sink.FailureFile, failureRecord{
		V: contract.FormatVersion, ID: d.command.ID, Error: e, PlanSHA256: d.begun.Digest, Called: append([]operationFate{}, d.ledger.fates.calls...),
		KnownAbsent: t.checks, NotVerified: missing, Counts: t.counts, Residuals: d.residuals(), ExportBundle: d.begun.Export,
		StartedAt: d.begun.StartedAt, FinishedAt: d.Now().UTC().Truncate(time.Millisecond),
	})
}

// rebuildBegun fills in what can be said of a delete whose beginning is no longer there.
func (d *deletion) rebuildBegun() {
	d.begun = begun{
		V: contract.FormatVersion, StartedAt: d.job.Created, Tool: d.Version,
		Request: d.request(d.Pseudonym.Redact(d.command.Data), d.job.Command),
	}
	if ref := d.job.Deletion; ref != nil {
		d.begun.Digest = ref.PlanSHA256
	}
}

// dropBag removes what there is of a bag that will not be finished, but for what is evidence of a
// failure too: that may be a later holder's already.
func (d *deletion) dropBag(ctx context.Context) error {
	kept := map[sink.Key]bool{}
	for _, path := range []sink.Path{sink.RequestFile, sink.PlanFile, sink.LedgerFile, sink.FailureFile} {
		kept[d.layout.Key(sink.DeleteBag, path)] = true
	}
	var keys []sink.Key
	for o, err := range d.Store.List(ctx, d.layout.Bag(sink.DeleteBag)) {
		if err != nil {
			return fmt.Errorf("list the unfinished bag: %w", err)
		}
		if !kept[o.Key] {
			keys = append(keys, o.Key)
		}
	}
	err := d.Store.Remove(ctx, keys...)
	if err != nil && ctx.Err() == nil { // as where an ended export cannot be removed: it must not keep the command from ending
		d.log.Error().Err(err).Msg("an unfinished bag is left behind")
		d.left, err = d.uri(sink.DeleteBag)+": "+err.Error(), nil
	}
	return err //nolint:wrapcheck // the end of ctx
}

// failedBefore ends a delete whose evidence of failure is stored. It returns nil when there is
// none.
func (r *run) failedBefore(ctx context.Context) error {
	b, err := r.Store.ReadAll(ctx, r.layout.Key(sink.DeleteBag, sink.FailureFile), maxReceipt)
	if errors.Is(err, sink.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for the evidence of a failure: %w", err)
	}
	var f failureRecord
	if err := contract.DecodeVersioned(b, string(sink.FailureFile), &f); err != nil {
		return err
	}
	if err := r.cleanUp(ctx); err != nil {
		return err
	}
	return r.end(ctx, contract.EventData{
		Status: contract.StatusFailed, Error: f.Error, StartedAt: &f.StartedAt, FinishedAt: &f.FinishedAt, Counts: f.Counts, ExportBundle: f.ExportBundle,
		Plan: &contract.PlanRef{SHA256: f.PlanSHA256, URI: r.uri(sink.DeleteBag) + string(sink.PlanFile)}, Residuals: f.Residuals,
	})
}

// planOf is a plan as receipts name it; nil without one.
func planOf(digest string) *sink.ReceiptPlan {
	if digest == "" {
		return nil
	}
	return &sink.ReceiptPlan{SHA256: digest}
}

// receiptCommand is the command as receipts name it.
func receiptCommand(c contract.Command, account, request string) sink.ReceiptCommand {
	return sink.ReceiptCommand{ID: c.ID, Action: string(c.Action), Reference: c.Data.Reference, Resource: c.Data.Resource, Account: account, SHA256: request}
}

// bagInfo is the fields of bag-info.txt.
func bagInfo(finished time.Time, tool string, c contract.Command, what string) []sink.Field {
	return []sink.Field{
		{Name: "Bagging-Date", Value: finished.Format(time.DateOnly)},
		{Name: "Bag-Software-Agent", Value: toolName + " " + tool},
		{Name: "External-Identifier", Value: c.ID},
		{Name: "Internal-Sender-Identifier", Value: c.Data.Reference},
		{Name: "External-Description", Value: what},
	}
}
