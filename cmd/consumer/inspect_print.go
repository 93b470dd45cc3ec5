package main

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/cvconsumer/cvconsumer/internal/human"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/dataset"
)

const (
	// pageWidth is how many columns an account takes.
	pageWidth = 60
	// maxShown is how many projects, exceptions and residuals are shown of each.
	maxShown = 50
)

// page prints lines of at most pageWidth columns.
type page struct {
	w   io.Writer
	err error
}

// line prints a text after an indentation, in as many lines as it takes. Text of the customer must
// be quoted or cut.
func (p *page) line(indent int, text string) {
	text = bagfile.Printable(text)
	for text != "" && p.err == nil {
		part, rest := split(text, pageWidth-indent)
		_, p.err = fmt.Fprintf(p.w, "%s%s\n", strings.Repeat(" ", indent), part)
		text = rest
	}
}

// field prints a name and a value beside it.
func (p *page) field(name, value string) {
	const at = 14
	value = bagfile.Printable(value)
	for first := true; (value != "" || first) && p.err == nil; first = false {
		part, rest := split(value, pageWidth-at)
		_, p.err = fmt.Fprintf(p.w, "  %-*s%s\n", at-2, name, part)
		name, value = "", rest
	}
}

// split takes a line's worth of columns off a text, at a space if there is one.
func split(text string, columns int) (line, rest string) {
	used, space := 0, -1
	for i, r := range text {
		if used += runewidth.RuneWidth(r); used > columns {
			if space > 0 {
				return text[:space], text[space+1:]
			}
			return text[:i], text[i:]
		}
		if r == ' ' {
			space = i
		}
	}
	return text, ""
}

// short is a text of the customer in one line, cut where it is long.
func short(text string) string {
	line, rest := split(bagfile.Printable(strings.Join(strings.Fields(text), " ")), pageWidth-4)
	if rest != "" {
		line += "…"
	}
	return line
}

// print prints the account for people.
func (a account) print(w io.Writer) error {
	p := &page{w: w}
	p.line(0, a.Where)
	switch a.State {
	case "foreign":
		p.line(2, "a BagIt bag that cvconsumer did not make")
	case "unfinished":
		p.line(2, "no receipt: this is no finished bundle")
	}
	a.printHead(p)
	if a.Counts != nil {
		name := map[string]string{"export": "exported", "delete": "deleted"}[a.Kind]
		if a.Outcome == bagfile.OutcomePlanned {
			name = "planned"
		}
		p.field(name, things(*a.Counts))
	}
	a.printProjects(p)
	if len(a.Listed) > 0 || a.Exceptions > 0 {
		p.line(0, fmt.Sprintf("Exceptions: %d", max(a.Exceptions, int64(len(a.Listed)))))
		for _, e := range a.Listed[:min(len(a.Listed), maxShown)] {
			p.line(2, fmt.Sprintf("%s %s", e.Category, strconv.Quote(e.ID)))
			p.line(4, fmt.Sprintf("%s: %s", e.Code, e.Message))
		}
		p.more(len(a.Listed), string(sink.InventoryFile))
	}
	if len(a.Residuals) > 0 {
		p.line(0, "Remains")
		for _, r := range a.Residuals[:min(len(a.Residuals), maxShown)] {
			p.line(2, r.Category+": "+r.Reason)
		}
		p.more(len(a.Residuals), string(sink.ReceiptFile))
	}
	return p.err
}

// printHead prints what the bundle is as a whole.
func (a account) printHead(p *page) {
	if a.CommandID != "" {
		p.field("command", a.CommandID+", "+a.Action)
	}
	if a.Outcome != "" {
		p.field("outcome", strings.ReplaceAll(a.Outcome, "_", " "))
	}
	if a.Error != nil {
		p.field("error", a.Error.Code+": "+strconv.Quote(a.Error.Message))
	}
	if a.Reference != "" {
		p.field("reference", strconv.Quote(a.Reference))
	}
	if a.Account != "" {
		p.field("account", a.Account)
	}
	if a.FinishedAt != nil {
		p.field("made", a.FinishedAt.UTC().Format(time.RFC3339)+" by "+cmp.Or(a.Tool, bagfile.Tool))
	}
	if a.State == "finished" {
		p.field("signature", map[bool]string{true: "the receipt says that it is signed; not checked here", false: "none: the receipt is unsigned"}[a.Signed])
	}
	if kept := a.Retention; kept != nil && !kept.Lapsed {
		p.field("retention", sink.Retention{Mode: kept.Mode, Until: kept.RetainUntil}.String())
	}
	p.field("size", fmt.Sprintf("%d files, %s", a.Files, human.Bytes(a.Bytes)))
}

// printProjects prints what the bundle says of each project.
func (a account) printProjects(p *page) {
	if len(a.Projects) == 0 {
		return
	}
	p.line(0, "Projects")
	types := map[dataset.Kind]string{dataset.Multiclass: "one tag an image", dataset.Multilabel: "several tags an image", dataset.Detection: "boxes"}
	for _, one := range a.Projects[:min(len(a.Projects), maxShown)] {
		if name := short(one.Name); name != "" {
			p.line(2, name)
		}
		p.line(2, one.ID)
		one.Counts.Projects = 0 // it is this one
		switch {
		case one.Gone:
			p.line(4, "gone before it could be read")
		case one.Whole:
			p.line(4, "the project itself, and "+things(one.Counts))
		case one.Type != "":
			p.line(4, types[one.Type]+"; "+things(one.Counts))
		default:
			p.line(4, things(one.Counts))
		}
	}
	p.more(len(a.Projects), "the bundle")
}

// more says how many are not shown.
func (p *page) more(all int, where string) {
	if all > maxShown {
		p.line(2, fmt.Sprintf("and %d more: see %s, or -o json", all-maxShown, where))
	}
}

// things is what is counted, in words; what there is none of is left out.
func things(c bagfile.Counts) string {
	one := map[string]string{bagfile.Performance: "performances", bagfile.Exports: "exported models"}
	var parts []string
	for _, name := range bagfile.Categories() {
		if n := *c.Of(name); n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", cmp.Or(one[name], name), n))
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}
