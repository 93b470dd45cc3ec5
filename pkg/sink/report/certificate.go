package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"time"
)

// Certificate is what the page of a delete says. All texts are shown as they are; markup in them is
// escaped.
type Certificate struct {
	Command       string // the command's id
	Reference     string // the requester's own, may be empty
	Planned       bool   // of a dry run: nothing was deleted
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
	Checks        []Verification
	Residuals     []Residual
	LedgerEntries int64
	LedgerHead    string

	ExportURI           string // of the bundle exported before; empty without one
	ExportReceiptSHA256 string
}

// Count is how many things of a category were deleted, or would be.
type Count struct {
	Category string
	N        int64
}

// Project is one project's share.
type Project struct {
	ID     string
	Whole  bool // the project itself, too
	Counts []int64
}

// Verification says how the absence of things was seen.
type Verification struct {
	Project     string    `json:"project"`
	Category    string    `json:"category"`
	Items       int       `json:"items"`
	AlreadyGone int       `json:"already_gone"` // of these, what was gone when its turn came: nothing of it was deleted
	How         string    `json:"how"`
	First       time.Time `json:"first"` // when the first of them was seen to be gone
	Last        time.Time `json:"last"`
}

// Group is the verification of one project.
type Group struct {
	Project string
	Checks  []Verification
}

// Groups is the checks by project, in their order.
func (c Certificate) Groups() []Group {
	var groups []Group
	for _, v := range c.Checks {
		if n := len(groups); n == 0 || groups[n-1].Project != v.Project {
			groups = append(groups, Group{Project: v.Project})
		}
		last := &groups[len(groups)-1]
		last.Checks = append(last.Checks, v)
	}
	return groups
}

// Residual is what remains, and why.
type Residual struct{ Category, Reason string }

//go:embed certificate.html
var certificateHTML string

var certificate = template.Must(template.New("certificate").Funcs(template.FuncMap{
	"utc": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"name": func(category string) string {
		if category == "exports" {
			return "exported models"
		}
		return category
	},
}).Parse(certificateHTML))

// HTML is the page. It fails only where a value cannot be shown, which no Certificate has.
func (c Certificate) HTML() ([]byte, error) {
	var b bytes.Buffer
	if err := certificate.Execute(&b, c); err != nil {
		return nil, fmt.Errorf("make the page: %w", err)
	}
	return b.Bytes(), nil
}

// Title is the page's heading.
func (c Certificate) Title() string {
	if c.Planned {
		return "Plan of a deletion"
	}
	return "Certificate of deletion"
}
