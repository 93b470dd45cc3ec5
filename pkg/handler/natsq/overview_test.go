package natsq

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

// A reading gives each job that changed since the one before, once, and begins at a time; a bucket
// that was deleted and created again is read from its beginning.
func TestChangedJobs(t *testing.T) {
	t.Parallel()
	nc := natstest.New(t).Dial(t)
	q, err := Open(t.Context(), nc, Options{Provision: true, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	put := func(id string, state contract.State, rev uint64) uint64 {
		t.Helper()
		rev, err := q.PutJob(t.Context(), contract.Job{ID: id, Action: contract.ActionExport, State: state}, rev)
		if err != nil {
			t.Fatal(err)
		}
		return rev
	}
	cursor := JobCursor{Since: time.Now().Add(-time.Hour)}
	read := func(want ...string) {
		t.Helper()
		var got []string
		for more := true; more; {
			changed, next, again, err := q.ChangedJobs(t.Context(), cursor)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range changed {
				got = append(got, c.Key+" "+string(c.Job.State))
			}
			cursor, more = next, again
		}
		if !slices.Equal(got, want) {
			t.Errorf("read %q, want %q", got, want)
		}
	}
	read()
	rev := put("one", contract.StateAccepted, 0)
	put("two", contract.StateRunning, 0)
	read("one accepted", "two running")
	read()
	put("one", contract.StateCompleted, rev)
	read("one completed")
	if err := q.Forget(t.Context(), "two"); err != nil {
		t.Fatal(err)
	}
	read()

	cursor = JobCursor{Since: time.Now().Add(-time.Hour)}
	want := []string{"one completed"}
	for n := range 501 { // more than one reading gives
		id := fmt.Sprint("many-", n)
		put(id, contract.StateRunning, 0)
		want = append(want, id+" running")
	}
	read(want...)

	cursor = JobCursor{Since: time.Now().Add(time.Hour)}
	read()
	put("three", contract.StateRunning, 0)
	read("three running")

	if _, err := nc.Request("$JS.API.STREAM.DELETE.KV_CV_JOBS", nil, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := q.Provision(t.Context()); err != nil {
		t.Fatal(err)
	}
	cursor.Since = time.Now().Add(-time.Hour)
	put("four", contract.StateRunning, 0)
	read("four running")
	if b, err := q.Backlog(t.Context()); err != nil || b != (Backlog{Oldest: b.Oldest}) {
		t.Errorf("%+v, %v", b, err)
	}
}
