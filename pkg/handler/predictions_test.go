package handler_test

import (
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
)

// TestPredictionsWhoseTokenExpires exports more predictions than a page holds, while the service
// refuses a token once and forgets it, links included: all of them are in the bag. A query that it
// refuses to go on with every time is an exception, with the operation and the service's name for
// the answer.
func TestPredictionsWhoseTokenExpires(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		calls      []int // of the query that are refused
		exceptions int64
	}{
		{"once", []int{1}, 0},
		{"every time", []int{1, 3, 5, 7}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
			p := w.api.AddProject(cvtest.ProjectSpec{Images: 1, Iterations: []cvtest.IterationSpec{{}}, Predictions: survey.PredictionPage + 2, ImageBytes: cvtest.Tiny})
			for _, call := range c.calls {
				w.api.Fault(cvtest.Fault{Operation: "QueryPredictions", Call: call, Status: 400, Code: "BadRequestPredictionInvalidQueryParameters"})
			}
			w.api.Fault(cvtest.Fault{Operation: cvtest.OperationBlob, Path: "predictionimages", Times: 1, Status: 403, Code: "AuthenticationFailed"})
			w.start(t, replicaOptions{})
			files, e, inventory := w.exceptions(t, `{"project_ids":`+idList(p.ID)+`,"categories":["predictions"]}`, c.exceptions)
			failed := inventory.Projects[0].Categories["predictions"].Failed
			if len(failed) != int(c.exceptions) {
				t.Fatalf("the inventory lists %v", failed)
			}
			for _, f := range failed {
				if f.ID != "workspace" || f.Operation != "QueryPredictions" || f.Code != "unstable" || f.RequestID == "" {
					t.Errorf("the inventory lists %+v", f)
				}
			}
			w.checkTruth(t, files, e, w.truthOf(t, w.api.Snapshot(), selection{categories: []contract.Category{contract.CategoryPredictions}}))
		})
	}
}
