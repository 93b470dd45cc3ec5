package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// deletedProject is what deleted.jsonl of one project says.
type deletedProject struct {
	counts bagfile.Counts
	checks map[string]*bagfile.Check // by category
}

// readDeleted checks each line of deleted.jsonl against plan and ledger.
func (v *verifier) readDeleted(f *file, at place) {
	d := &deletedProject{checks: map[string]*bagfile.Check{}}
	n := 0
	for line, err := range sink.Lines(f.r, maxLine) {
		n++
		var readErr *sink.ReadError
		if errors.As(err, &readErr) || v.enough(f.name) {
			return
		}
		if err == nil {
			err = v.deletedLine(d, at.project, line)
		}
		if err != nil {
			v.problem(f.name, "line %d: %v", n, err)
		}
	}
	d.counts.Bytes = f.n
	v.mu.Lock()
	defer v.mu.Unlock()
	v.deleted[at.project] = d
}

// deletedLine returns an error for a line that does not agree with plan and ledger.
func (v *verifier) deletedLine(d *deletedProject, project uuid.UUID, line []byte) error {
	var l bagfile.Deleted
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := errors.Join(checkLine(line), checkMembers(line, true), dec.Decode(&l)); err != nil {
		return fmt.Errorf("it is not one: %w", err)
	}
	count := d.counts.Of(l.Category)
	switch {
	case count == nil:
		return fmt.Errorf("%s is no category", quote(l.Category))
	case !slices.Contains(bagfile.Ways(l.Category), l.How):
		return fmt.Errorf("%s is no way in which %s go", quote(l.How), l.Category)
	case l.VerifiedBy != "" && !slices.Contains(bagfile.Proofs(l.Category), l.VerifiedBy):
		return fmt.Errorf("%s is no way in which %s are seen to be gone", quote(l.VerifiedBy), l.Category)
	case l.ID == uuid.Nil:
		return errors.New("it has no id")
	}
	d.note(project, l)
	if l.How != bagfile.AlreadyGone {
		*count++
	}
	if p := &v.receipt; *p != nil && (l.VerifiedAbsent.Before((*p).Predicate.StartedAt) || l.VerifiedAbsent.After((*p).Predicate.FinishedAt)) {
		return fmt.Errorf("%s %s was seen to be absent at %s, which is not within the time of the delete", l.Category, l.ID, stamp(l.VerifiedAbsent))
	}
	if !v.planned.read {
		return nil // what is wrong with the plan was noted
	}
	return v.fateOf(project, l)
}

// fateOf returns an error for a thing that the plan does not have, that was there before, or that
// no call can have removed.
func (v *verifier) fateOf(project uuid.UUID, l bagfile.Deleted) error {
	p := v.planned.project(project)
	if p == nil {
		return errors.New("the plan does not have its project")
	}
	v.mu.Lock() // of the files of different projects several are read at once
	defer v.mu.Unlock()
	var intent int64
	if l.Category == bagfile.Predictions {
		i, ok := slices.BinarySearchFunc(v.predictions, l, func(q prediction, l bagfile.Deleted) int {
			if n := compareIDs(q.project, project); n != 0 {
				return n
			}
			return compareIDs(q.id, l.ID)
		})
		switch {
		case !ok:
			return fmt.Errorf("prediction %s is in no call of the ledger", l.ID)
		case v.predictions[i].seen:
			return fmt.Errorf("prediction %s is there twice", l.ID)
		}
		v.predictions[i].seen, intent = true, v.predictions[i].intent
	} else {
		of := l.Category
		if of == bagfile.Performance {
			of = bagfile.Iterations
		}
		f := v.planned.fate(of, project, l.ID)
		if f == nil {
			return fmt.Errorf("%s %s was not planned", l.Category, l.ID)
		}
		seen := &f.seen
		if l.Category == bagfile.Performance {
			seen = &f.also
		}
		if *seen {
			return fmt.Errorf("%s %s is there twice", l.Category, l.ID)
		}
		*seen, intent = true, f.intent
	}
	return v.covered(p, l, intent)
}

// covered returns an error for a thing that is said to be deleted, and that no call of the command
// can have removed before it was seen to be absent.
func (v *verifier) covered(p *plannedProject, l bagfile.Deleted, intent int64) error {
	switch {
	case l.How == bagfile.AlreadyGone:
		return nil
	case l.How == bagfile.DeleteProject:
		if intent = 0; p.whole {
			intent = v.planned.fate(bagfile.Projects, p.id, p.id).intent
		}
	case l.How == bagfile.DeleteImages && intent == 0:
		intent = p.intents
	}
	switch {
	case intent == 0:
		return fmt.Errorf("%s %s was deleted by what it says, and the ledger has no call that can have done so", l.Category, l.ID)
	case l.VerifiedAbsent.Before(time.Unix(0, intent).Truncate(time.Millisecond)):
		return fmt.Errorf("%s %s was seen to be absent at %s, before it was deleted", l.Category, l.ID, stamp(l.VerifiedAbsent))
	}
	return nil
}

// note counts a line in the checks that verification.json must have.
func (d *deletedProject) note(project uuid.UUID, l bagfile.Deleted) {
	c := d.checks[l.Category]
	if c == nil {
		c = &bagfile.Check{Project: project.String(), Category: l.Category, First: l.VerifiedAbsent}
		d.checks[l.Category] = c
	}
	c.Items++
	if l.How == bagfile.AlreadyGone {
		c.AlreadyGone++
	}
	c.Last = l.VerifiedAbsent
}
