package natsq

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/expiry"
)

// traces are the ids that have a job, and those that have a ledger.
func (w *world) traces(t *testing.T) (jobs, ledgers []string) {
	t.Helper()
	return must[[]string](t)(w.q.bucketKeys(w.ctx, w.q.names.Jobs)), must[[]string](t)(w.q.api.SubjectSuffixes(w.ctx, w.q.names.Ledgers, w.q.names.LedgerSubject("")))
}

// until is a time from now.
func until(d time.Duration) *time.Time {
	at := time.Now().Add(d)
	return &at
}

// TestExpireTraces removes jobs and ledgers whose command ended, and no others. That the time since
// the end is over is said by a time of 0: an hour is not over.
func TestExpireTraces(t *testing.T) {
	w := newWorld(t)
	w.q.options.Provision = false // nothing makes up for what it removes
	queued := must[uint64](t)(w.q.PublishCommand(w.ctx, command("ended-but-queued", `{"all_projects":true}`)))
	must[uint64](t)(w.q.PublishCommand(w.ctx, command("lone-but-queued", `{"all_projects":true}`)))
	stream := contract.Text(must[string](t)(w.q.CommandStream(w.ctx)))
	for id, j := range map[string]contract.Job{
		"accepted": {State: contract.StateAccepted}, "running": {State: contract.StateRunning},
		"completed": {State: contract.StateCompleted}, "failed": {State: contract.StateFailed}, "refused": {State: contract.StateRefused},
		"ended-but-queued": {State: contract.StateCompleted, Command: contract.CommandRef{Seq: queued, Stream: stream}},
		"newer":            {State: contract.StateCompleted, V: 99},
		"signed":           {State: contract.StateRefused, Command: contract.CommandRef{SignedUntil: until(time.Hour)}},
		"signed-before":    {State: contract.StateRefused, Command: contract.CommandRef{SignedUntil: until(-time.Hour)}},
		"cancel-only":      {Cancel: &contract.Cancel{ID: "c"}},
	} {
		j.ID = id
		must[uint64](t)(w.q.PutJob(w.ctx, j, 0))
		must[uint64](t)(w.q.AppendLedger(w.ctx, id, []byte("1\n"), 0))
	}
	for _, id := range []string{"lone", "lone-but-queued"} { // their jobs were lost
		must[uint64](t)(w.q.AppendLedger(w.ctx, id, []byte("1\n"), 0))
	}
	ok(t, must[jetstream.KeyValue](t)(w.js.KeyValue(w.ctx, "CV_JOBS")).Delete(w.ctx, "deleted")) // as the nats command line does
	all := []string{"accepted", "cancel-only", "completed", "deleted", "ended-but-queued", "failed", "newer", "refused", "running", "signed", "signed-before"}
	for _, c := range []struct {
		keep          time.Duration
		removed       int
		jobs, ledgers []string
	}{
		{
			time.Hour, 0, all,
			[]string{"accepted", "cancel-only", "completed", "ended-but-queued", "failed", "lone", "lone-but-queued", "newer", "refused", "running", "signed", "signed-before"},
		},
		{
			0, 6, []string{"accepted", "cancel-only", "ended-but-queued", "newer", "running", "signed"},
			[]string{"accepted", "cancel-only", "ended-but-queued", "lone-but-queued", "newer", "running", "signed"},
		},
		{
			0, 0, []string{"accepted", "cancel-only", "ended-but-queued", "newer", "running", "signed"},
			[]string{"accepted", "cancel-only", "ended-but-queued", "lone-but-queued", "newer", "running", "signed"},
		},
	} {
		if n := must[int](t)(w.q.ExpireTraces(w.ctx, c.keep)); n != c.removed {
			t.Errorf("kept for %s: %d removed, not %d", c.keep, n, c.removed)
		}
		if jobs, ledgers := w.traces(t); !slices.Equal(jobs, c.jobs) || !slices.Equal(ledgers, c.ledgers) {
			t.Errorf("kept for %s: jobs %v, ledgers %v", c.keep, jobs, ledgers)
		}
	}
	must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: "completed"}, 0)) // the id is free again
}

// meanwhile is a command stream that something happens beside, at the first reading.
type meanwhile struct {
	*Queue
	happens func()
}

func (m *meanwhile) CommandIn(ctx context.Context, stream string, seq uint64) (contract.Message, error) {
	if m.happens != nil {
		m.happens()
		m.happens = nil
	}
	return m.Queue.CommandIn(ctx, stream, seq)
}

// A command is forgotten and published again while its old traces are about to be removed: the new
// ones stay.
func TestExpireTracesSparesTheNext(t *testing.T) {
	w := newWorld(t)
	must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: "x", State: contract.StateCompleted}, 0))
	must[uint64](t)(w.q.AppendLedger(w.ctx, "x", []byte("1\n"), 0))
	again := &meanwhile{w.q, func() {
		ok(t, w.q.Forget(w.ctx, "x"))
		must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: "x", State: contract.StateRunning}, 0))
		must[uint64](t)(w.q.AppendLedger(w.ctx, "x", []byte("1\n"), 0))
	}}
	traces := expiry.Traces{API: w.q.api, Commands: again, Jobs: w.q.names.Jobs, Ledgers: w.q.names.Ledgers, JobPrefix: w.q.names.JobSubject(""), LedgerPrefix: w.q.names.LedgerSubject("")}
	if n := must[int](t)(traces.Expire(w.ctx, 0)); n != 0 || again.happens != nil {
		t.Errorf("%d removed", n)
	}
	if jobs, ledgers := w.traces(t); len(jobs) != 1 || len(ledgers) != 1 {
		t.Errorf("jobs %v, ledgers %v", jobs, ledgers)
	}
}

// The ledger of a command that is published again between the last look at its job and the removal
// stays: a removal ends at what was seen.
func TestExpireTracesRemovesWhatItSaw(t *testing.T) {
	w := newWorld(t)
	rev := must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: "x", State: contract.StateCompleted}, 0))
	must[uint64](t)(w.q.AppendLedger(w.ctx, "x", []byte("1\n"), 0))
	injectFaults(w.q, func(m *nats.Msg, nth int) fault {
		if m.Subject == "$JS.API.STREAM.PURGE.CV_LEDGER" && nth == 1 {
			other := w.open(t)
			must[uint64](t)(other.PutJob(w.ctx, contract.Job{ID: "x", State: contract.StateRunning}, rev))
			must[uint64](t)(other.AppendLedger(w.ctx, "x", []byte("2\n"), 1))
		}
		return none
	})
	must[int](t)(w.q.ExpireTraces(w.ctx, 0))
	if jobs, ledgers := w.traces(t); len(jobs) != 1 || len(ledgers) != 1 {
		t.Errorf("jobs %v, ledgers %v", jobs, ledgers)
	}
}
