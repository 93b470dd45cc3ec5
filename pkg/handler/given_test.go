package handler_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// inEncodings is data under an id in each way to publish a command.
func inEncodings(action contract.Action, id, data string) map[string]contract.Message {
	event := func(member, value string) []byte {
		return fmt.Appendf(nil, `{"source":"/desk","type":"cv.%s.requested",%q:%s,"id":%q,"specversion":"1.0"}`, action, member, value, id)
	}
	header := func(pairs ...string) map[string][]string {
		h := map[string][]string{}
		for i := 0; i < len(pairs); i += 2 {
			h[pairs[i]] = []string{pairs[i+1]}
		}
		return h
	}
	subject := "cv.commands." + string(action)
	return map[string]contract.Message{
		"plain": plain(action, id, data),
		"binary": {Subject: subject, Body: []byte(data), Header: header(
			"ce-specversion", "1.0", "ce-id", id, "ce-source", "/desk", "ce-type", "cv."+string(action)+".requested")},
		"structured": {Subject: subject, Body: event("data", data), Header: header("Content-Type", "application/cloudevents+json")},
		"undeclared": {Subject: subject, Body: event("data", data)},
		"base64":     {Subject: subject, Body: event("data_base64", `"`+base64.StdEncoding.EncodeToString([]byte(data))+`"`)},
	}
}

// Whatever is wrong with a message, its publisher finds the answer under the id that it gave.
func TestRefusedUnderTheGivenID(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	w.start(t, replicaOptions{commands: 16})
	asked := map[string]*history{}
	good := map[contract.Action]string{"export": `"all_projects":true`, "delete": `"all_projects":true`, "cancel": `"id":"req-1"`}
	for action, data := range good {
		for trouble, bad := range map[string]string{
			"unknown": `{` + data + `,"shade":"red"}`, "type": strings.NewReplacer("true", `"yes"`, `"req-1"`, "7").Replace(`{` + data + `}`),
			"case": strings.NewReplacer("all_projects", "All_Projects", `"id"`, `"ID"`).Replace(`{` + data + `}`), "null": `{"resource":null}`, "array": `[]`,
			"large": `{` + data + `,"reference":"` + strings.Repeat("x", 520<<10) + `"}`,
		} {
			for encoding, m := range inEncodings(action, fmt.Sprintf("%s-%s-ENCODING", action, trouble), bad) {
				id := fmt.Sprintf("%s-%s-%s", action, trouble, encoding)
				m.Body = []byte(strings.Replace(string(m.Body), "ENCODING", encoding, 1))
				for _, values := range m.Header {
					values[0] = strings.Replace(values[0], "ENCODING", encoding, 1)
				}
				asked[id] = w.publishMessage(t, id, m)
			}
		}
	}
	letters := map[string]bool{}
	for id, h := range asked {
		e := w.wait(t, h)
		if e.CommandID != id || e.GivenID != "" || e.Seq != h.seq || e.Stream == "" || e.Status != contract.StatusRefused || e.Error.Code != contract.CodeInvalidCommand || !strings.HasPrefix(id, string(e.Action)) {
			t.Errorf("%s: the answer is %s of %s %s: %v", id, e.Status, e.Action, e.CommandID, e.Error)
		}
		letters["cv.dead."+string(e.Action)+"."+id] = true
	}
	for _, m := range w.messages(t, "CV_DEAD") { // once: some of them are large
		delete(letters, m.Subject)
	}
	for subject := range letters {
		t.Errorf("there is no dead letter %s", subject)
	}
}

// idle is a replica that is given its commands by the test, beside one that works on units.
func (w *world) idle(t *testing.T) *replica {
	t.Helper()
	w.start(t, replicaOptions{units: 4})
	return w.start(t, replicaOptions{idle: true})
}

// refusedBySeq demands that a message was refused under its sequence, and that event, job and dead
// letter say which id it gave.
func (w *world) refusedBySeq(t *testing.T, action contract.Action, h *history, given, code string) contract.EventData {
	t.Helper()
	id := contract.SeqID(h.seq)
	e, err := w.queue.Event(t.Context(), action, id, contract.StatusRefused)
	if err != nil {
		t.Fatalf("there is no answer: %v", err)
	}
	stream, err := w.queue.CommandStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := e.Data; d.Error.Code != code || string(d.GivenID) != given || d.Seq != h.seq || string(d.Stream) != stream {
		t.Errorf("refused as %s, message %d of %s, given id %q: %v", d.CommandID, d.Seq, d.Stream, d.GivenID, d.Error)
	}
	if j := w.job(t, id); string(j.GivenID) != given || j.Command.Seq != h.seq || string(j.Command.Stream) != stream {
		t.Errorf("the job is %+v", j)
	}
	if d, err := w.queue.DeadLetter(t.Context(), id); err != nil || d.GivenID != given || d.Message.Seq != h.seq || d.Message.Stream != stream {
		t.Errorf("the dead letter is %+v, %v", d, err)
	}
	return e.Data
}

// Two messages give the same id: it belongs to the one that was published first, whichever of them
// is no command and whichever is delivered first.
func TestGivenIDBelongsToTheFirst(t *testing.T) {
	const bad = `{"all_projects":true,"shade":"red"}`
	for _, c := range []struct {
		name, first, second string
		status              contract.Status // of the first
		code                string          // of the second
	}{
		{"a command, then what is none", everything, bad, contract.StatusCompleted, contract.CodeInvalidCommand},
		{"what is no command, then one", bad, everything, contract.StatusRefused, contract.CodeIDConflict},
		{"twice what is no command", bad, `{}`, contract.StatusRefused, contract.CodeInvalidCommand},
	} {
		for _, early := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, the second delivered first: %t", c.name, early), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
				w.project("one")
				r := w.idle(t)
				first, second := w.publish(t, "export", "mine", c.first), w.publish(t, "export", "mine", c.second)
				if early {
					if d := w.given(t, r, second); d.Verb != delivery.Nak {
						t.Errorf("the second: settled %s: %s", d.Verb, d.Reason)
					}
					if _, _, err := w.queue.Job(t.Context(), "mine"); !errors.Is(err, contract.ErrNoJob) {
						t.Errorf("there is a job before the first was looked at: %v", err)
					}
				}
				for range 2 { // the second time as when the acknowledgement was lost
					if d := w.given(t, r, first); d.Verb != delivery.Ack {
						t.Errorf("the first: settled %s: %s", d.Verb, d.Reason)
					}
				}
				if _, err := w.queue.Event(t.Context(), contract.ActionExport, "mine", c.status); err != nil {
					t.Errorf("the first has no end: %v", err)
				}
				for range 2 {
					if d := w.given(t, r, second); d.Verb != delivery.Ack {
						t.Errorf("the second: settled %s: %s", d.Verb, d.Reason)
					}
				}
				e := w.refusedBySeq(t, contract.ActionExport, second, "mine", c.code)
				if conflict := e.ConflictsWith == "mine"; conflict != (c.code == contract.CodeIDConflict) {
					t.Errorf("it conflicts with %q", e.ConflictsWith)
				}
				if n := len(w.messages(t, "CV_DEAD")); c.status == contract.StatusRefused && n != 2 || c.status == contract.StatusCompleted && n != 1 {
					t.Errorf("there are %d dead letters", n)
				}
				if j := w.job(t, "mine"); j.Command.Seq != first.seq || j.GivenID != "" {
					t.Errorf("the job of the first is %+v", j)
				}
			})
		}
	}
}

// An id whose bundle outlived its traces is taken.
func TestGivenIDHasABundle(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	w.project("one")
	w.start(t, replicaOptions{})
	w.run(t, "exp", everything)
	if err := w.queue.Forget(t.Context(), "exp"); err != nil {
		t.Fatal(err)
	}
	h := w.publishMessage(t, "", plain("export", "exp", `{"All_projects":true}`))
	w.wait(t, h)
	w.refusedBySeq(t, contract.ActionExport, h, "exp", contract.CodeInvalidCommand)
	if e := w.run(t, "exp", everything); e.Status != contract.StatusCompleted {
		t.Errorf("the command ended %s: %v", e.Status, e.Error)
	}
	w.bag(t, "exp", sink.ExportBag)
}

// A cancel that waits for an id has nothing to cancel when what comes under it is no command.
func TestGivenIDHasACancel(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	w.start(t, replicaOptions{})
	w.wait(t, w.publish(t, "cancel", "stop", `{"id":"exp"}`))
	if e := w.wait(t, w.publish(t, "export", "exp", `{}`)); e.CommandID != "exp" || e.Status != contract.StatusRefused || e.Error.Code != contract.CodeInvalidCommand {
		t.Errorf("%s ended %s: %v", e.CommandID, e.Status, e.Error)
	}
}

// A replica that dies while it refuses a message leaves the rest to the next, which finds the
// refusal under the id that the message gave, and says it there and nowhere else.
func TestRefusedUnderTheGivenIDCutShort(t *testing.T) {
	for _, effect := range []string{"PutJob refused#1", "PublishDead#1", "PublishEvent refused#1"} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, after: %t", effect, after), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}, ackWait: redelivery})
				f := newFate(effect, after)
				w.start(t, replicaOptions{fate: f})
				h := w.publish(t, "delete", "del", `{"all_projects":true,"shade":"red"}`)
				<-f.died
				w.start(t, replicaOptions{})
				if e := w.wait(t, h); e.CommandID != "del" || e.Status != contract.StatusRefused || e.GivenID != "" {
					t.Errorf("%s ended %s: %v", e.CommandID, e.Status, e.Error)
				}
				if n := len(w.messages(t, "CV_DEAD")); n != 1 {
					t.Errorf("there are %d dead letters", n)
				}
			})
		}
	}
}
