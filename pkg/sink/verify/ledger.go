package verify

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// isTarget reports whether a text can be the target of a call.
func isTarget(text string) bool {
	for i := range len(text) {
		c := text[i]
		if !isLetter(c) && (c < '0' || c > '9') && strings.IndexByte("/., _-", c) < 0 {
			return false
		}
	}
	return true
}

// changesNothing reports whether a text can be the name of a call that changes nothing.
func changesNothing(operation string) bool {
	of, found := strings.CutPrefix(operation, "Get")
	if !found {
		of, found = strings.CutPrefix(operation, "Query")
	}
	for i := range len(of) {
		found = found && isLetter(of[i])
	}
	return found && 1 <= len(of) && len(of) <= 60
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// prediction is a prediction that DeletePrediction was called with.
type prediction struct {
	project, id uuid.UUID
	intent      int64 // as of a fate
	answered    bool  // a call was answered with success
	seen        bool  // a record has it
}

// calls follows the lines of a ledger.
type calls struct {
	v       *verifier
	name    sink.Path
	destroy bool // the bag may have destructive calls
	last    time.Time
	open    *sink.LedgerLine // the last intent, while it has no result
	found   []prediction
}

// readLedger checks the ledger's chain and its lines.
func (v *verifier) readLedger(f *file) {
	c := &calls{v: v, name: f.name, destroy: v.kind == sink.DeleteBag && !v.scope.DryRun}
	sum, err := sink.FollowLedger(f, c.line)
	c.close(false)
	var readErr *sink.ReadError
	if errors.As(err, &readErr) {
		return
	}
	if err != nil {
		v.problem(f.name, "the chain breaks: %v", err)
	}
	slices.SortFunc(c.found, func(a, b prediction) int {
		if n := compareIDs(a.project, b.project); n != 0 {
			return n
		}
		return compareIDs(a.id, b.id)
	})
	merged := c.found[:0]
	for _, p := range c.found {
		if n := len(merged); n > 0 && merged[n-1].project == p.project && merged[n-1].id == p.id {
			merged[n-1].answered = merged[n-1].answered || p.answered
			if merged[n-1].intent == 0 || p.intent != 0 && p.intent < merged[n-1].intent {
				merged[n-1].intent = p.intent
			}
			continue
		}
		merged = append(merged, p)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Ledger, v.predictions = sum, merged
}

// bad notes a problem with a line.
func (c *calls) bad(l sink.LedgerLine, format string, args ...any) {
	if c.v.enough(c.name) {
		return
	}
	c.v.problem(c.name, "line %d: "+format, append([]any{l.Seq}, args...)...)
}

// line checks one line, of which the form and the chain are right.
func (c *calls) line(l sink.LedgerLine) {
	if l.Time.IsZero() || !isTarget(l.Target) || l.Status < 0 || l.Status > 999 || l.Attempt < 0 {
		c.bad(l, "it has no time, or an odd target, status or attempt")
	}
	if l.Kind != sink.LedgerCall {
		if l.Time.Before(c.last) {
			c.bad(l, "its time %s is before that of an earlier intent, result or takeover", stamp(l.Time))
		}
		c.last = l.Time
	}
	switch l.Kind {
	case sink.LedgerCall:
		if !changesNothing(l.Operation) {
			c.bad(l, "%s is no call that changes nothing", quote(l.Operation))
		}
	case sink.LedgerIntent:
		c.close(false)
		if c.intent(l); l.Status != 0 {
			c.bad(l, "an intent has a status")
		}
		c.open = &l
	case sink.LedgerResult:
		if c.open == nil || c.open.Operation != l.Operation || c.open.Target != l.Target {
			c.bad(l, "it is the result of no intent")
			return
		}
		c.open.Status = l.Status
		c.close(true)
	case sink.LedgerTakeover:
		c.close(false)
	}
}

// intent checks what is about to be destroyed.
func (c *calls) intent(l sink.LedgerLine) {
	switch {
	case !bagfile.IsDestructive(l.Operation):
		c.bad(l, "%s destroys nothing, and has an intent", quote(l.Operation))
	case !c.destroy:
		c.bad(l, "a destructive call in the ledger of an export or a plan")
	case l.Operation == bagfile.UnpublishIteration && c.v.receipt != nil && !c.v.scope.Unpublish:
		c.bad(l, "an iteration is unpublished, which the command does not allow")
	}
}

// close takes account of the last intent: what it named may be gone through it, unless it was
// refused.
func (c *calls) close(answered bool) {
	l := c.open
	if c.open = nil; l == nil || answered && bagfile.Refused(l.Status) {
		if l != nil {
			c.each(*l, 0, false)
		}
		return
	}
	c.each(*l, max(l.Time.UnixNano(), 1), answered && l.Status/100 == 2)
}

// each notes the intent of everything that a line names. What it names must have been planned.
func (c *calls) each(l sink.LedgerLine, intent int64, succeeded bool) {
	plan := &c.v.planned
	if !plan.read || !c.destroy {
		return
	}
	path, list, _ := strings.Cut(l.Target, " ")
	parts := strings.Split(path, "/")
	var project, id uuid.UUID
	if len(parts) >= 2 && parts[0] == "projects" {
		project = plainID(parts[1])
	}
	if len(parts) >= 4 {
		id = plainID(parts[3])
	}
	p := plan.project(project)
	if p == nil {
		c.bad(l, "it is about no planned project")
		return
	}
	one := func(category string, id uuid.UUID) {
		f := plan.fate(category, project, id)
		switch {
		case f == nil:
			c.bad(l, "%s names %s, which was not planned", l.Operation, id)
		case intent != 0 && f.intent == 0:
			f.intent = intent
		}
	}
	switch l.Operation {
	case bagfile.DeleteProject:
		one(bagfile.Projects, project)
	case bagfile.DeleteIteration, bagfile.UnpublishIteration:
		if l.Operation == bagfile.UnpublishIteration {
			intent = 0
		}
		one(bagfile.Iterations, id)
	case bagfile.DeleteTag:
		one(bagfile.Tags, id)
	case bagfile.DeletePrediction:
		for text := range strings.SplitSeq(list, ",") {
			if len(c.found) >= maxPredictions {
				c.bad(l, "more predictions than are looked at")
				return
			}
			c.found = append(c.found, prediction{project: project, id: plainID(text), intent: intent, answered: succeeded})
		}
	case bagfile.DeleteImages:
		if list == "" {
			c.allImages(l, p, intent)
			return
		}
		for text := range strings.SplitSeq(list, ",") {
			one(bagfile.Images, plainID(text))
		}
	}
}

// allImages notes the intent of a call that names no images.
func (c *calls) allImages(l sink.LedgerLine, p *plannedProject, intent int64) {
	if !p.whole || c.v.scope.ApprovedPlan != "" || c.v.scope.ExportFirst {
		c.bad(l, "all images of a project are deleted, where only those planned may be")
	}
	if intent != 0 && p.intents == 0 {
		p.intents = intent
	}
}
