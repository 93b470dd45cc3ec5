package handler_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract/schema"
)

// history is every event of one command, in the order they were stored: also one that took the
// place of another.
type history struct {
	seq      uint64 // of the command's message
	action   contract.Action
	id       string // that it gave; empty for none
	mu       sync.Mutex
	events   []contract.Event
	terminal chan struct{} // closed when there is a terminal one
}

// plain is a plain command as a message.
func plain(action contract.Action, id, data string) contract.Message {
	return contract.Message{Subject: "cv.commands." + string(action), Header: map[string][]string{contract.HeaderMsgID: {id}}, Body: []byte(data)}
}

// publish publishes a plain command and listens to what becomes of it.
func (w *world) publish(t *testing.T, action contract.Action, id, data string) *history {
	t.Helper()
	return w.publishMessage(t, id, plain(action, id, data))
}

// publishMessage publishes a command that has this id, or none if that is empty, and listens to
// what becomes of it.
func (w *world) publishMessage(t *testing.T, id string, m contract.Message) *history {
	t.Helper()
	seq := w.publishOnce(t, m)
	h := &history{seq: seq, id: id, action: contract.Action(strings.TrimPrefix(m.Subject, "cv.commands.")), terminal: make(chan struct{})}
	keys := []string{contract.SeqID(seq)}
	if id != "" {
		keys = append(keys, contract.Key(h.action, id))
	}
	for _, key := range keys {
		events, err := w.queue.WatchEvents(t.Context(), key)
		if err != nil {
			t.Fatalf("watch events: %v", err)
		}
		go func() {
			for e := range events {
				h.note(e)
			}
		}()
	}
	return h
}

// publishOnce publishes a message, however long the answer takes. The queue's own function
// publishes again after a while, which makes two messages on a busy machine; it is used where
// JetStream does not take the message, or takes it for a duplicate.
func (w *world) publishOnce(t *testing.T, m contract.Message) uint64 {
	t.Helper()
	js, err := jetstream.New(w.conn)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ack, err := js.PublishMsg(ctx, &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Body}, jetstream.WithRetryAttempts(0))
	if err == nil && !ack.Duplicate {
		return ack.Sequence
	}
	seq, err := w.queue.PublishCommand(t.Context(), m)
	if err != nil {
		t.Fatalf("publish: %v", err)
	}
	return seq
}

func (h *history) note(e contract.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
	if e.Data.Status.Terminal() {
		select {
		case <-h.terminal:
		default:
			close(h.terminal)
		}
	}
}

// end waits for the terminal event.
func (w *world) end(t *testing.T, h *history) contract.EventData {
	t.Helper()
	select {
	case <-h.terminal:
	case <-time.After(patience):
		t.Fatal("no terminal event")
	}
	return h.ends()[0]
}

// wait waits for the terminal event, and until the command has left the queue. The event is the
// only one, the job says the same, the message itself is answered, and all of it is as the
// published schemas say.
func (w *world) wait(t *testing.T, h *history) contract.EventData {
	t.Helper()
	w.end(t, h)
	w.eventually(t, "the command leaves the queue", func() bool {
		_, err := w.queue.Command(t.Context(), h.seq)
		return errors.Is(err, contract.ErrNoMessage)
	})
	ends := h.ends()
	if len(ends) != 1 {
		t.Fatalf("there are %d terminal events: %+v", len(ends), ends)
	}
	job := w.job(t, ends[0].Key())
	if job.State != contract.State(ends[0].Status) {
		t.Errorf("%s: the event says %s, the job %s", job.ID, ends[0].Status, job.State)
	}
	keepsSchema(t, schema.JobID, job)
	for _, e := range h.all() {
		keepsSchema(t, schema.EventID, e)
	}
	w.answer(t, h)
	return ends[0]
}

// answer is the event that answers a message which has left the queue: the one that has its
// sequence, and the only one.
func (w *world) answer(t *testing.T, h *history) contract.EventData {
	t.Helper()
	stream, err := w.queue.CommandStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var found []contract.EventData
	for _, id := range []string{contract.SeqID(h.seq), h.id} {
		if id == "" {
			continue
		}
		e, err := w.queue.Answer(t.Context(), contract.Key(h.action, id))
		if err != nil && !errors.Is(err, contract.ErrNoMessage) {
			t.Fatalf("read the answer: %v", err)
		}
		if err == nil && e.Data.Seq == h.seq && string(e.Data.Stream) == stream {
			found = append(found, e.Data)
		}
	}
	if len(found) != 1 {
		t.Fatalf("message %d (%s %s) has %d answers: %+v", h.seq, h.action, h.id, len(found), found)
	}
	return found[0]
}

// job reads the job of a command.
func (w *world) job(t *testing.T, key string) contract.Job {
	t.Helper()
	job, _, err := w.queue.Job(t.Context(), key)
	if err != nil {
		t.Fatalf("read the job of %s: %v", key, err)
	}
	return job
}

// await waits until the job of a command is as wanted.
func (w *world) await(t *testing.T, id, what string, wanted func(contract.Job) bool) contract.Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	writes := make(chan *nats.Msg, 1000) // each is a reason to look; one more than fit may be missed
	sub, err := w.conn.ChanSubscribe("$KV.CV_JOBS."+id, writes)
	if err != nil {
		t.Fatalf("watch the job: %v", err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		switch job, _, err := w.queue.Job(ctx, id); {
		case err == nil && wanted(job):
			return job
		case ctx.Err() != nil:
			t.Fatalf("%s: never %s", id, what)
		}
		select {
		case <-writes:
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// all are the events so far.
func (h *history) all() []contract.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.events)
}

// schemas are the published schemas of events and jobs, by id.
var schemas = sync.OnceValues(func() (map[string]*jsonschema.Schema, error) {
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	all := map[string]*jsonschema.Schema{schema.EventID: nil, schema.JobID: nil}
	for id, text := range map[string][]byte{schema.EventID: schema.Event(), schema.JobID: schema.Job()} {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err == nil {
			err = c.AddResource(id, doc)
		}
		if err != nil {
			return nil, err
		}
	}
	for id := range all {
		var err error
		if all[id], err = c.Compile(id); err != nil {
			return nil, err
		}
	}
	return all, nil
})

// keepsSchema fails the test unless v is, as it is published, what the schema says.
func keepsSchema(t *testing.T, id string, v any) {
	t.Helper()
	all, err := schemas()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err == nil {
		err = all[id].Validate(value)
	}
	if err != nil {
		t.Errorf("%s: %v: %s", id, err, text)
	}
}

// ends are the terminal events so far.
func (h *history) ends() []contract.EventData {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []contract.EventData
	for _, e := range h.events {
		if e.Data.Status.Terminal() {
			out = append(out, e.Data)
		}
	}
	return out
}

// run publishes an export and returns its terminal event's data.
func (w *world) run(t *testing.T, id, data string) contract.EventData {
	t.Helper()
	return w.wait(t, w.publish(t, "export", id, data))
}
