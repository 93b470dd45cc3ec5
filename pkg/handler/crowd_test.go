package handler_test

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// oneJob is a queue that knows one job, which has ended.
type oneJob struct {
	handler.CollectorQueue

	job contract.Job
}

func (q oneJob) Job(context.Context, string) (contract.Job, uint64, error) { return q.job, 1, nil }

func (q oneJob) Jobs(context.Context) iter.Seq2[contract.Job, error] {
	return func(yield func(contract.Job, error) bool) { yield(q.job, nil) }
}

// TestCollectACrowd: however many objects an ended command left, gc counts and removes them, and
// holds no list of them.
func TestCollectACrowd(t *testing.T) {
	long := strings.Repeat("x", 950)
	crowd := sinktest.NewCrowd(t, 8000, func(i int) string { return fmt.Sprintf("exp-1/.work/units/%08d%s", i, long) })
	store := crowd.Store(t)
	c := handler.Collector{Store: store, Work: store, Queue: oneJob{job: contract.Job{
		ID: "exp-1", Action: contract.ActionExport, State: contract.StateCompleted,
	}}}
	for l, err := range c.Find(t.Context(), false) {
		if err != nil || l.Objects != crowd.Objects || l.Bytes != int64(crowd.Objects) {
			t.Fatalf("found %+v: %v", l, err)
		}
		if err := c.Remove(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	if crowd.Left() != 0 {
		t.Errorf("%d objects are left", crowd.Left())
	}
	crowd.Check(t, 0)
}
