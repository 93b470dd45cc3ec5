package main

import (
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// labelRate is the share of calls before which each labeller makes a move.
const labelRate = 0.01

// labelled is a project in which a labeller works while it is exported or deleted.
type labelled struct {
	project *cvtest.Project
	worker  *cvtest.Labeller
	command string // id
}

type labellers []*labelled

func (l labellers) moves() (n int) {
	for _, one := range l {
		n += one.worker.Moves()
	}
	return n
}

// label has every labeller move now and then.
func (s *soak) label(string, int) {
	s.labelling.Lock()
	all := s.labels
	s.labelling.Unlock()
	for _, l := range all {
		l.worker.Chance(labelRate)
	}
}

// newLabelled makes a project beside a labeller: one half of its images is of one person, and one
// half has a tag.
func (s *soak) newLabelled() *labelled {
	p := s.vision.AddProject(cvtest.ProjectSpec{Name: "Labelled", Tags: []string{"box"}})
	for i := range 12 {
		spec := cvtest.ImageSpec{Metadata: map[string]string{"subject": []string{"one", "other"}[i%2]}, ImageBytes: cvtest.Tiny}
		if i%4 < 2 {
			spec.Tags = p.Tags[:1]
		}
		p.Images = append(p.Images, s.vision.AddImage(p.ID, spec))
	}
	l := &labelled{project: p, worker: s.vision.Labeller(p.ID, *soakSeed+uint64(len(s.labels)))}
	s.labelling.Lock()
	s.labels = append(s.labels, l)
	s.labelling.Unlock()
	return l
}

func (s *soak) exportLabelled() {
	l := s.newLabelled()
	l.command = s.want(contract.ActionExport, jsonOf(fields{"project_ids": []uuid.UUID{l.project.ID}}), complete, exceptions).id
}

func (s *soak) deleteLabelled() {
	l := s.newLabelled()
	l.command = s.want(contract.ActionDelete, jsonOf(fields{"project_ids": []uuid.UUID{l.project.ID}, "image_metadata": fields{"subject": "one"}}),
		complete, failedAs(contract.CodePlanChanged), refusedAs(contract.CodePlanChanged)).id
}

// checkLabelled: what was there throughout is in the export, or gone after the delete, unless the
// outcome says otherwise; nothing else is gone.
func (s *soak) checkLabelled() {
	s.t.Helper()
	store := sink.NewStore(s.store.Client(), sink.StoreOptions{Bucket: s.config.Bucket})
	now := s.vision.Snapshot()
	for _, l := range s.labels {
		a := s.asked[l.command]
		var lines string
		if a.action == contract.ActionExport && a.event.Outcome == contract.OutcomeComplete {
			b, err := store.ReadAll(s.ctx, sink.Key(l.command+"/export/data/projects/"+l.project.ID.String()+"/images.jsonl"), 1<<30)
			if err != nil {
				s.t.Fatal(err)
			}
			lines = string(b)
		}
		left := truthOf(now, l.project.ID).Workspace
		for i, id := range l.project.Images {
			there := slices.Contains(left, id.String())
			switch {
			case l.worker.Removed(id):
			case a.action == contract.ActionExport && lines != "" && !strings.Contains(lines, id.String()):
				s.t.Errorf("%s is complete without image %s, which was there all the time", l.command, id)
			case a.action == contract.ActionDelete && i%2 == 0 && there && a.event.Outcome == contract.OutcomeComplete:
				s.t.Errorf("%s is complete, and image %s is there", l.command, id)
			case !there && (a.action == contract.ActionExport || i%2 != 0):
				s.t.Errorf("image %s is gone beside %s, which did not select it", id, l.command)
			}
		}
	}
}
