package handler_test

import (
	"bufio"
	"bytes"
	"cmp"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// malformedMessage is a line of testdata/commands/malformed.jsonl.
type malformedMessage struct {
	Name    string
	Subject string
	Headers map[string][]string
	Body    []byte
	ID      string // that it gives, if that can be read and is usable
	Code    string
	Field   string
}

// More than a thousand messages that are no commands, published as any requester could: each
// is refused under the id that it gives, where its publisher looks, or else under one made of its
// place in the stream, with the right code and the field's name, and kept as a dead letter with its
// own bytes and headers. The good command after them is carried out.
func TestMalformedCommandsEndToEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	r := w.start(t, replicaOptions{commands: 16, units: 16})
	smallProject(w.api)
	f, err := os.Open(filepath.Join(w.s3.WorkDir(), "..", "..", "testdata", "commands", "malformed.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	sent, seqs := map[string]malformedMessage{}, map[string]uint64{} // by the id they are refused under
	for lines.Scan() {
		var m malformedMessage
		unmarshal(t, lines.Bytes(), &m)
		// As it is: what is refused must not be mended on the way.
		answer, err := w.conn.RequestMsg(&nats.Msg{Subject: m.Subject, Header: m.Headers, Data: m.Body}, patience)
		if err != nil {
			t.Fatalf("publish %s: %v", m.Name, err)
		}
		var ack struct {
			Seq       uint64
			Duplicate bool
			Error     *struct{ Description string }
		}
		unmarshal(t, answer.Data, &ack)
		if ack.Error != nil || ack.Duplicate || ack.Seq == 0 {
			t.Fatalf("publish %s: %s", m.Name, answer.Data)
		}
		id := cmp.Or(m.ID, contract.SeqID(ack.Seq))
		if _, twice := sent[id]; twice {
			t.Fatalf("%s: the id %s is another message's", m.Name, id)
		}
		sent[id], seqs[id] = m, ack.Seq
	}
	if err := lines.Err(); err != nil || len(sent) < 300 {
		t.Fatalf("%d messages: %v", len(sent), err)
	}
	e := w.run(t, "good-1", `{"all_projects":true}`)
	if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete {
		t.Fatalf("a good command after them ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
	w.eventually(t, "all malformed commands leave the queue", func() bool { return len(w.messages(t, "CV_COMMANDS")) == 0 })
	r.stop()
	w.checkTruth(t, w.bag(t, "good-1", sink.ExportBag), e, w.truthOf(t, w.api.Snapshot(), selection{}))

	stream, err := w.queue.CommandStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dead := map[string]bool{}
	for _, m := range w.messages(t, "CV_DEAD") {
		tokens := strings.Split(m.Subject, ".")
		id := tokens[len(tokens)-1]
		was, ok := sent[id]
		if !ok || dead[id] {
			t.Errorf("the dead letter %s was not asked for", m.Subject)
			continue
		}
		dead[id] = true
		if action := strings.TrimPrefix(was.Subject, "cv.commands."); tokens[2] != action {
			t.Errorf("%s: the dead letter of a message on %s is %s", was.Name, was.Subject, m.Subject)
		}
		if !bytes.Equal(m.Data, was.Body) {
			t.Errorf("%s: the dead letter holds %q, the message was %q", was.Name, m.Data, was.Body)
		}
		kept := maps.Clone(m.Header)
		for _, name := range []string{"Cv-Error-Code", "Cv-Error", "Cv-Attempts", "Cv-Time", "Cv-Seq", "Cv-Stream"} {
			if kept.Get(name) == "" {
				t.Errorf("%s: the dead letter has no header %s", was.Name, name)
			}
			delete(kept, name)
		}
		for name, values := range was.Headers {
			if got := kept[name]; !slices.Equal(got, values) {
				t.Errorf("%s: header %s was %q, is %q", was.Name, name, values, got)
			}
			delete(kept, name)
		}
		for name := range kept {
			if !strings.HasPrefix(name, "Nats-Expected-") && name != "Cv-Write" { // JetStream's and ours: how it was written
				t.Errorf("%s: the dead letter has a header %s: %q", was.Name, name, kept[name])
			}
		}
		if got := m.Header.Get("Cv-Error-Code"); got != was.Code {
			t.Errorf("%s: the dead letter's code is %s, want %s", was.Name, got, was.Code)
		}
		w.checkRefusal(t, id, seqs[id], stream, was)
	}
	if len(dead) != len(sent) {
		t.Errorf("%d messages were sent, %d dead letters are there", len(sent), len(dead))
	}
	events := map[string]int{}
	for _, m := range w.messages(t, "CV_EVENTS") {
		events[m.Subject[strings.LastIndex(m.Subject, ".")+1:]]++
	}
	if events["refused"] != len(sent) || events["completed"] != 1 || events["failed"] != 0 {
		t.Errorf("the events are %v", events)
	}
	for _, prefix := range []string{"seq-", "bad-"} {
		if left := w.fetch(t, prefix); len(left) > 0 {
			t.Errorf("refused commands left %d objects", len(left))
		}
	}
	if n := w.api.Count("GetProjects"); n != 1 {
		t.Errorf("the service was asked %d times for its projects, by one command", n)
	}
}

// checkRefusal holds the event and the job of a refused message against it.
func (w *world) checkRefusal(t *testing.T, id string, seq uint64, stream string, was malformedMessage) {
	t.Helper()
	action := contract.Action(strings.TrimPrefix(was.Subject, "cv.commands."))
	e, err := w.queue.Event(t.Context(), action, id, contract.StatusRefused)
	if err != nil || e.Data.Error == nil {
		t.Errorf("%s: the event is %+v, %v", was.Name, e, err)
		return
	}
	if got := e.Data.Error; got.Code != was.Code || got.Retryable || was.Field != "" && !strings.HasPrefix(got.Message, was.Field+": ") {
		t.Errorf("%s: refused with %s %q, want %s naming %q", was.Name, got.Code, got.Message, was.Code, was.Field)
	}
	if d := e.Data; d.Seq != seq || string(d.Stream) != stream || d.GivenID != "" {
		t.Errorf("%s: the event is of message %d of %s, given id %q; the message is %d of %s", was.Name, d.Seq, d.Stream, d.GivenID, seq, stream)
	}
	job, _, err := w.queue.Job(t.Context(), contract.Key(action, id))
	if err != nil || job.Command.Seq != seq || string(job.Command.Stream) != stream || job.State != contract.StateRefused || job.Attempt != 0 {
		t.Errorf("%s: the job is %+v, %v", was.Name, job, err)
	}
}
