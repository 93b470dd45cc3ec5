package natsq

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/drift"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

// The objects as the contract's table has them.
func TestProvisioned(t *testing.T) {
	w := newWorld(t, usualAckWait, func(o *Options) { o.Retention = 48 * time.Hour })
	type shape struct {
		subjects   string
		retention  jetstream.RetentionPolicy
		maxAge     time.Duration
		perSubject int64
	}
	const kept = 48 * time.Hour
	for name, want := range map[string]shape{
		"CV_COMMANDS":   {"cv.commands.export cv.commands.delete cv.commands.cancel", jetstream.WorkQueuePolicy, 0, -1},
		"CV_WORK":       {"cv.work.*.*", jetstream.WorkQueuePolicy, 0, -1},
		"CV_EVENTS":     {"cv.events.*.*.*", jetstream.LimitsPolicy, kept, 1},
		"CV_DEAD":       {"cv.dead.*.*", jetstream.LimitsPolicy, kept, 1},
		"CV_LEDGER":     {"cv.ledger.*", jetstream.LimitsPolicy, 0, -1},
		"KV_CV_JOBS":    {"$KV.CV_JOBS.>", jetstream.LimitsPolicy, 0, 1},
		"KV_CV_HOLDS":   {"$KV.CV_HOLDS.>", jetstream.LimitsPolicy, 0, 1},
		"KV_CV_SECRETS": {"$KV.CV_SECRETS.>", jetstream.LimitsPolicy, 0, 1},
	} {
		c := must[jetstream.Stream](t)(w.js.Stream(w.ctx, name)).CachedInfo().Config
		got := shape{strings.Join(c.Subjects, " "), c.Retention, c.MaxAge, c.MaxMsgsPerSubject}
		if got != want {
			t.Errorf("%s is %+v, want %+v", name, got, want)
		}
		if c.Storage != jetstream.FileStorage || c.Discard != jetstream.DiscardNew || c.AllowDirect || c.Replicas != 1 {
			t.Errorf("%s: storage %s, discard %s, direct %v, replicas %d", name, c.Storage, c.Discard, c.AllowDirect, c.Replicas)
		}
	}
	if d := must[jetstream.Stream](t)(w.js.Stream(w.ctx, "CV_COMMANDS")).CachedInfo().Config.Duplicates; d != 100*time.Millisecond {
		t.Errorf("duplicate window is %s", d)
	}
	for durable, stream := range map[string]string{"exports": "CV_COMMANDS", "deletes": "CV_COMMANDS", "cancels": "CV_COMMANDS", "workers": "CV_WORK"} {
		c := must[jetstream.Consumer](t)(w.js.Consumer(w.ctx, stream, durable)).CachedInfo().Config
		if c.AckPolicy != jetstream.AckExplicitPolicy || c.MaxDeliver != -1 || c.MaxAckPending != -1 || c.AckWait != DefaultAckWait {
			t.Errorf("%s is %+v", durable, c)
		}
	}
}

func TestPrefix(t *testing.T) {
	w := newWorld(t)
	q := w.open(t, func(o *Options) { o.Prefix = "team-a_2" })
	must[uint64](t)(q.PutJob(w.ctx, contract.Job{ID: "x"}, 0))
	if n := w.messages(t, "KV_TEAM-A_2_JOBS"); n != 1 || q.Prefix() != "team-a_2" {
		t.Fatalf("%d jobs, prefix %s", n, q.Prefix())
	}
	_, _, err := w.q.Job(w.ctx, "x")
	is(t, err, contract.ErrNoJob)
	for _, p := range []string{"a.b", "a b", "*", ">", "ä", strings.Repeat("x", 65)} {
		if _, err := Open(w.ctx, w.nc, Options{Prefix: p}); err == nil {
			t.Errorf("prefix %q was accepted", p)
		}
	}
	// Two prefixes that differ in letter case would share streams.
	_, err = Open(w.ctx, w.nc, Options{Prefix: "CV", Provision: true})
	var drift *DriftError
	if !errors.As(err, &drift) || len(drift.Differences) == 0 || drift.Differences[0].Field != "subjects" {
		t.Errorf("prefix CV beside cv: %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	w := newWorld(t)
	for name, o := range map[string]Options{
		"replicas":  {Replicas: 2},
		"retention": {Retention: time.Millisecond},
		"ack wait":  {AckWait: time.Millisecond},
	} {
		if _, err := Open(w.ctx, w.nc, o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// More replicas than there are servers: Open fails at once instead of waiting.
	_, err := Open(w.ctx, w.nc, Options{Prefix: "r3", Replicas: 3, Provision: true})
	if err == nil || !strings.Contains(err.Error(), "replicas") || w.ctx.Err() != nil {
		t.Errorf("three replicas on one server: %v", err)
	}
}

func differences(t *testing.T, err error) []string {
	t.Helper()
	var drift *DriftError
	if !errors.As(err, &drift) {
		t.Fatalf("error is %v", err)
	}
	var lines []string
	for _, d := range drift.Differences {
		if !strings.Contains(err.Error(), d.String()) {
			t.Errorf("%q does not contain %q", err, d)
		}
		lines = append(lines, d.String())
	}
	return lines
}

func TestCheckOnlyListsEveryDifference(t *testing.T) {
	server := natstest.New(t)
	ctx, nc := deadline(t), server.Dial(t)
	js := jetStream(t, nc)
	_, err := Open(ctx, nc, options(t, func(o *Options) { o.Provision = false }))
	if got, want := differences(t, err), []string{
		"CV_COMMANDS is missing, wants to exist", "CV_WORK is missing, wants to exist", "CV_EVENTS is missing, wants to exist", "CV_DEAD is missing, wants to exist",
		"CV_LEDGER is missing, wants to exist", "KV_CV_JOBS is missing, wants to exist", "KV_CV_HOLDS is missing, wants to exist",
		"KV_CV_SECRETS is missing, wants to exist",
	}; !slices.Equal(got, want) {
		t.Fatalf("differences are\n%s", strings.Join(got, "\n"))
	}
	q := must[*Queue](t)(Open(ctx, nc, options(t)))
	must[*Queue](t)(Open(ctx, nc, options(t, func(o *Options) { o.Provision = false })))

	// An operator changes everything.
	ok(t, js.DeleteStream(ctx, "KV_CV_HOLDS"))
	must[jetstream.KeyValue](t)(js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "CV_HOLDS"})) // as the nats command line would
	ok(t, js.DeleteStream(ctx, "CV_WORK"))
	must[jetstream.Stream](t)(js.CreateStream(ctx, jetstream.StreamConfig{Name: "CV_WORK", Subjects: []string{"cv.work.>"}, Storage: jetstream.MemoryStorage}))
	change := func(stream string, f func(*jetstream.StreamConfig)) {
		t.Helper()
		c := must[jetstream.Stream](t)(js.Stream(ctx, stream)).CachedInfo().Config
		f(&c)
		must[jetstream.Stream](t)(js.UpdateStream(ctx, c))
	}
	change("CV_COMMANDS", func(c *jetstream.StreamConfig) {
		c.Subjects = c.Subjects[:2]
		c.Duplicates = time.Minute
		c.MaxMsgSize = 100
		c.Discard = jetstream.DiscardOld
	})
	change("CV_EVENTS", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour; c.MaxMsgsPerSubject = 5 })
	change("CV_LEDGER", func(c *jetstream.StreamConfig) { c.MaxAge = 9999 * time.Hour }) // as earlier versions made it
	ok(t, js.DeleteConsumer(ctx, "CV_COMMANDS", "exports"))
	must[jetstream.Consumer](t)(js.CreateConsumer(ctx, "CV_COMMANDS", jetstream.ConsumerConfig{
		Durable: "exports", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Second, MaxDeliver: 5, MaxRequestBatch: 1, FilterSubject: "cv.commands.export",
	}))
	_, err = Open(ctx, nc, options(t, func(o *Options) { o.Provision = false }))
	want := []string{
		"CV_COMMANDS: subjects is [cv.commands.export cv.commands.delete], wants [cv.commands.export cv.commands.delete cv.commands.cancel]",
		"CV_COMMANDS: discard is DiscardOld, wants DiscardNew",
		"CV_COMMANDS: duplicate_window is 1m0s, wants 100ms",
		"CV_COMMANDS: max_msg_size is 100, wants 1032192",
		"CV_WORK: retention is Limits, wants WorkQueue (cannot be updated: delete and create it again)",
		"CV_WORK: storage is Memory, wants File (cannot be updated: delete and create it again)",
		"CV_WORK: discard is DiscardOld, wants DiscardNew",
		"CV_EVENTS: max_age is 1h0m0s, wants 720h0m0s",
		"CV_EVENTS: max_msgs_per_subject is 5, wants 1",
		"CV_LEDGER: max_age is 9999h0m0s, wants no limit",
		"KV_CV_HOLDS: allow_direct is true, wants false",
		"CV_COMMANDS > exports: ack_wait is 1s, wants 30s",
		"CV_COMMANDS > exports: max_deliver is 5, wants -1",
		"CV_COMMANDS > exports: max_ack_pending is 1000, wants -1",
		"CV_COMMANDS > exports: max_batch is 1, wants 0",
		"CV_WORK > workers is missing, wants to exist",
	}
	if got := differences(t, err); !slices.Equal(got, want) {
		t.Fatalf("differences are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	// With Provision all that can be changed is changed; the rest is listed.
	_, err = Open(ctx, nc, options(t))
	if got := differences(t, err); !slices.Equal(got, want[4:7]) {
		t.Fatalf("what cannot be changed is\n%s", strings.Join(got, "\n"))
	}
	ok(t, js.DeleteStream(ctx, "CV_WORK"))
	must[*Queue](t)(Open(ctx, nc, options(t)))
	must[*Queue](t)(Open(ctx, nc, options(t, func(o *Options) { o.Provision = false })))
	ok(t, q.Ping(ctx))
}

// What an operator set beyond our needs stays.
func TestProvisionNeverLowers(t *testing.T) {
	w := newWorld(t, usualAckWait)
	grow := map[string]func(*jetstream.StreamConfig){
		"CV_EVENTS":  func(c *jetstream.StreamConfig) { c.MaxAge = 9999 * time.Hour; c.MaxBytes = 1 << 30 },
		"CV_DEAD":    func(c *jetstream.StreamConfig) { c.MaxAge = 0; c.Description = "theirs" },
		"KV_CV_JOBS": func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 10; c.Compression = jetstream.S2Compression },
		"CV_COMMANDS": func(c *jetstream.StreamConfig) {
			c.Subjects = []string{"cv.commands.>"}
			c.MaxMsgSize = -1
			c.MaxMsgs = 1000
		},
		"CV_LEDGER": func(c *jetstream.StreamConfig) { c.Metadata = map[string]string{"team": "x"} },
	}
	before := map[string]jetstream.StreamConfig{}
	for name, f := range grow {
		c := must[jetstream.Stream](t)(w.js.Stream(w.ctx, name)).CachedInfo().Config
		f(&c)
		before[name] = must[jetstream.Stream](t)(w.js.UpdateStream(w.ctx, c)).CachedInfo().Config
	}
	w.open(t, usualAckWait)
	w.open(t, func(o *Options) { o.Retention = time.Hour; o.AckWait = time.Second })
	for name := range grow {
		c := must[jetstream.Stream](t)(w.js.Stream(w.ctx, name)).CachedInfo().Config
		if d := drift.CompareStream(c, before[name]); len(d) > 0 || c.MaxAge != before[name].MaxAge || c.MaxMsgsPerSubject != before[name].MaxMsgsPerSubject ||
			c.MaxBytes != before[name].MaxBytes || c.MaxMsgs != before[name].MaxMsgs || c.Description != before[name].Description ||
			c.Metadata["team"] != before[name].Metadata["team"] || c.Compression != before[name].Compression {
			t.Errorf("%s became %+v, was %+v", name, c, before[name])
		}
	}
	if c := must[jetstream.Consumer](t)(w.js.Consumer(w.ctx, "CV_WORK", "workers")); c.CachedInfo().Config.AckWait != DefaultAckWait {
		t.Errorf("ack wait became %s", c.CachedInfo().Config.AckWait)
	}
	// With a longer history the last entry is the job.
	for _, phase := range []string{"one", "two"} {
		_, rev, err := w.q.Job(w.ctx, "x")
		if err != nil {
			is(t, err, contract.ErrNoJob)
		}
		must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: "x", Phase: phase}, rev))
	}
	for j, err := range w.q.Jobs(w.ctx) {
		if err != nil || j.Phase != "two" {
			t.Errorf("job is at %q, %v", j.Phase, err)
		}
	}
	// And what is too low is raised, nothing else touched.
	longer := must[*Queue](t)(Open(w.ctx, w.nc, options(t, func(o *Options) { o.Retention = 10000 * time.Hour; o.AckWait = time.Minute })))
	ok(t, longer.Ping(w.ctx))
	if c := must[jetstream.Stream](t)(w.js.Stream(w.ctx, "CV_LEDGER")).CachedInfo().Config; c.MaxAge != 0 || c.Metadata["team"] != "x" {
		t.Errorf("ledger keeps %s, metadata %v", c.MaxAge, c.Metadata)
	}
	if c := must[jetstream.Stream](t)(w.js.Stream(w.ctx, "CV_EVENTS")).CachedInfo().Config; c.MaxAge != 10000*time.Hour {
		t.Errorf("events are kept %s", c.MaxAge)
	}
}

func TestReplicasThatStartTogether(t *testing.T) {
	server := natstest.New(t)
	ctx := deadline(t)
	var wg sync.WaitGroup
	for range 8 {
		nc := server.Dial(t)
		wg.Go(func() {
			if _, err := Open(ctx, nc, options(t)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// Open waits for a server that is away; its error has the reason when it may not wait longer.
func TestOpenWaits(t *testing.T) {
	server := natstest.New(t)
	ctx, nc := deadline(t), server.Dial(t)
	server.Stop()
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err := Open(short, nc, options(t))
	is(t, err, context.DeadlineExceeded)
	if !strings.Contains(err.Error(), "read the account's limits: ") {
		t.Errorf("error is %v", err)
	}
	opened := make(chan error, 1)
	go func() {
		_, err := Open(ctx, nc, options(t))
		opened <- err
	}()
	ok(t, server.Start())
	ok(t, receive(t, opened))
}
