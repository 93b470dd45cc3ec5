package report

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// Put stores a page under its name, which is relative to the bag's root.
type Put func(name string, page []byte) error

// Site makes the pages of an export's bag: index.html, and below pages/ those of its projects with
// their galleries. Each page is stored once it is full, so a Site needs the memory of one page and
// a few numbers for the others. It is used by one goroutine.
type Site struct {
	id, maker  string
	asked      map[string]bool // categories
	put        Put
	galleries  int // pages of galleries so far
	summaries  []ProjectSummary
	exceptions exceptionList
}

// NewSite begins the pages of a command's bag. categories are those that it asked for, maker is the
// tool that makes the bag, with its version.
func NewSite(commandID, maker string, categories []string, put Put) *Site {
	s := &Site{id: commandID, maker: maker, asked: map[string]bool{}, put: put}
	for _, k := range categories {
		s.asked[k] = true
	}
	s.exceptions.site = s
	return s
}

// sheet is what a page has around its content.
func (s *Site) sheet(of kind, title string) sheet {
	around := newSheet(s.id, title, of)
	around.Maker = s.maker
	return around
}

// ProjectSummary is a project's line on the first page.
type ProjectSummary struct {
	ID, Name    string
	Page        string // empty: it has none
	Gone        bool
	Iterations  int
	Tags        int
	Images      int
	Predictions int
	Models      int
	Exceptions  int
}

// Documents are the service's own documents of a project, as the bag has them; nil where it has
// none.
type Documents struct {
	Project, Tags, Iterations []byte
	Performance               map[uuid.UUID][]byte // by iteration
}

// Model is an exported model.
type Model struct {
	Iteration uuid.UUID
	File      string // relative to the project's folder
	SHA256    string
	Bytes     int64
}

// ProjectPages makes the pages of one project.
type ProjectPages struct {
	ID string

	site        *Site
	facts       projectFacts
	images      gallery
	predictions gallery
	colors      tagColors // of the picture that is added
}

// Project begins a project's pages.
func (s *Site) Project(id uuid.UUID, documents Documents) *ProjectPages {
	p := &ProjectPages{ID: id.String(), site: s, facts: readDocuments(documents)}
	p.images = gallery{project: p, name: bagfile.Images, heading: "Images", unlabeled: "no tags"}
	p.predictions = gallery{project: p, name: bagfile.Predictions, heading: "Stored predictions", unlabeled: "nothing predicted"}
	return p
}

func (p *ProjectPages) put(name string, page []byte) error {
	return p.site.put("pages/"+p.ID+"/"+name, page)
}

// name is the project's, or that there is none.
func (p *ProjectPages) name() string {
	if p.facts.Name == "" {
		return "(its name could not be read)"
	}
	return p.facts.Name
}

// Image shows an image once: as its first scope has it, an iteration's id or bagfile.Workspace.
func (p *ProjectPages) Image(scope string, id uuid.UUID, record []byte, blob bagfile.Blob) error {
	t := p.tileOf(id.String(), record, blob)
	if scope != bagfile.Workspace {
		t.notes = append(t.notes, "Not in the workspace any more; it is kept in iteration "+p.iterationName(scope)+".")
	}
	return p.images.add(t)
}

// Prediction shows a stored prediction.
func (p *ProjectPages) Prediction(id uuid.UUID, record []byte, blob bagfile.Blob) error {
	return p.predictions.add(p.tileOf(id.String(), record, blob))
}

// End makes what is left of a project's pages, once the inventory has all of it.
func (p *ProjectPages) End(inventory bagfile.InventoryProject, models []Model) error {
	for _, g := range []*gallery{&p.images, &p.predictions} {
		if err := g.end(false); err != nil {
			return err
		}
	}
	summary := ProjectSummary{
		ID: p.ID, Name: p.facts.Name, Page: "pages/" + p.ID + "/index.html", Iterations: len(p.facts.Iterations), Tags: len(p.facts.Tags),
		Images: p.images.total + p.images.left, Predictions: p.predictions.total + p.predictions.left, Models: len(models),
	}
	exceptions, notes := p.exceptions(inventory)
	summary.Exceptions = len(exceptions)
	rows, shown := p.rows(), p.modelRows(models)
	for _, row := range rows {
		if err := p.iterationPage(row, shown); err != nil {
			return err
		}
	}
	page, err := render(projectPage, "project.html", p.data(exceptions, notes, rows, shown), maxText)
	if err != nil {
		return err
	}
	if err := p.put("index.html", page); err != nil {
		return err
	}
	p.site.summaries = append(p.site.summaries, summary)
	for _, e := range exceptions {
		if err := p.site.exceptions.add(e); err != nil {
			return err
		}
	}
	return nil
}

// Gone tells of a project that was not there any more when it was read.
func (s *Site) Gone(id uuid.UUID, exception bool) error {
	s.summaries = append(s.summaries, ProjectSummary{ID: id.String(), Gone: true})
	if !exception {
		return nil
	}
	s.summaries[len(s.summaries)-1].Exceptions = 1
	return s.exceptions.add(Exception{Project: id.String(), Category: bagfile.Projects, Thing: id.String(), Code: "gone", Message: "the project was listed when the export was planned, and was not there when it was read"})
}

// Exception is something that the export could not have.
type Exception struct {
	Project, ProjectName           string
	Category, Thing, Code, Message string
	Operation, RequestID           string
}

// exceptions are what the inventory of a project names as one, and what else there is to say of it.
func (p *ProjectPages) exceptions(inventory bagfile.InventoryProject) (exceptions []Exception, notes []string) {
	add := func(e Exception) {
		e.Project, e.ProjectName = p.ID, p.facts.Name
		exceptions = append(exceptions, e)
	}
	for _, name := range bagfile.Categories() {
		category := inventory.Categories[name]
		if category == nil {
			continue
		}
		for _, f := range category.Failed {
			add(Exception{Category: name, Thing: f.ID, Code: f.Code, Message: f.Message, Operation: f.Operation, RequestID: f.RequestID})
		}
		for _, u := range category.Unfinished {
			if u.Exception() {
				add(Exception{Category: name, Thing: u.ID, Code: "unfinished", Message: "the service was still making this model: its status was " + u.Status})
			} else {
				notes = append(notes, "The model "+u.ID+" was never made: the service says "+u.Status+".")
			}
		}
	}
	for _, listing := range inventory.Unstable {
		add(Exception{Category: bagfile.Images, Thing: listing, Code: "unstable", Message: "this listing changed each time it was read"})
	}
	for _, id := range inventory.Untrained {
		notes = append(notes, "Iteration "+p.iterationName(id)+" is not trained, so it has no performance.")
	}
	if n := len(inventory.Removed); n > 0 {
		notes = append(notes, fmt.Sprintf("Images that were listed, and removed from the project before they could be fetched: %s. Their ids are in evidence/inventory.json.", number(n)))
	}
	for _, g := range []*gallery{&p.images, &p.predictions} {
		if g.left > 0 {
			notes = append(notes, fmt.Sprintf("%s %s are in the bundle but on no page, since there are too many.", number(g.left), g.name))
		}
	}
	return exceptions, notes
}
