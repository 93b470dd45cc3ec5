package natsq

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// The buckets are what nats.go's key-value store expects: `nats kv` works on them.
func TestBucketsAreKeyValueStores(t *testing.T) {
	w := newWorld(t)
	must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: "x", Phase: "ours"}, 0))
	for _, bucket := range []string{"CV_JOBS", "CV_HOLDS", "CV_SECRETS"} {
		kv := must[jetstream.KeyValue](t)(w.js.KeyValue(w.ctx, bucket))
		st := must[jetstream.KeyValueStatus](t)(kv.Status(w.ctx))
		if st.History() != 1 || st.BackingStore() != "JetStream" {
			t.Fatalf("%s has history %d", bucket, st.History())
		}
		rev := must[uint64](t)(kv.Create(w.ctx, "k", []byte("1")))
		must[uint64](t)(kv.Update(w.ctx, "k", []byte("2"), rev))
		if e := must[jetstream.KeyValueEntry](t)(kv.Get(w.ctx, "k")); string(e.Value()) != "2" {
			t.Fatalf("%s has %q", bucket, e.Value())
		}
		ok(t, kv.Purge(w.ctx, "k"))
	}
	kv := must[jetstream.KeyValue](t)(w.js.KeyValue(w.ctx, "CV_JOBS"))
	e := must[jetstream.KeyValueEntry](t)(kv.Get(w.ctx, "x"))
	j, rev, err := w.q.Job(w.ctx, "x")
	if err != nil || rev != e.Revision() || j.Phase != "ours" {
		t.Fatalf("revision %d and %d, %v", rev, e.Revision(), err)
	}
	// A deleted key is no job, and a new one can be made over it.
	ok(t, kv.Delete(w.ctx, "x"))
	_, _, err = w.q.Job(w.ctx, "x")
	is(t, err, contract.ErrNoJob)
	must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: "x"}, 0))
	_, err = w.q.PutJob(w.ctx, contract.Job{ID: "x"}, 0)
	is(t, err, contract.ErrConflict)
}
