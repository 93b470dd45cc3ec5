package report

import (
	"bytes"
	"cmp"
	_ "embed" // templates
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/human"
)

// maxRows is how many lines a table has at most that the service's documents fill.
const maxRows = 2000

//go:embed project.html
var projectHTML string

//go:embed iteration.html
var iterationHTML string

var (
	projectPage   = parse("project.html", projectHTML)
	iterationPage = parse("iteration.html", iterationHTML)
)

// projectFacts are what is shown of a project's documents.
type projectFacts struct {
	Name, Description string
	Facts             []fact // settings, and all else that project.json has
	Tags              []tag
	Iterations        []iteration // in the order of their training
}

type tag struct {
	ID, Name, Type, Description string
	ImageCount                  int
}

// iteration is an iteration with its performance.
type iteration struct {
	ID, Name, Status, PublishName string
	TrainedAt                     string
	Facts                         []fact
	Performance                   *performance // nil: it has none
}

// score is how well a model did: of a tag, or of all.
type score struct {
	ID, Name                                  string
	Precision, Recall, AveragePrecision       *float64
	PrecisionStdDeviation, RecallStdDeviation float64
}

type performance struct {
	score

	PerTagPerformance []score
}

// readDocuments takes what pages show from documents of the service. What has another form than
// expected is left out: finding faults is for verification.
func readDocuments(d Documents) projectFacts {
	var f projectFacts
	_ = json.Unmarshal(d.Project, &f)
	f.Facts = flatten(d.Project, "id", "name", "description", "thumbnailUri")
	_ = json.Unmarshal(d.Tags, &f.Tags)
	var raws []json.RawMessage
	_ = json.Unmarshal(d.Iterations, &raws)
	for _, raw := range raws {
		var it iteration
		_ = json.Unmarshal(raw, &it)
		id, err := uuid.Parse(it.ID)
		if err != nil || len(f.Iterations) == maxRows {
			continue
		}
		it.ID, it.Facts = id.String(), flatten(raw, "name", "projectId", "id")
		if document, ok := d.Performance[id]; ok {
			it.Performance = new(performance)
			_ = json.Unmarshal(document, it.Performance)
		}
		f.Iterations = append(f.Iterations, it)
	}
	slices.SortStableFunc(f.Iterations, func(a, b iteration) int { return cmp.Compare(trained(a), trained(b)) })
	return f
}

// trained is when an iteration was trained; one that was not comes last.
func trained(it iteration) int64 {
	at, err := time.Parse(time.RFC3339, it.TrainedAt)
	if err != nil {
		return 1<<63 - 1
	}
	return at.UnixNano()
}

// flatten lists the values of a JSON object, each under the path of names to it, in the object's
// order. Values of the names in without are left out.
func flatten(raw []byte, without ...string) []fact {
	var facts []fact
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var walk func(name string) error
	walk = func(name string) error {
		token, err := d.Token()
		if err != nil {
			return err //nolint:wrapcheck // it only ends the walk
		}
		if token != json.Delim('{') && token != json.Delim('[') {
			if len(facts) < maxRows && token != nil && !slices.Contains(without, name) {
				facts = append(facts, fact{name, fmt.Sprint(token)})
			}
			return nil
		}
		for d.More() {
			of := name
			if token == json.Delim('{') {
				key, err := d.Token()
				if err != nil {
					return err //nolint:wrapcheck // it only ends the walk
				}
				of = strings.TrimPrefix(name+" · "+fmt.Sprint(key), " · ")
			}
			if err := walk(of); err != nil {
				return err
			}
		}
		_, err = d.Token()
		return err //nolint:wrapcheck // it only ends the walk
	}
	_ = walk("")
	return merged(facts)
}

// merged joins neighbors of one name, the elements of a list, into one fact.
func merged(facts []fact) []fact {
	var out []fact
	for _, f := range facts {
		if n := len(out); n > 0 && out[n-1].Name == f.Name {
			out[n-1].Value += ", " + f.Value
		} else {
			out = append(out, f)
		}
	}
	return out
}

// iterationName is an iteration's name with its id, or the id.
func (p *ProjectPages) iterationName(id string) string {
	for _, it := range p.facts.Iterations {
		if it.ID == id && it.Name != "" {
			return cut(it.Name, 2*brief) + " (" + id + ")"
		}
	}
	return id
}

// projectData is what project.html shows.
type projectData struct {
	sheet

	Asked               map[string]bool // categories
	P                   *ProjectPages
	Name                string
	F                   projectFacts
	Tags                []tag
	TagsLeft            int
	Rows                []iterationRow
	Chart               *chart
	Models              []modelRow
	ModelsLeft          int
	Exceptions          []Exception
	ExceptionsLeft      int
	Notes               []string
	Images, Predictions []GalleryPage
	ImageN, PredictionN int
}

// iterationRow is an iteration's line, with its change from the one before it that has a
// performance.
type iterationRow struct {
	*iteration

	N       int
	Page    string
	Scores  []scoreCell
	earlier *iteration // the one before it that has a performance; nil: there is none
}

// scoreCell is one number of a score, as a table shows it.
type scoreCell struct {
	What, Value, Change string
	Bar                 bar
}

// bar is a share drawn as a bar, in an SVG of 100 by 8.
type bar struct {
	Width     string
	Spread    bool // by its standard deviation
	Low, High string
}

type modelRow struct {
	Model

	Name, Iteration, Size string
}

func (p *ProjectPages) data(exceptions []Exception, notes []string, rows []iterationRow, models []modelRow) projectData {
	d := projectData{
		sheet: p.site.sheet(plain, p.name()+" – "+p.site.id), P: p, Asked: p.site.asked, Name: p.name(), F: p.facts, Rows: rows, Chart: newChart(rows), Exceptions: exceptions, Notes: notes,
		Images: p.images.pages, Predictions: p.predictions.pages, ImageN: p.images.total, PredictionN: p.predictions.total,
	}
	d.Tags, d.TagsLeft = firstRows(p.facts.Tags)
	d.Models, d.ModelsLeft = firstRows(models)
	if n := len(exceptions) - maxExceptions; n > 0 {
		d.Exceptions, d.ExceptionsLeft = exceptions[:maxExceptions], n
	}
	return d
}

// rows are the iterations, with their scores and how these changed.
func (p *ProjectPages) rows() []iterationRow {
	var rows []iterationRow
	var before *iteration // the last one that has a performance
	for i := range p.facts.Iterations {
		it := &p.facts.Iterations[i]
		row := iterationRow{iteration: it, N: i + 1, Page: "iteration-" + it.ID + ".html", earlier: before}
		if it.Performance != nil {
			var earlier *score
			if before != nil {
				earlier = &before.Performance.score
			}
			row.Scores = scoreCells(it.Performance.score, earlier)
			before = it
		}
		rows = append(rows, row)
	}
	return rows
}

// scoreCells shows a score, and how it differs from an earlier one; nil: there is none.
func scoreCells(s score, earlier *score) []scoreCell {
	if earlier == nil {
		earlier = &score{}
	}
	return []scoreCell{
		newScoreCell("Precision", s.Precision, earlier.Precision, s.PrecisionStdDeviation),
		newScoreCell("Recall", s.Recall, earlier.Recall, s.RecallStdDeviation),
		newScoreCell("Average precision", s.AveragePrecision, earlier.AveragePrecision, 0),
	}
}

// newScoreCell shows one number of a score, with its standard deviation if that is not 0.
func newScoreCell(what string, v, earlier *float64, deviation float64) scoreCell {
	if v == nil {
		return scoreCell{What: what, Value: "–", Bar: bar{Width: "0"}}
	}
	within := func(share float64) string { return coordinate(min(max(share, 0), 1) * 100) }
	out := scoreCell{What: what, Value: percent(*v), Bar: bar{Width: within(*v)}}
	if deviation > 0 {
		out.Bar.Spread, out.Bar.Low, out.Bar.High = true, within(*v-deviation), within(*v+deviation)
	}
	if earlier != nil {
		out.Change = fmt.Sprintf("%+.1f", (*v-*earlier)*100)
	}
	return out
}

// modelRows are the models.
func (p *ProjectPages) modelRows(models []Model) []modelRow {
	var rows []modelRow
	for _, m := range models {
		rows = append(rows, modelRow{Model: m, Name: path.Base(m.File), Iteration: p.iterationName(m.Iteration.String()), Size: human.Bytes(m.Bytes)})
	}
	return rows
}

// iterationData is what iteration.html shows.
type iterationData struct {
	sheet

	Asked   map[string]bool
	P       *ProjectPages
	Project string
	It      iterationRow
	Earlier string // name of the iteration that changes are from; empty: none
	PerTag  []tagScore
	Left    int // tags that are not shown

	Models     []modelRow
	ModelsLeft int
}

// tagScore is how well an iteration did on a tag.
type tagScore struct {
	Name   string
	Scores []scoreCell
}

func (p *ProjectPages) iterationPage(row iterationRow, models []modelRow) error {
	d := iterationData{
		P: p, Asked: p.site.asked, Project: p.name(), It: row, sheet: p.site.sheet(plain, row.Name+" – "+p.site.id),
		Models: slices.DeleteFunc(slices.Clone(models), func(m modelRow) bool { return m.Model.Iteration.String() != row.ID }),
	}
	d.Models, d.ModelsLeft = firstRows(d.Models)
	earlier := map[string]*score{}
	if row.earlier != nil {
		d.Earlier = row.earlier.Name
		for n := range row.earlier.Performance.PerTagPerformance {
			s := &row.earlier.Performance.PerTagPerformance[n]
			earlier[s.ID] = s
		}
	}
	if row.Performance != nil {
		var scores []score
		scores, d.Left = firstRows(row.Performance.PerTagPerformance)
		for _, s := range scores {
			d.PerTag = append(d.PerTag, tagScore{s.Name, scoreCells(s, earlier[s.ID])})
		}
	}
	page, err := render(iterationPage, "iteration.html", d, maxText)
	if err != nil {
		return err
	}
	return p.put("iteration-"+row.ID+".html", page)
}

// firstRows is as much of a list as a table shows, and how many it leaves out.
func firstRows[T any](all []T) (shown []T, left int) {
	n := min(len(all), maxRows)
	return all[:n], len(all) - n
}
