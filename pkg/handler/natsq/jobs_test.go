package natsq

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

func TestJobCompareAndSet(t *testing.T) {
	w := newWorld(t)
	_, _, err := w.q.Job(w.ctx, "a")
	is(t, err, contract.ErrNoJob)
	r1 := must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: "a", Phase: "one"}, 0))
	_, err = w.q.PutJob(w.ctx, contract.Job{ID: "a", Phase: "again"}, 0)
	is(t, err, contract.ErrConflict)
	r2 := must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: "a", Phase: "two"}, r1))
	_, err = w.q.PutJob(w.ctx, contract.Job{ID: "a", Phase: "stale"}, r1)
	is(t, err, contract.ErrConflict)
	j, rev, err := w.q.Job(w.ctx, "a")
	if err != nil || rev != r2 || j.Phase != "two" {
		t.Fatalf("job is %q at %d, %v; want two at %d", j.Phase, rev, err, r2)
	}
	ok(t, w.q.removeMessages(w.ctx, w.q.names.Jobs, w.q.names.JobSubject("a")))
	_, err = w.q.PutJob(w.ctx, contract.Job{ID: "a"}, r2)
	is(t, err, contract.ErrConflict)
	must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: "a"}, 0))
	for _, id := range []string{"", "a.b", "*", ">", "a b", strings.Repeat("x", 129)} {
		if _, _, err := w.q.Job(w.ctx, id); err == nil {
			t.Errorf("id %q was accepted", id)
		}
	}
}

func TestJobCreatedByOneOfMany(t *testing.T) {
	w := newWorld(t)
	const replicas, rounds = 4, 20
	var queues []*Queue
	for range replicas {
		queues = append(queues, w.open(t))
	}
	for round := range rounds {
		id := fmt.Sprintf("job-%d", round)
		won := make([]bool, replicas)
		var wg sync.WaitGroup
		for i, q := range queues {
			wg.Go(func() {
				_, err := q.PutJob(w.ctx, contract.Job{ID: id}, 0) // the same bytes from every replica
				won[i] = err == nil
				if err != nil && !errors.Is(err, contract.ErrConflict) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := count(won); n != 1 {
			t.Fatalf("round %d has %d winners", round, n)
		}
	}
}

// A cancel that waits for its command is no job, but what a job replaces.
func TestCancelWithoutAJob(t *testing.T) {
	w := newWorld(t)
	mark := contract.Job{ID: "a", Cancel: &contract.Cancel{ID: "c", Time: time.Unix(1700000000, 0)}}
	rev := must[uint64](t)(w.q.PutJob(w.ctx, mark, 0))
	j, got, err := w.q.Job(w.ctx, "a")
	is(t, err, contract.ErrNoJob)
	if got != rev || j.Cancel == nil || j.Cancel.ID != "c" || !j.Cancel.Time.Equal(mark.Cancel.Time) {
		t.Errorf("revision %d of %d, job %+v", got, rev, j)
	}
	for j, err := range w.q.Jobs(w.ctx) {
		t.Errorf("listed: %+v, %v", j, err)
	}
	if _, err := w.q.PutJob(w.ctx, contract.Job{ID: "a", State: contract.StateAccepted}, 0); !errors.Is(err, contract.ErrConflict) {
		t.Errorf("a job was created although there is a cancel: %v", err)
	}
	must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: "a", State: contract.StateAccepted}, rev))
}

func TestJobs(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"c", "a", "b", "gone"} {
		rev := must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: id, Phase: "old"}, 0))
		must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: id, Phase: "new"}, rev))
	}
	kv := must[jetstream.KeyValue](t)(w.js.KeyValue(w.ctx, "CV_JOBS"))
	ok(t, kv.Delete(w.ctx, "gone"))
	must[uint64](t)(kv.PutString(w.ctx, "b-newer", `{"v":99}`))
	must[uint64](t)(kv.PutString(w.ctx, "b-broken", `{`))
	var got []string
	for j, err := range w.q.Jobs(w.ctx) {
		switch {
		case errors.Is(err, contract.ErrNewer):
			got = append(got, j.ID+" newer")
		case err != nil:
			got = append(got, j.ID+" broken")
		default:
			got = append(got, j.ID+" "+j.Phase)
		}
	}
	if want := []string{"a new", "b new", "b-broken broken", "b-newer newer", "c new"}; !slices.Equal(got, want) {
		t.Fatalf("jobs are %q, want %q", got, want)
	}
	for range w.q.Jobs(w.ctx) {
		break
	}
}
