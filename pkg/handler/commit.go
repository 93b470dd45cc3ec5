package handler

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// records yields the lines of a unit's result after the first.
func (w *export) records(ctx context.Context, n int) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		body, _, err := w.Work.Open(ctx, w.layout.Work(resultName(n)))
		if err != nil {
			yield(Record{}, fmt.Errorf("read the result of unit %d: %w", n, err))
			return
		}
		defer body.Close()
		d := json.NewDecoder(bufio.NewReaderSize(body, 64<<10))
		var skipped json.RawMessage
		if err := d.Decode(&skipped); err != nil {
			yield(Record{}, fmt.Errorf("read the result of unit %d: %w", n, err))
			return
		}
		for {
			var rec Record
			err := d.Decode(&rec)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(Record{}, fmt.Errorf("read the result of unit %d: %w", n, err))
				return
			}
			if !yield(rec, nil) {
				return
			}
		}
	}
}

// unitsOf is the numbers of a project's units.
func (w *export) unitsOf(p uuid.UUID) []int {
	var out []int
	for _, u := range w.rounds.units {
		if u.Project == p {
			out = append(out, u.N)
		}
	}
	return out
}

// known is what the results say of one project's stored objects.
type known struct {
	paths  map[string]struct{} // of stored objects
	failed map[string]struct{} // stems of blobs that were given up, or are no pictures
}

func (w *export) known(ctx context.Context, p uuid.UUID) (known, error) {
	k := known{paths: map[string]struct{}{}, failed: map[string]struct{}{}}
	for _, n := range w.unitsOf(p) {
		for rec, err := range w.records(ctx, n) {
			if err != nil {
				return known{}, err
			}
			if rec.Entry != nil && rec.Entry.Path != "" {
				k.paths[rec.Entry.Path] = struct{}{}
			}
			if rec.Blob != nil && rec.Blob.File != "" {
				k.paths[blobPath(p, *rec.Blob)] = struct{}{}
			}
			if rec.Blob != nil && rec.Blob.Error != nil {
				k.failed[string(w.stem(p, n, rec.ID))] = struct{}{}
			}
		}
	}
	return k, nil
}

func blobPath(p uuid.UUID, b BlobRecord) string { return string(sink.ProjectPath(p, b.File)) }

func (w *export) stem(p uuid.UUID, n int, id uuid.UUID) sink.Path {
	if w.rounds.units[n].Kind == KindPredictions {
		return sink.PredictionStem(p, id)
	}
	return sink.ImageStem(p, id)
}

// strays looks through data/ for blobs that their units gave up, but which a slow writer stored all
// the same: they are adopted, unless they are text in place of a picture. Where no blob was given
// up there is nothing to adopt. What else no result knows is removed when the bag is made exact.
func (w *export) strays(ctx context.Context) ([]adopted, error) {
	if !slices.ContainsFunc(w.rounds.sums, func(s Summary) bool { return s.Failed > 0 }) {
		return []adopted{}, nil
	}
	var (
		out  = []adopted{}
		bag  = w.layout.Bag(sink.ExportBag)
		have known
		ofID string
	)
	for o, err := range w.Store.List(ctx, bag+"data/") {
		if err != nil {
			return nil, fmt.Errorf("list the payload: %w", err)
		}
		name := strings.TrimPrefix(string(o.Key), string(bag))
		id, _, _ := strings.Cut(strings.TrimPrefix(name, "data/projects/"), "/")
		if id != ofID {
			p, err := uuid.Parse(id)
			if err != nil {
				continue
			}
			if have, err = w.known(ctx, p); err != nil {
				return nil, err
			}
			ofID = id
		}
		if _, ok := have.paths[name]; ok {
			continue
		}
		stem := strings.TrimSuffix(name, path.Ext(name))
		if _, ok := have.failed[stem]; !ok {
			continue
		}
		text, err := w.blameStored(ctx, o.Key, codeNotImage)
		if err != nil {
			return nil, fmt.Errorf("adopt %s: %w", name, err)
		}
		if text != nil {
			continue
		}
		delete(have.failed, stem)
		stored, err := w.Store.Describe(ctx, o.Key)
		if err != nil {
			return nil, fmt.Errorf("adopt %s: %w", name, err)
		}
		out = append(out, adopted{Path: name, SHA256: stored.SHA256, Bytes: stored.Bytes, ContentType: stored.ContentType, Source: stored.Meta[metaSource]})
	}
	return out, nil
}

// inventory is evidence/inventory.json: what was listed, counted, stored, and what could not be
// had.
type inventory struct {
	V        int                `json:"v"`
	Projects []projectInventory `json:"projects"`
}

type projectInventory struct {
	ID         string                                   `json:"id"`
	Gone       bool                                     `json:"gone,omitempty"` // listed when the export was planned, not there when it was read
	Categories map[contract.Category]*categoryInventory `json:"categories"`
	Untrained  []string                                 `json:"untrained"`
	Unstable   []string                                 `json:"unstable"`
}

// categoryInventory counts one category of a project. Listed counts what listings gave, over all
// scopes; Exported distinct things in the bag; Before and After are what the service counted before
// and after the listings were read.
type categoryInventory struct {
	Listed   int       `json:"listed"`
	Exported int       `json:"exported"`
	Bytes    int64     `json:"bytes"`
	Before   *int      `json:"before,omitempty"`
	After    *int      `json:"after,omitempty"`
	Failed   []Failure `json:"failed"`
}

// exportRecord is data/export.json: the bag in a nutshell.
type exportRecord struct {
	V                    int              `json:"v"`
	ID                   string           `json:"id"`
	Reference            contract.Text    `json:"reference"`
	Endpoint             string           `json:"endpoint"` // host of the Training API
	APIVersion           string           `json:"api_version"`
	Scope                contract.Scope   `json:"scope"`
	PerformanceThreshold float64          `json:"performance_threshold"`
	OverlapThreshold     float64          `json:"performance_overlap_threshold"`
	Outcome              contract.Outcome `json:"outcome"`
	Counts               contract.Counts  `json:"counts"`
	Exceptions           int64            `json:"exceptions"`
	StartedAt            time.Time        `json:"started_at"`
	FinishedAt           time.Time        `json:"finished_at"`
	Tool                 string           `json:"tool"`
}

// committing writes the bag that a cut describes. It is a pure function of the cut and the results:
// an attempt that comes later writes the same bytes.
type committing struct {
	*export
	cut        exportCut
	bag        *sink.Bag
	counts     contract.Counts
	exceptions int64
	inventory  inventory
	adopted    map[string]adopted // by stem
}

// commit writes generated files, manifests and, last, the receipt.
func (w *export) commit(ctx context.Context, cut exportCut) error {
	bag, err := sink.NewBag(w.Store, w.layout.Bag(sink.ExportBag), w.SpoolDir)
	if err != nil {
		return fmt.Errorf("open the bag: %w", err)
	}
	defer bag.Close() //nolint:errcheck // temporary files
	c := &committing{export: w, cut: cut, bag: bag, adopted: map[string]adopted{}, inventory: inventory{V: contract.FormatVersion, Projects: []projectInventory{}}}
	for _, a := range cut.Adopted {
		c.adopted[strings.TrimSuffix(a.Path, path.Ext(a.Path))] = a
	}
	for i, p := range w.rounds.projects {
		if err := c.project(ctx, p, cut.Projects[i]); err != nil {
			return err
		}
	}
	outcome := contract.OutcomeComplete
	switch empty := c.counts; {
	case c.exceptions > 0:
		outcome = contract.OutcomeExceptions
	case empty.Projects+empty.Iterations+empty.Performance+empty.Tags+empty.Images+empty.Exports+empty.Predictions == 0:
		outcome = contract.OutcomeNothingFound
	}
	if err := putJSON(ctx, bag.Put, sink.ExportFile, exportRecord{
		V: contract.FormatVersion, ID: w.command.ID, Reference: contract.Text(w.command.Data.Reference), Endpoint: w.plan.Host, APIVersion: w.plan.API, Scope: w.plan.Scope,
		PerformanceThreshold: w.plan.Threshold, OverlapThreshold: w.plan.Overlap,
		Outcome: outcome, Counts: c.counts, Exceptions: c.exceptions, StartedAt: w.plan.StartedAt, FinishedAt: cut.FinishedAt, Tool: w.plan.Tool,
	}); err != nil {
		return err
	}
	request, err := c.evidence(ctx)
	if err != nil {
		return err
	}
	if w.command.Action == contract.ActionExport { // an export that goes before a delete can still be cancelled with it
		if err := w.save(ctx, func(j *contract.Job) { j.Phase = contract.PhaseSeal }); err != nil {
			return err
		}
	}
	seal, err := bag.Seal(ctx, bagInfo(cut.FinishedAt, w.plan.Tool, w.command, "Export of user data from Azure Custom Vision, "+w.plan.Host))
	if err != nil {
		return fmt.Errorf("seal the bag: %w", err)
	}
	scope, err := contract.Marshal(w.plan.Scope)
	if err != nil {
		return fmt.Errorf("encode the scope: %w", err)
	}
	verification, err := contract.Marshal(map[string]any{"payload_objects_listed": seal.PayloadObjects, "unstable": c.unstable()})
	if err != nil {
		return fmt.Errorf("encode the verification: %w", err)
	}
	receipt := sink.NewReceipt(sink.ExportPredicateType, seal, sink.Predicate{
		Command: receiptCommand(w.command, w.plan.Account, request),
		Scope:   scope, Outcome: string(outcome), Counts: c.counts.ByName(), Exceptions: c.exceptions, Verification: verification, Residuals: []sink.ReceiptResidual{},
		Tool:      sink.ReceiptTool{Name: toolName, Version: w.plan.Tool},
		StartedAt: w.plan.StartedAt, FinishedAt: cut.FinishedAt,
		Ledger: sink.ReceiptLedger{Entries: cut.Ledger.Entries, Head: cut.Ledger.Head},
		Bundle: sink.ReceiptBundle{URI: w.uri(sink.ExportBag)},
		Plan:   planOf(w.plan.Deletes),
	})
	return storeReceipt(ctx, bag, receipt)
}

// storeReceipt writes a receipt, and with it commits the bag.
func storeReceipt(ctx context.Context, bag *sink.Bag, receipt sink.Receipt) error {
	b, err := receipt.Encode()
	if err != nil {
		return fmt.Errorf("encode the receipt: %w", err)
	}
	o, err := bag.PutReceipt(ctx, b)
	if err != nil {
		return fmt.Errorf("store the receipt: %w", err)
	}
	if o.Adopted && o.SHA256 != hexSHA256(b) {
		return &contract.Error{Code: contract.CodeInternal, Message: fmt.Sprintf("%s is there already and is not the receipt of this bundle: "+
			"the bucket was changed from outside; publish the command again under a new id", o.Key)}
	}
	return nil
}

// toolName is the product's name in bags and receipts.
const toolName = "cvconsumer"

func (r *run) uri(kind sink.BagKind) string {
	return "s3://" + r.Store.Bucket() + "/" + string(r.layout.Bag(kind))
}

// evidence stores request.json, inventory.json and ledger.jsonl, and returns the request's digest.
func (c *committing) evidence(ctx context.Context) (string, error) {
	request, err := c.bag.PutTag(ctx, sink.RequestFile, sink.Bytes(append(c.cut.Request, '\n'), "application/json"))
	if err != nil {
		return "", fmt.Errorf("store the request: %w", err)
	}
	if err := putJSON(ctx, c.bag.PutTag, sink.InventoryFile, c.inventory); err != nil {
		return "", err
	}
	return request.SHA256, c.putLedger(ctx, c.bag.PutTag, c.cut.Ledger.Seq)
}

// putLedger stores ledger.jsonl, up to a sequence of the ledger's stream.
func (r *run) putLedger(ctx context.Context, put putter, upTo uint64) error {
	err := r.spooled(func(s *sink.Spool) error {
		if err := r.ledger.copyTo(ctx, s, upTo); err != nil {
			return err
		}
		_, err := put(ctx, sink.LedgerFile, s.Body("application/jsonl"))
		return err
	})
	if err != nil {
		return fmt.Errorf("store the ledger: %w", err)
	}
	return nil
}

// spooled gives do a temporary file.
func (h *Handler) spooled(do func(*sink.Spool) error) error {
	s, err := sink.NewSpool(h.SpoolDir)
	if err != nil {
		return fmt.Errorf("open a spool: %w", err)
	}
	return errors.Join(do(s), s.Close())
}

func (c *committing) unstable() int {
	n := 0
	for _, p := range c.cut.Projects {
		n += len(p.Unstable)
	}
	return n
}

// projectCommit is one project on its way into the bag.
type projectCommit struct {
	*committing
	state     *projectState
	inventory projectInventory
	blobs     map[uuid.UUID]BlobRecord // of images
	texts     []uuid.UUID              // images in whose place some unit stored text
	images    map[uuid.UUID]struct{}   // distinct images recorded
}

// project adds what the units stored of a project, and writes its .jsonl files.
func (c *committing) project(ctx context.Context, state *projectState, cut cutProject) error {
	p := &projectCommit{
		committing: c, state: state, blobs: map[uuid.UUID]BlobRecord{}, images: map[uuid.UUID]struct{}{},
		inventory: projectInventory{ID: cut.ID, Gone: cut.Gone, Categories: map[contract.Category]*categoryInventory{}, Untrained: []string{}, Unstable: cut.Unstable},
	}
	for _, category := range c.command.Data.Categories {
		p.inventory.Categories[category] = &categoryInventory{Failed: []Failure{}}
	}
	c.exceptions += int64(len(cut.Unstable))
	if cut.Gone {
		if c.command.Action == contract.ActionExport { // to a delete it is done what was asked; should it have gone just now, the plan is another one
			c.exceptions++
		}
		c.inventory.Projects = append(c.inventory.Projects, p.inventory)
		return nil
	}
	if err := p.stored(ctx); err != nil {
		return err
	}
	if err := p.generated(ctx); err != nil {
		return err
	}
	p.tally(cut)
	c.inventory.Projects = append(c.inventory.Projects, p.inventory)
	return nil
}

// stored adds the objects that units stored, in the order of the units; text in place of a picture
// last, where no unit has the picture.
func (p *projectCommit) stored(ctx context.Context) error {
	for _, n := range p.unitsOf(p.state.id) {
		for rec, err := range p.records(ctx, n) {
			switch {
			case err != nil:
				return err
			case rec.Entry != nil:
				err = p.entry(*rec.Entry)
			case rec.Blob != nil && rec.Image != nil:
				err = p.blob(n, rec)
			}
			if err != nil {
				return err
			}
		}
	}
	for _, id := range p.texts {
		if b := p.blobs[id]; b.Error != nil {
			if err := p.addBlob(contract.CategoryImages, b); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *projectCommit) entry(e EntryRecord) error {
	category := p.inventory.Categories[e.Category]
	if e.Model {
		category.Listed++
		category.Bytes += e.Bytes
		if e.Failed != nil {
			p.fail(category, *e.Failed)
		} else {
			category.Exported++
			p.counts.Exports++
		}
	}
	if e.Path == "" {
		return nil
	}
	return p.add(e.Path, e.SHA256, e.Bytes)
}

func (p *projectCommit) fail(category *categoryInventory, f Failure) {
	category.Failed = append(category.Failed, f)
	p.exceptions++
}

func (c *committing) add(name, digest string, size int64) error {
	c.counts.Bytes += size
	if err := c.bag.Add(sink.Path(name), digest, size); err != nil {
		return fmt.Errorf("add %s to the bag: %w", name, err)
	}
	return nil
}

// resolve is the blob as the store holds it after all.
func (p *projectCommit) resolve(n int, rec Record) BlobRecord {
	b := *rec.Blob
	if b.Error == nil {
		return b
	}
	if a, ok := p.adopted[string(p.stem(p.state.id, n, rec.ID))]; ok {
		_, file, _ := strings.Cut(a.Path, p.state.id.String()+"/")
		return BlobRecord{File: file, SHA256: a.SHA256, Bytes: a.Bytes, ContentType: a.ContentType, Source: a.Source}
	}
	return b
}

// blob takes the best that any unit has of an image: the picture, else the text that came in its
// place, else why there is nothing.
func (p *projectCommit) blob(n int, rec Record) error {
	b := p.resolve(n, rec)
	had, known := p.blobs[rec.ID]
	if known && b.rank() <= had.rank() {
		return nil
	}
	p.blobs[rec.ID] = b
	switch {
	case b.File == "":
		return nil
	case b.Error != nil:
		p.texts = append(p.texts, rec.ID)
		return nil
	}
	return p.addBlob(contract.CategoryImages, b)
}

// addBlob adds a stored blob to the bag.
func (p *projectCommit) addBlob(c contract.Category, b BlobRecord) error {
	p.inventory.Categories[c].Bytes += b.Bytes
	return p.add(blobPath(p.state.id, b), b.SHA256, b.Bytes)
}

// rank orders what different units have of the same blob.
func (b BlobRecord) rank() int {
	switch {
	case b.Error == nil:
		return 2
	case b.File != "":
		return 1
	}
	return 0
}

// imageLine and predictionLine are the lines of images.jsonl and predictions.jsonl.
type blobLine struct {
	File        *string `json:"file"`
	SHA256      string  `json:"sha256,omitempty"`
	Bytes       *int64  `json:"bytes,omitempty"`
	ContentType string  `json:"content_type,omitempty"`
	Source      string  `json:"source,omitempty"`
	Error       *Blame  `json:"error,omitempty"`
}

type imageLine struct {
	Image json.RawMessage `json:"image"`
	blobLine
}

// predictionsFile is the name of a project's predictions in the bag.
const predictionsFile = "predictions.jsonl"

type predictionLine struct {
	Prediction json.RawMessage `json:"prediction"`
	blobLine
}

func lineOf(b BlobRecord) blobLine {
	if b.File == "" {
		return blobLine{Error: b.Error}
	}
	return blobLine{File: &b.File, SHA256: b.SHA256, Bytes: &b.Bytes, ContentType: b.ContentType, Source: b.Source, Error: b.Error}
}

// generated writes the files made of many units' records.
func (p *projectCommit) generated(ctx context.Context) error {
	d, id := p.command.Data, p.state.id
	if d.Has(contract.CategoryImages) {
		for _, scope := range p.state.scopes(d) {
			name := sink.ProjectPath(id, "images.jsonl")
			if scope != uuid.Nil {
				name = sink.IterationPath(id, scope, "images.jsonl")
			}
			if err := p.lines(ctx, name, p.imageUnits(scope), p.image); err != nil {
				return err
			}
		}
	}
	for _, l := range p.state.listings {
		if l.Kind == Performances {
			if err := p.lines(ctx, sink.IterationPath(id, l.Scope, "image-performance.jsonl"), l.all, performanceOf); err != nil {
				return err
			}
		}
	}
	if d.Has(contract.CategoryPredictions) {
		return p.lines(ctx, sink.ProjectPath(id, predictionsFile), p.state.runs, p.prediction)
	}
	return nil
}

// imageUnits is the units that list images of a scope.
func (p *projectCommit) imageUnits(scope uuid.UUID) []int {
	var out []int
	for _, n := range p.unitsOf(p.state.id) {
		if u := p.rounds.units[n]; (u.Kind == KindPage || u.Kind == KindBatch) && u.scope() == scope {
			out = append(out, n)
		}
	}
	return out
}

// lines writes a .jsonl file: one line for each distinct thing in the records of units, in their
// order.
func (p *projectCommit) lines(ctx context.Context, name sink.Path, units []int, line func(n int, rec Record) (any, error)) error {
	seen := map[uuid.UUID]struct{}{}
	return p.spooled(func(s *sink.Spool) error {
		buffered := bufio.NewWriter(s)
		enc := json.NewEncoder(buffered)
		enc.SetEscapeHTML(false)
		for _, n := range units {
			for rec, err := range p.records(ctx, n) {
				if err != nil {
					return err
				}
				if _, twice := seen[rec.ID]; twice {
					continue
				}
				seen[rec.ID] = struct{}{}
				v, err := line(n, rec)
				if err != nil {
					return err
				}
				if err := enc.Encode(v); err != nil {
					return fmt.Errorf("write %s: %w", name, err)
				}
			}
		}
		if err := buffered.Flush(); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		p.counts.Bytes += s.Size()
		if _, err := p.bag.Put(ctx, name, s.Body("application/jsonl")); err != nil {
			return fmt.Errorf("store %s: %w", name, err)
		}
		return nil
	})
}

func (p *projectCommit) image(_ int, rec Record) (any, error) {
	b, ok := p.blobs[rec.ID]
	if !ok {
		// An iteration listed it, and no scope had it any more when its blob was asked for.
		b = BlobRecord{Error: &Blame{Code: "gone", Message: "the image was listed, and was gone when its blob was asked for"}}
	}
	if _, twice := p.images[rec.ID]; !twice {
		p.images[rec.ID] = struct{}{}
		category := p.inventory.Categories[contract.CategoryImages]
		if b.Error != nil {
			p.fail(category, Failure{ID: rec.ID.String(), Code: b.Error.Code, Message: b.Error.Message})
		} else {
			category.Exported++
		}
	}
	return imageLine{Image: rec.Image, blobLine: lineOf(b)}, nil
}

func performanceOf(_ int, rec Record) (any, error) { return rec.Performance, nil }

func (p *projectCommit) prediction(n int, rec Record) (any, error) {
	b := p.resolve(n, rec)
	category := p.inventory.Categories[contract.CategoryPredictions]
	category.Listed++
	p.counts.Predictions++
	if b.Error != nil {
		p.fail(category, Failure{ID: rec.ID.String(), Code: b.Error.Code, Message: b.Error.Message})
	} else {
		category.Exported++
	}
	if b.File != "" {
		if err := p.addBlob(contract.CategoryPredictions, b); err != nil {
			return nil, err
		}
	}
	return predictionLine{Prediction: rec.Prediction, blobLine: lineOf(b)}, nil
}

// tally fills in the counts that follow from the project unit and the listings.
func (p *projectCommit) tally(cut cutProject) {
	d, info := p.command.Data, p.state.info
	set := func(c contract.Category, n int) {
		if d.Has(c) {
			p.inventory.Categories[c].Listed, p.inventory.Categories[c].Exported = n, n
		}
	}
	set(contract.CategoryProjects, 1)
	set(contract.CategoryIterations, len(info.Iterations))
	set(contract.CategoryTags, info.Tags)
	performances := 0
	for _, it := range info.Iterations {
		if it.Performance {
			performances++
		}
		if !it.Trained {
			p.inventory.Untrained = append(p.inventory.Untrained, it.ID.String())
		}
	}
	set(contract.CategoryPerformance, performances)
	if d.Has(contract.CategoryProjects) {
		p.counts.Projects++
	}
	if d.Has(contract.CategoryIterations) {
		p.counts.Iterations += int64(len(info.Iterations))
	}
	if d.Has(contract.CategoryTags) {
		p.counts.Tags += int64(info.Tags)
	}
	p.counts.Performance += int64(performances)
	p.counts.Images += int64(len(p.images))
	if !d.Has(contract.CategoryImages) {
		return
	}
	images := p.inventory.Categories[contract.CategoryImages]
	if d.Narrowing() == contract.NarrowImages {
		images.Listed = len(p.images)
		return
	}
	images.Before, images.After = new(int), new(int)
	for _, l := range cut.Listings {
		if l.Kind != Performances {
			images.Listed += l.Listed
			*images.Before += l.Before
			*images.After += l.After
		}
	}
}

// maxReceipt bounds receipt.json, in bytes.
const maxReceipt = 16 << 20

// committed finishes a command whose receipt exists: the working objects go, and the receipt tells
// the terminal event. It returns nil when there is no receipt.
func (r *run) committed(ctx context.Context, kind sink.BagKind) (*contract.EventData, error) {
	data, err := r.receipt(ctx, kind)
	if data == nil || err != nil {
		return nil, err
	}
	if err := r.save(ctx, func(j *contract.Job) { j.Phase = contract.PhaseCleanUp }); err != nil {
		return nil, err
	}
	if err := r.Queue.PurgeUnits(ctx, r.command.ID); err != nil {
		return nil, fmt.Errorf("remove queued units: %w", err)
	}
	if err := r.cleanUp(ctx); err != nil {
		return nil, err
	}
	return data, nil
}

// cleanUp removes the working objects.
func (r *run) cleanUp(ctx context.Context) error {
	if _, err := r.Work.RemoveAll(ctx, r.layout.Work("")); err != nil {
		return fmt.Errorf("remove the working objects: %w", err)
	}
	return nil
}

// receipt is what the receipt of a bag says, as an event tells it; nil when there is none.
func (r *run) receipt(ctx context.Context, kind sink.BagKind) (*contract.EventData, error) {
	b, err := r.Store.ReadAll(ctx, r.layout.Key(kind, sink.ReceiptFile), maxReceipt)
	if errors.Is(err, sink.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for a receipt: %w", err)
	}
	receipt, err := sink.ParseReceipt(b)
	if err != nil {
		return nil, fmt.Errorf("read the receipt: %w", err)
	}
	if !r.ownReceipt(kind, receipt) {
		r.log.Warn().Str("key", string(r.layout.Key(kind, sink.ReceiptFile))).Msg("receipt ignored: it belongs to another command or account")
		return nil, nil
	}
	says := receipt.Predicate
	data := &contract.EventData{
		Status: contract.StatusCompleted, Outcome: contract.Outcome(says.Outcome), StartedAt: &says.StartedAt, FinishedAt: &says.FinishedAt,
		Counts: contract.CountsByName(says.Counts), Exceptions: says.Exceptions,
		Bundle: &contract.BundleRef{
			URI: r.uri(kind), ManifestSHA256: manifestDigest(receipt), ReceiptSHA256: hexSHA256(b),
			Objects: int64(says.Bundle.Objects),
		},
	}
	for _, left := range says.Residuals {
		data.Residuals = append(data.Residuals, contract.Residual{Category: contract.Category(left.Category), Reason: left.Reason})
	}
	if says.Plan != nil {
		data.Plan = &contract.PlanRef{SHA256: says.Plan.SHA256, URI: r.uri(sink.DeleteBag) + string(sink.PlanFile)}
	}
	if len(says.ExportBundle) > 0 {
		if err := json.Unmarshal(says.ExportBundle, &data.ExportBundle); err != nil {
			return nil, fmt.Errorf("read the receipt's export bundle: %w", err)
		}
	}
	return data, nil
}

// ownReceipt reports whether a receipt belongs to this command, kind of bag, account and key.
func (r *run) ownReceipt(kind sink.BagKind, receipt *sink.Receipt) bool {
	predicate := sink.ExportPredicateType
	if kind == sink.DeleteBag {
		predicate = sink.DeletePredicateType
	}
	says := receipt.Predicate.Command
	place := strings.TrimPrefix(string(r.layout.Bag(kind)), r.Prefix)
	return receipt.PredicateType == predicate && says.ID == r.command.ID && says.Action == string(r.command.Action) &&
		strings.HasSuffix(receipt.Predicate.Bundle.URI, place) &&
		says.Account != "" && r.sameAccount(contract.CommandRef{Resource: says.Resource, Account: says.Account})
}

func manifestDigest(r *sink.Receipt) string {
	for _, s := range r.Subject {
		if s.Name == string(sink.ManifestFile) {
			return s.Digest["sha256"]
		}
	}
	return ""
}

// sameRequest reports whether a bag exists under the command's id, and was made for the same data
// and account.
func (r *run) sameRequest(ctx context.Context) (exists, same bool, err error) {
	for _, kind := range []sink.BagKind{sink.DeleteBag, sink.ExportBag} {
		b, err := r.Store.ReadAll(ctx, r.layout.Key(kind, sink.RequestFile), maxReceipt)
		if errors.Is(err, sink.ErrNotFound) {
			continue
		}
		if err != nil {
			return false, false, fmt.Errorf("read the request of an earlier bundle: %w", err)
		}
		var record requestRecord
		if err := contract.DecodeVersioned(b, "request.json", &record); err != nil {
			return false, false, err
		}
		earlier := contract.CommandRef{Digest: record.Digest, Resource: record.Data.Resource, Account: record.Account}
		same = r.command.SameAs(contract.Job{ID: record.ID, Action: record.Action, Command: earlier}) && record.Account != "" && r.sameAccount(earlier)
		return true, same, nil
	}
	return false, false, nil
}
