package deleteplan

import (
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

func TestExceeds(t *testing.T) {
	named, other, item, stranger := uuid.New(), uuid.New(), uuid.New(), uuid.New()
	one, foreign := []uuid.UUID{item}, []uuid.UUID{stranger}
	projects := []uuid.UUID{named}
	whole := bagfile.PlanProject{ID: named, Project: true, Images: one, Iterations: one, Tags: one}
	for _, c := range []struct {
		name    string
		data    contract.Data
		plan    bagfile.PlanProject
		exceeds bool
	}{
		{"a whole project", contract.Data{ProjectIDs: projects, Categories: contract.Categories()}, whole, false},
		{"another project", contract.Data{ProjectIDs: projects, Categories: contract.Categories()}, bagfile.PlanProject{ID: other}, true},
		{"every project", contract.Data{AllProjects: true, Categories: contract.Categories()}, bagfile.PlanProject{ID: other, Project: true}, false},
		{"the project is not named as a category", contract.Data{ProjectIDs: projects, Categories: []contract.Category{contract.CategoryImages}}, whole, true},
		{"images alone", contract.Data{ProjectIDs: projects, Categories: []contract.Category{contract.CategoryImages}}, bagfile.PlanProject{ID: named, Images: one}, false},
		{"tags with images alone", contract.Data{ProjectIDs: projects, Categories: []contract.Category{contract.CategoryImages}}, bagfile.PlanProject{ID: named, Tags: one}, true},
		{"named images", contract.Data{ProjectIDs: projects, ImageIDs: one, Categories: []contract.Category{contract.CategoryImages}}, bagfile.PlanProject{ID: named, Images: one}, false},
		{"other images", contract.Data{ProjectIDs: projects, ImageIDs: one, Categories: []contract.Category{contract.CategoryImages}}, bagfile.PlanProject{ID: named, Images: foreign}, true},
		{"an iteration with named images", contract.Data{ProjectIDs: projects, ImageIDs: one, Categories: []contract.Category{contract.CategoryImages}}, bagfile.PlanProject{ID: named, Iterations: one}, true},
		{"the project with named images", contract.Data{ProjectIDs: projects, ImageIDs: one, Categories: []contract.Category{contract.CategoryImages}}, bagfile.PlanProject{ID: named, Project: true}, true},
		{"named iterations", contract.Data{ProjectIDs: projects, IterationIDs: one, Categories: []contract.Category{contract.CategoryIterations}}, bagfile.PlanProject{ID: named, Iterations: one}, false},
		{"other iterations", contract.Data{ProjectIDs: projects, IterationIDs: one, Categories: []contract.Category{contract.CategoryIterations}}, bagfile.PlanProject{ID: named, Iterations: foreign}, true},
		{"named tags", contract.Data{ProjectIDs: projects, TagIDs: one, Categories: []contract.Category{contract.CategoryTags}}, bagfile.PlanProject{ID: named, Tags: one}, false},
		{"other tags", contract.Data{ProjectIDs: projects, TagIDs: one, Categories: []contract.Category{contract.CategoryTags}}, bagfile.PlanProject{ID: named, Tags: foreign}, true},
		{"images with named tags alone", contract.Data{ProjectIDs: projects, TagIDs: one, Categories: []contract.Category{contract.CategoryTags}}, bagfile.PlanProject{ID: named, Images: one}, true},
		{"images of a person", contract.Data{AllProjects: true, ImageMetadata: []map[string]string{{"a": "b"}}, Categories: []contract.Category{contract.CategoryImages}}, bagfile.PlanProject{ID: other, Images: one}, false},
		{"the project of a person", contract.Data{AllProjects: true, ImageMetadata: []map[string]string{{"a": "b"}}, Categories: []contract.Category{contract.CategoryImages}}, whole, true},
	} {
		if got := Exceeds(c.data, c.plan); (got != "") != c.exceeds {
			t.Errorf("%s: exceeds the command by %q", c.name, got)
		}
	}
}
