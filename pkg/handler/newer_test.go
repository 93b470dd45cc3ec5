package handler_test

import (
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// TestNewerVersionStored has a replica of a newer version store something for a command, and die.
// The command is handed back, without blame, until one of that version takes it: it does not fail.
func TestNewerVersionStored(t *testing.T) {
	for name, c := range map[string]struct {
		action contract.Action
		object string
		data   func(*cvtest.Project) string
	}{
		"the cut of a delete": {contract.ActionDelete, ".work/delete-cut.json", func(p *cvtest.Project) string {
			return `{"project_ids":` + idList(p.ID) + `,"image_ids":` + idList(p.Images[0]) + `,"categories":["images"]}`
		}},
		"the cut of an export": {contract.ActionExport, ".work/cut.json", func(p *cvtest.Project) string { return `{"project_ids":` + idList(p.ID) + `}` }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			p := w.api.AddProject(cvtest.ProjectSpec{Name: "Faces", Images: 3, ImageBytes: cvtest.Tiny})
			r := w.start(t, replicaOptions{configure: func(c *handler.Config) {
				noWait(c)
				c.MaxAttempts = 1
			}})
			w.planted(t, r, c.object, func() {
				key := sink.Key("cmd-1/" + c.object)
				if _, err := w.sealed(t, "cmd-1").Put(t.Context(), key, sink.Bytes([]byte(`{"v":99}`), "application/json")); err != nil {
					t.Error(err)
				}
			})
			w.publish(t, c.action, "cmd-1", c.data(p))
			w.await(t, "cmd-1", "begun", func(j contract.Job) bool { return j.Attempt == 1 })
			job := w.await(t, "cmd-1", "handed back", func(j contract.Job) bool { return j.Attempt == 0 || j.State.Terminal() })
			if job.State.Terminal() {
				t.Errorf("the job is %s: %v", job.State, job.Error)
			}
		})
	}
}
