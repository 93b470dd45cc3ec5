package handler_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// TestOneResourceCannotTakeAll: the downloads of one resource never end, and there are more of its
// exports, units and pictures than there are slots for. The export of another resource is complete
// all the same.
func TestOneResourceCannotTakeAll(t *testing.T) {
	t.Parallel()
	const commands, workers, downloads = 4, 4, 8
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	var slow []*cvtest.Project
	for range 2 * commands {
		slow = append(slow, w.api.AddProject(cvtest.ProjectSpec{Name: "Slow", Untagged: 2*workers*(cv.MaxPage-1) + 1, ImageBytes: cvtest.Tiny}))
	}
	other := cvtest.New(cvtest.Options{Seed: 4}).Start()
	t.Cleanup(other.Close)
	quick := smallProject(other)
	hangs := w.hangBlobs()
	w.start(t, replicaOptions{commands: commands, units: workers, configure: func(c *handler.Config) {
		client, err := cv.New(other.URL(), cv.TrainingKey(other.Key()), cv.Options{
			MaxRPS: 10000, BlobHosts: []string{"127.0.0.1"}, Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.CloseIdleConnections)
		c.Resources["other"] = client
		c.Commands, c.Units, c.Downloads = commands, workers, downloads
	}})
	for i, p := range slow {
		w.publish(t, contract.ActionExport, fmt.Sprintf("slow-%d", i), `{"project_ids":`+idList(p.ID)+`}`)
	}
	hangs.wait(t, "a download")
	second := w.publish(t, contract.ActionExport, "quick", `{"resource":"other","project_ids":`+idList(quick.ID)+`}`)
	if e := w.wait(t, second); e.Outcome != contract.OutcomeComplete {
		t.Errorf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
	for i := range slow {
		job := w.await(t, fmt.Sprintf("slow-%d", i), "known", func(contract.Job) bool { return true })
		if job.State.Terminal() || job.Attempt > 1 {
			t.Errorf("a slow one is %s in attempt %d: %v", job.State, job.Attempt, job.Error)
		}
	}
}
