package deletion

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/deleteplan"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// TestResiduals says what of a selection remains, for each kind of delete.
func TestResiduals(t *testing.T) {
	const (
		searched = "stored predictions were not searched"
		learned  = "were trained on images of the selection stay"
		unknown  = "were not found when the plan was made"
	)
	one := []uuid.UUID{id(1)}
	images, iterations, tags := contract.CategoryImages, contract.CategoryIterations, contract.CategoryTags
	for name, c := range map[string]struct {
		data      contract.Data
		facts     deleteplan.Facts
		plan      bagfile.PlanProject
		lost      bool // the plan is
		says, not []string
	}{
		"images by metadata": {
			data: contract.Data{AllProjects: true, ImageMetadata: []map[string]string{{"subject": "a"}}, Categories: []contract.Category{images}},
			plan: bagfile.PlanProject{Images: one}, facts: deleteplan.Facts{Images: 1, Learned: []uuid.UUID{id(7)}},
			says: []string{searched, "iterations of project " + id(1).String() + " that " + learned + ", with what they learned of them: " + id(7).String()}, not: []string{unknown},
		},
		"images by id, of which two were never seen": {
			data: contract.Data{ProjectIDs: one, ImageIDs: []uuid.UUID{id(3), id(2), id(4)}, Categories: []contract.Category{images}},
			plan: bagfile.PlanProject{Images: []uuid.UUID{id(3)}}, facts: deleteplan.Facts{Images: 1},
			says: []string{searched, "2 images that the command names " + unknown + ": " + id(2).String() + ", " + id(4).String() + ";"}, not: []string{learned},
		},
		"an iteration that was never seen": {
			data: contract.Data{ProjectIDs: one, IterationIDs: one, Categories: []contract.Category{iterations}},
			says: []string{searched, "1 iterations that the command names " + unknown}, not: []string{learned},
		},
		"images of a tag, which stays": {
			data: contract.Data{ProjectIDs: one, TagIDs: one, Categories: []contract.Category{images}}, says: []string{searched}, not: []string{unknown},
		},
		"a tag that was never seen": {
			data: contract.Data{ProjectIDs: one, TagIDs: one, Categories: []contract.Category{tags}}, says: []string{"1 tags that the command names " + unknown}, not: []string{searched},
		},
		"a plan that is lost": {
			data: contract.Data{ProjectIDs: one, ImageIDs: one, Categories: []contract.Category{images}}, lost: true, says: []string{searched}, not: []string{unknown},
		},
		"a whole project": {
			data: contract.Data{ProjectIDs: one, Categories: contract.Categories()}, plan: bagfile.PlanProject{Project: true, Images: one}, facts: deleteplan.Facts{Images: 1},
			says: []string{"copies in storage"}, not: []string{searched, learned, unknown},
		},
		"all images of a project": {
			data: contract.Data{ProjectIDs: one, Categories: []contract.Category{images, contract.CategoryPredictions}}, not: []string{searched},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.plan.ID, c.facts.ID = id(1), id(1)
			d := &Deleter{Command: contract.Command{Data: c.data}, begun: beginning{Facts: []deleteplan.Facts{c.facts}}}
			if !c.lost {
				spool := sink.NewSpool(t.TempDir())
				t.Cleanup(func() { _ = spool.Close() })
				out, err := deleteplan.NewWriter(spool, deleteplan.NewHead(contract.Scope{}, "vision.test"))
				if err == nil {
					err = out.Add(c.plan)
				}
				if err == nil {
					err = out.Close()
				}
				if err != nil {
					t.Fatal(err)
				}
				d.plan = spool
			}
			residuals, err := d.residuals()
			if err != nil {
				t.Fatal(err)
			}
			all := ""
			for _, r := range residuals {
				all += string(r.Category) + ": " + r.Reason + "\n"
			}
			for _, s := range c.says {
				if !strings.Contains(all, s) {
					t.Errorf("they do not say %q:\n%s", s, all)
				}
			}
			for _, s := range c.not {
				if strings.Contains(all, s) {
					t.Errorf("they say %q:\n%s", s, all)
				}
			}
		})
	}
}
