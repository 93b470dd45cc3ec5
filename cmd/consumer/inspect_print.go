package main

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/cvconsumer/cvconsumer/internal/human"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/dataset"
)

// maxShown is how many projects, exceptions and residuals are shown of each.
const maxShown = 50

// print prints what the bundle says, for people.
func (a inspected) print(w io.Writer) error {
	t := newTable(w)
	t.line(0, a.Where)
	switch a.State {
	case "foreign":
		t.line(2, "a BagIt bag that cvconsumer did not make")
	case "unfinished":
		t.line(2, "no receipt: this is no finished bundle")
	}
	a.printHead(t)
	if a.Counts != nil {
		name := map[string]string{"export": "exported", "delete": "deleted"}[a.Kind]
		if a.Outcome == bagfile.OutcomePlanned {
			name = "planned"
		}
		t.field(name, things(*a.Counts))
	}
	a.printProjects(t)
	if len(a.Listed) > 0 || a.Exceptions > 0 {
		t.line(0, fmt.Sprintf("Exceptions: %d", max(a.Exceptions, int64(len(a.Listed)))))
		for _, e := range a.Listed[:min(len(a.Listed), maxShown)] {
			t.line(2, fmt.Sprintf("%s %s", e.Category, strconv.Quote(e.ID)))
			t.line(4, fmt.Sprintf("%s: %s", e.Code, e.Message))
		}
		t.more(len(a.Listed), string(sink.InventoryFile))
	}
	if len(a.Residuals) > 0 {
		t.line(0, "Remains")
		for _, r := range a.Residuals[:min(len(a.Residuals), maxShown)] {
			t.line(2, r.Category+": "+r.Reason)
		}
		t.more(len(a.Residuals), string(sink.ReceiptFile))
	}
	return t.Flush()
}

// printHead prints what the bundle is as a whole.
func (a inspected) printHead(t *table) {
	if a.CommandID != "" {
		t.field("command", a.CommandID+", "+a.Action)
	}
	if a.Outcome != "" {
		t.field("outcome", strings.ReplaceAll(a.Outcome, "_", " "))
	}
	if a.Error != nil {
		t.field("error", a.Error.Code+": "+strconv.Quote(a.Error.Message))
	}
	if a.Reference != "" {
		t.field("reference", strconv.Quote(a.Reference))
	}
	if a.Account != "" {
		t.field("account", a.Account)
	}
	if a.FinishedAt != nil {
		t.field("made", a.FinishedAt.UTC().Format(time.RFC3339)+" by "+cmp.Or(a.Tool, bagfile.Tool))
	}
	if a.State == "finished" {
		t.field("signature", map[bool]string{true: "the receipt says that it is signed; not checked here", false: "none: the receipt is unsigned"}[a.Signed])
	}
	if kept := a.Retention; kept != nil && !kept.Lapsed {
		t.field("retention", sink.Retention{Mode: kept.Mode, Until: kept.RetainUntil}.String())
	}
	t.field("size", fmt.Sprintf("%d files, %s", a.Files, human.Bytes(a.Bytes)))
}

// printProjects prints what the bundle says of each project.
func (a inspected) printProjects(t *table) {
	if len(a.Projects) == 0 {
		return
	}
	t.line(0, "Projects")
	types := map[dataset.Kind]string{dataset.Multiclass: "one tag an image", dataset.Multilabel: "several tags an image", dataset.Detection: "boxes"}
	for _, one := range a.Projects[:min(len(a.Projects), maxShown)] {
		if name := oneLine(one.Name); name != "" {
			t.line(2, name)
		}
		t.line(2, one.ID)
		one.Counts.Projects = 0 // it is this one
		switch {
		case one.Gone:
			t.line(4, "gone before it could be read")
		case one.Whole:
			t.line(4, "the project itself, and "+things(one.Counts))
		case one.Type != "":
			t.line(4, types[one.Type]+"; "+things(one.Counts))
		default:
			t.line(4, things(one.Counts))
		}
	}
	t.more(len(a.Projects), "the bundle")
}

// more says how many are not shown.
func (t *table) more(all int, where string) {
	if all > maxShown {
		t.line(2, fmt.Sprintf("and %d more: see %s, or -o json", all-maxShown, where))
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
