package report

import (
	_ "embed"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// Certificate is what the page of a delete says. All texts are shown as they are: markup in them is
// escaped, and so is every character that is not printable.
type Certificate struct {
	Command       string    // the command's id
	Reference     string    // the requester's own, may be empty
	Source        string    // of the command's CloudEvent, may be empty
	Published     time.Time // when the command was
	Signer        string    // NKey public key by which the command was signed; empty where that was not demanded
	Approver      string    // and approved
	Selection     []string  // what was asked for, with metadata values as pseudonyms
	Categories    []string  // that were asked for
	Planned       bool      // of a dry run: nothing was deleted
	NothingFound  bool
	Host          string // of the Training API
	APIVersion    string
	Method        string // what the deletion amounts to
	PlanSHA256    string
	Started       time.Time
	Finished      time.Time
	Tool          string
	Counts        []Count
	Projects      []Project // their counts are in the order of Counts
	Checks        []bagfile.Check
	Residuals     []Residual
	LedgerEntries int64
	LedgerHead    string
	Signed        bool // the receipt is

	ExportURI           string // of the bundle exported before; empty without one
	ExportReceiptSHA256 string
	ExportSigned        bool // its receipt is
}

// Count is how many things of a category were deleted, or would be.
type Count struct {
	Category string
	N        int64
}

// Project is one project's share.
type Project struct {
	ID     string
	Name   string // when the plan was made; may be empty
	Whole  bool   // the project itself, too
	Counts []int64
}

// group is the verification of one project.
type group struct {
	Project, Name string
	Checks        []bagfile.Check
}

// groups is the checks by project, in their order.
func (c Certificate) groups() []group {
	var groups []group
	for _, v := range c.Checks {
		if n := len(groups); n == 0 || groups[n-1].Project != v.Project {
			groups = append(groups, group{Project: v.Project, Name: c.nameOf(v.Project)})
		}
		last := &groups[len(groups)-1]
		last.Checks = append(last.Checks, v)
	}
	return groups
}

// nameOf is the name of the project with this id.
func (c Certificate) nameOf(project string) string {
	for _, p := range c.Projects {
		if p.ID == project {
			return p.Name
		}
	}
	return ""
}

// Residual is what remains, and why.
type Residual struct{ Category, Reason string }

//go:embed certificate.html
var certificateHTML string

var certificatePage = parse("certificate.html", certificateHTML)

// certificateData is what certificate.html shows.
type certificateData struct {
	sheet
	Certificate

	Heading string
	Rows    []certificateRow
	Totals  []certificateTotal
	Groups  []group
}

// certificateRow is a project with its numbers by category.
type certificateRow struct {
	ID, Name string
	Whole    bool
	Counts   []Count
}

// certificateTotal is what is told of a category over all projects.
type certificateTotal struct {
	Count

	AlreadyGone int64
	Last        time.Time // when the last of it was seen to be gone; zero: nothing was there
}

// HTML is the page. It fails only where a value cannot be shown, which no Certificate has.
func (c Certificate) HTML() ([]byte, error) {
	d := certificateData{sheet: newSheet(c.Command, c.heading()+" "+c.Command, plain), Certificate: c, Heading: c.heading(), Groups: c.groups()}
	d.Maker = c.Tool
	for _, p := range c.Projects {
		row := certificateRow{ID: p.ID, Name: p.Name, Whole: p.Whole}
		for i, n := range p.Counts {
			row.Counts = append(row.Counts, Count{Category: c.Counts[i].Category, N: n})
		}
		d.Rows = append(d.Rows, row)
	}
	for _, n := range c.Counts {
		total := certificateTotal{Count: n}
		for _, check := range c.Checks {
			if check.Category != n.Category {
				continue
			}
			total.AlreadyGone += int64(check.AlreadyGone)
			if check.Last.After(total.Last) {
				total.Last = check.Last
			}
		}
		d.Totals = append(d.Totals, total)
	}
	return render(certificatePage, "certificate", d, maxText/8)
}

// heading is the page's heading.
func (c Certificate) heading() string {
	if c.Planned {
		return "Plan of a deletion"
	}
	return "Certificate of deletion"
}
