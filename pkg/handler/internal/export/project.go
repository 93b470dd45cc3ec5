package export

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/report"
)

// projectCommit is one project on its way into the bag.
type projectCommit struct {
	c         *committing
	state     *projectState
	inventory bagfile.InventoryProject
	pictures  *pictures
	texts     []uuid.UUID              // images in whose place some unit stored text
	named     map[bagfile.Failure]bool // what operations failed about, whatever they said
	witnessed map[uuid.UUID]struct{}   // images that the witness has; nil without a witness that held still
	pages     *report.ProjectPages
	shown     []unit.EntryRecord // documents that pages show
	models    []report.Model
}

// addProject adds what the units stored of a project, and writes its .jsonl files.
func (c *committing) addProject(ctx context.Context, state *projectState, cut cutProject) error {
	p := &projectCommit{
		c: c, state: state, named: map[bagfile.Failure]bool{},
		inventory: bagfile.InventoryProject{ID: cut.ID, Gone: cut.Gone, Categories: map[string]*bagfile.InventoryCategory{}, Untrained: []string{}, Unstable: cut.Unstable},
	}
	for _, category := range c.x.Command.Data.Categories {
		p.inventory.Categories[string(category)] = &bagfile.InventoryCategory{Failed: []bagfile.Failure{}}
	}
	c.exceptions += int64(len(cut.Unstable))
	if cut.Gone {
		if c.x.Command.Action == contract.ActionExport { // a delete wanted it gone; if it vanished only now, the new plan differs
			c.exceptions++
		}
		c.inventory.Projects = append(c.inventory.Projects, p.inventory)
		return c.site.Gone(state.id, c.x.Command.Action == contract.ActionExport) //nolint:wrapcheck // it names the page
	}
	if err := c.x.Bags.Spooled(func(s *sink.Spool) error { return p.files(ctx, s) }); err != nil {
		return err
	}
	p.tally(cut)
	c.inventory.Projects = append(c.inventory.Projects, p.inventory)
	return p.pages.End(p.inventory, p.models) //nolint:wrapcheck // it names the page
}

// files adds what units stored to the bag, and writes the project's .jsonl files and the pages that
// show them. The spool is empty.
func (p *projectCommit) files(ctx context.Context, s *sink.Spool) (err error) {
	if p.pictures, err = newPictures(s, p.c.results.fetched(p.state.id)); err != nil {
		return err
	}
	if err := p.stored(ctx); err != nil {
		return err
	}
	if err := p.askWitness(ctx); err != nil {
		return err
	}
	documents, err := p.documents(ctx)
	if err != nil {
		return err
	}
	p.pages = p.c.site.Project(p.state.id, documents)
	return p.generated(ctx)
}

// stored adds the objects that units stored, in the order of the units; text in place of a picture
// last, where no unit has the picture.
func (p *projectCommit) stored(ctx context.Context) error {
	for _, n := range p.c.results.unitsOf(p.state.id) {
		for rec, err := range p.c.results.records(ctx, n) {
			switch {
			case err != nil:
				return err
			case rec.Entry != nil:
				err = p.entry(*rec.Entry)
			case rec.Blob != nil && rec.Prediction == nil:
				err = p.blob(n, rec)
			}
			if err != nil {
				return err
			}
		}
	}
	for _, id := range p.texts {
		b, _, err := p.pictures.best(id)
		if err == nil && b.Error != nil {
			err = p.addBlob(contract.CategoryImages, b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *projectCommit) entry(e unit.EntryRecord) error {
	category := p.category(e.Category)
	if e.Failed != nil {
		p.fail(category, *e.Failed)
	}
	if e.Unfinished != nil {
		category.Listed++
		category.Unfinished = append(category.Unfinished, *e.Unfinished)
		if e.Unfinished.Exception() {
			p.c.exceptions++
		}
	}
	if e.Model {
		category.Listed++
		category.Bytes += e.Bytes
		if e.Failed == nil {
			category.Exported++
			p.c.counts.Exports++
		}
	}
	if e.Path == "" {
		return nil
	}
	p.show(e)
	return p.c.add(e.Path, e.SHA256, e.Bytes)
}

// category is the inventory of a category. What could not be read may be of one that the command
// does not export, and needs all the same: the tags of a selection by tags.
func (p *projectCommit) category(c contract.Category) *bagfile.InventoryCategory {
	if p.inventory.Categories[string(c)] == nil {
		p.inventory.Categories[string(c)] = &bagfile.InventoryCategory{Failed: []bagfile.Failure{}}
	}
	return p.inventory.Categories[string(c)]
}

// fail names something that the export could not have, once: several units may have asked for it.
func (p *projectCommit) fail(category *bagfile.InventoryCategory, f bagfile.Failure) {
	if f.Operation != "" {
		known := bagfile.Failure{ID: f.ID, Operation: f.Operation}
		if p.named[known] {
			return
		}
		p.named[known] = true
	}
	category.Failed = append(category.Failed, f)
	p.c.exceptions++
}

func (c *committing) add(name, digest string, size int64) error {
	c.counts.Bytes += size
	if err := c.out.Add(sink.Path(name), digest, size); err != nil {
		return fmt.Errorf("add %s to the bag: %w", name, err)
	}
	return nil
}

// resolve is the blob as the store holds it after all.
func (p *projectCommit) resolve(n int, rec unit.Record) unit.BlobRecord {
	b := *rec.Blob
	if b.Error == nil {
		return b
	}
	if a, ok := p.c.adopted[string(p.c.results.stem(p.state.id, n, rec.ID))]; ok {
		_, file, _ := strings.Cut(a.Path, p.state.id.String()+"/")
		return unit.BlobRecord{File: file, SHA256: a.SHA256, Bytes: a.Bytes, ContentType: a.ContentType, Source: a.Source}
	}
	return b
}

// blob takes the best that any unit has of an image: the picture, else the text that came in its
// place, else why there is nothing.
func (p *projectCommit) blob(n int, rec unit.Record) error {
	b := p.resolve(n, rec)
	better, err := p.pictures.offer(n, rec.ID, b)
	switch {
	case err != nil || !better || b.File == "":
		return err
	case b.Error != nil:
		p.texts = append(p.texts, rec.ID)
		return nil
	}
	return p.addBlob(contract.CategoryImages, b)
}

// addBlob adds a stored blob to the bag.
func (p *projectCommit) addBlob(c contract.Category, b unit.BlobRecord) error {
	p.category(c).Bytes += b.Bytes
	return p.c.add(blobPath(p.state.id, b), b.SHA256, b.Bytes)
}

// rank orders what different units have of the same blob.
func rank(b unit.BlobRecord) int {
	switch {
	case b.Error == nil:
		return 3
	case b.File != "":
		return 2
	case b.Error.Code != unit.CodeGone: // another scope may still have the blob
		return 1
	}
	return 0
}

// lineOf is what images.jsonl and predictions.jsonl say of a blob.
func lineOf(b unit.BlobRecord) bagfile.Blob {
	if b.File == "" {
		return bagfile.Blob{Error: b.Error}
	}
	return bagfile.Blob{File: &b.File, SHA256: b.SHA256, Bytes: &b.Bytes, ContentType: b.ContentType, Source: b.Source, Error: b.Error}
}

// generated writes the files made of many units' records.
func (p *projectCommit) generated(ctx context.Context) error {
	d, id := p.c.x.Command.Data, p.state.id
	if d.Has(contract.CategoryImages) {
		for i, scope := range p.state.scopes(d) {
			name := sink.ProjectPath(id, "images.jsonl")
			if scope != uuid.Nil {
				name = sink.IterationPath(id, scope, "images.jsonl")
			}
			file := i + 1
			has := func(id uuid.UUID) bool { return p.pictures.in(file, id) }
			image := func(n int, rec unit.Record) (bagLine, error) { return p.image(file, scope, n, rec) }
			if err := p.lines(ctx, name, p.imageUnits(scope), has, image); err != nil {
				return err
			}
		}
	}
	if err := p.unread(); err != nil {
		return err
	}
	for _, l := range p.state.listings {
		if l.of.Kind == survey.Performances {
			if err := p.lines(ctx, sink.IterationPath(id, l.of.Scope, "image-performance.jsonl"), l.all, twice(), performanceOf); err != nil {
				return err
			}
		}
	}
	if d.Has(contract.CategoryPredictions) {
		return p.lines(ctx, sink.ProjectPath(id, bag.PredictionsFile), p.state.predictionUnits, twice(), p.prediction)
	}
	return nil
}

// imageUnits is the units that have the records of a scope's images.
func (p *projectCommit) imageUnits(scope uuid.UUID) []int {
	var out []int
	for _, n := range p.c.results.unitsOf(p.state.id) {
		if u := p.c.results.rounds.units[n]; (u.Kind == unit.KindPage || u.Kind == unit.KindBatch) && u.ImageScope() == scope && !u.Witness() {
			out = append(out, n)
		}
	}
	return out
}

// askWitness notes which images the witness has, where some blob was gone when it was asked for.
func (p *projectCommit) askWitness(ctx context.Context) error {
	for _, l := range p.state.listings {
		if p.pictures.lost == 0 || !l.witness {
			continue
		}
		if !l.settled {
			p.witnessed = nil
			return nil
		}
		if p.witnessed == nil {
			p.witnessed = map[uuid.UUID]struct{}{}
		}
		for _, n := range l.pages {
			s, err := p.c.results.rounds.ids(ctx, n)
			if err != nil {
				return err
			}
			for _, id := range s.IDs {
				p.witnessed[id] = struct{}{}
			}
		}
	}
	return nil
}

// removedBlob reports whether the service gave no link to a blob any more.
func removedBlob(b unit.BlobRecord) bool {
	return b.Error != nil && b.File == "" && b.Error.Code == unit.CodeGone
}

// removed reports whether an image that a scope listed was removed before its blob could be
// fetched: the workspace listed it, and the witness lacks it.
func (p *projectCommit) removed(scope, id uuid.UUID, b unit.BlobRecord) bool {
	_, there := p.witnessed[id]
	return scope == uuid.Nil && removedBlob(b) && p.witnessed != nil && !there
}

// blobOf is the best that any unit has of an image which unit n has a record of.
func (p *projectCommit) blobOf(n int, rec unit.Record) (unit.BlobRecord, bool, error) {
	if rec.Blob != nil && p.pictures.from(n, rec.ID) {
		return p.resolve(n, rec), true, nil
	}
	return p.pictures.best(rec.ID)
}

// image is the line of an image in one of the files of records.
func (p *projectCommit) image(file int, scope uuid.UUID, n int, rec unit.Record) (bagLine, error) {
	b, ok, err := p.blobOf(n, rec)
	if err != nil {
		return bagLine{}, err
	}
	if !ok {
		// An iteration listed it, and no scope had it any more when its blob was asked for.
		b = unit.BlobRecord{Error: &bagfile.Blame{Code: "gone", Message: "the image was listed, and was gone when its blob was asked for"}}
	}
	if p.pictures.write(file, rec.ID) {
		category := p.category(contract.CategoryImages)
		if p.removed(scope, rec.ID, b) {
			p.inventory.Removed = append(p.inventory.Removed, rec.ID.String())
		} else if b.Error != nil {
			p.fail(category, b.Error.Of(rec.ID.String()))
		} else {
			category.Exported++
		}
		if err := p.pages.Image(scopeID(scope), rec.ID, rec.Image, lineOf(b)); err != nil {
			return bagLine{}, err //nolint:wrapcheck // it names the page
		}
	}
	return bagLine{rec.Image, bagfile.ImageRecord{Image: null, Blob: lineOf(b)}, "image"}, nil
}

// unread names the images that the service listed, and did not give when it was asked for them by
// their ids: no file has a line of them.
func (p *projectCommit) unread() error {
	for _, id := range p.pictures.unwritten() {
		b, _, err := p.pictures.best(id)
		if err != nil {
			return err
		}
		if b.Error != nil {
			p.fail(p.category(contract.CategoryImages), b.Error.Of(id.String()))
		}
	}
	return nil
}

func performanceOf(_ int, rec unit.Record) (bagLine, error) {
	return bagLine{raw: rec.Performance}, nil
}

func (p *projectCommit) prediction(n int, rec unit.Record) (bagLine, error) {
	b := p.resolve(n, rec)
	category := p.category(contract.CategoryPredictions)
	category.Listed++
	p.c.counts.Predictions++
	if b.Error != nil {
		p.fail(category, b.Error.Of(rec.ID.String()))
	} else {
		category.Exported++
	}
	if b.File != "" {
		if err := p.addBlob(contract.CategoryPredictions, b); err != nil {
			return bagLine{}, err
		}
	}
	if err := p.pages.Prediction(rec.ID, rec.Prediction, lineOf(b)); err != nil {
		return bagLine{}, err //nolint:wrapcheck // it names the page
	}
	return bagLine{rec.Prediction, bagfile.PredictionRecord{Prediction: null, Blob: lineOf(b)}, "prediction"}, nil
}
