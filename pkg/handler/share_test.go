package handler_test

import (
	"context"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// TestOneResourceCannotTakeAllWorkers: the downloads of one resource never end, and there are more
// of its units, and of its pictures, than there are workers and downloads. The export of another
// resource is complete all the same.
func TestOneResourceCannotTakeAllWorkers(t *testing.T) {
	t.Parallel()
	const workers, downloads = 4, 8
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	slow := w.api.AddProject(cvtest.ProjectSpec{Name: "Slow", Untagged: 2*workers*(cv.MaxPage-1) + 1, ImageBytes: cvtest.Tiny})
	other := cvtest.New(cvtest.Options{Seed: 4}).Start()
	t.Cleanup(other.Close)
	quick := smallProject(other)
	hangs := w.hangBlobs()
	w.start(t, replicaOptions{commands: 4, units: workers, configure: func(c *handler.Config) {
		client, err := cv.New(other.URL(), cv.TrainingKey(other.Key()), cv.Options{
			MaxRPS: 10000, BlobHosts: []string{"127.0.0.1"}, Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.CloseIdleConnections)
		c.Resources["other"] = client
		c.Units, c.Downloads = workers, downloads
	}})
	w.publish(t, contract.ActionExport, "slow", `{"project_ids":`+idList(slow.ID)+`}`)
	hangs.wait(t, "a download")
	second := w.publish(t, contract.ActionExport, "quick", `{"resource":"other","project_ids":`+idList(quick.ID)+`}`)
	if e := w.wait(t, second); e.Outcome != contract.OutcomeComplete {
		t.Errorf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
	if job := w.await(t, "slow", "at work", func(contract.Job) bool { return true }); job.State.Terminal() {
		t.Errorf("the slow one ended %s: %v", job.State, job.Error)
	}
}
