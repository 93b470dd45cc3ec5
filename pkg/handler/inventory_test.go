package handler_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// TestInventoryExplainsItsNumbers exports a project whose images are in three scopes: the inventory
// says how many each of them listed, how many different ones these are, and which models the
// service lists and does not offer. Job, event and bag-info.txt have one figure of bytes.
func TestInventoryExplainsItsNumbers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	p := w.api.AddProject(cvtest.ProjectSpec{
		Name: "Shelves", Tags: []string{"box"}, Images: 6, ImageBytes: cvtest.Tiny,
		Iterations: []cvtest.IterationSpec{{DropFromWorkspace: 2, Exports: []cvtest.ExportSpec{
			{Platform: "CoreML"}, {Platform: "ONNX", Flavor: "ONNX12", Status: cvtest.StatusFailed}, {Platform: "VAIDK", Status: "Exporting"},
			{Platform: "DockerFile", Status: "Paused"}, // a word that is not known
		}}, {}},
	})
	w.start(t, replicaOptions{})
	files, e, inventory := w.exceptions(t, `{"all_projects":true}`, 2) // the models that may still be made
	images, models := inventory.Projects[0].Categories["images"], inventory.Projects[0].Categories["exports"]
	scopes := []bagfile.InventoryScope{{ID: bagfile.Workspace, Listed: 4}, {ID: p.Iterations[0].String(), Listed: 6}, {ID: p.Iterations[1].String(), Listed: 4}}
	sortScopes := func(s []bagfile.InventoryScope) []bagfile.InventoryScope {
		slices.SortFunc(s, func(a, b bagfile.InventoryScope) int { return slices.Compare([]byte(a.ID), []byte(b.ID)) })
		return s
	}
	if images.Listed != 14 || images.Distinct == nil || *images.Distinct != 6 || images.Exported != 6 || !slices.Equal(sortScopes(images.Scopes), sortScopes(scopes)) {
		t.Errorf("images: %+v, distinct %v", images, images.Distinct)
	}
	job, _, err := w.queue.Job(t.Context(), "disturbed")
	if err != nil {
		t.Fatal(err)
	}
	summary := int64(len(files["data/export.json"]))
	payload := int64(0)
	for name, content := range files {
		if strings.HasPrefix(name, "data/") {
			payload += int64(len(content))
		}
	}
	if job.Progress.Bytes != e.Counts.Bytes || payload != e.Counts.Bytes+summary || !strings.Contains(string(files["bag-info.txt"]), fmt.Sprintf("Payload-Oxum: %d.", e.Counts.Bytes+summary)) {
		t.Errorf("the job has %d bytes, the event %d; %d are below data/, of which the summary has %d:\n%s", job.Progress.Bytes, e.Counts.Bytes, payload, summary, files["bag-info.txt"])
	}
	it := p.Iterations[0].String()
	unfinished := []bagfile.Unfinished{{ID: it + "/ONNX-ONNX12", Status: cvtest.StatusFailed}, {ID: it + "/VAIDK", Status: "Exporting"}, {ID: it + "/DockerFile", Status: "Paused"}}
	if models.Listed != 4 || models.Exported != 1 || !slices.Equal(models.Unfinished, unfinished) {
		t.Errorf("models: %+v", models)
	}
}
