package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

// TestAnswerToOwnMessage holds what the command line takes for the answer to its message, and when
// it stops waiting for one: events of other messages under the same id are none.
func TestAnswerToOwnMessage(t *testing.T) {
	server := natstest.NewWith(t, natstest.Options{Addr: "127.0.0.1:0"})
	conn := server.Dial(t)
	open := func() *natsq.Queue {
		t.Helper()
		q, err := natsq.Open(t.Context(), conn, natsq.Options{Provision: true, Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	q := open()
	event := func(id string, status contract.Status, at place, of *contract.MessageOf) contract.Event {
		d := contract.EventData{CommandID: id, Action: contract.ActionExport, Status: status, Seq: at.seq, Stream: contract.Text(at.stream), DuplicateOf: of}
		return contract.NewEvent(d, time.Unix(1700000000, 0), "")
	}
	store := func(e contract.Event) {
		t.Helper()
		if err := q.PublishEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	o := order{action: contract.ActionExport, id: "mine", data: []byte(`{"all_projects":true}`)}
	publish := func() place {
		t.Helper()
		at, err := o.publish(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	settle := func(at place) {
		t.Helper()
		m, err := q.CommandIn(t.Context(), at.stream, at.seq)
		if err == nil {
			err = q.RemoveCommand(t.Context(), m)
		}
		if err != nil {
			t.Fatal(err)
		}
	}

	first := publish()
	if err := first.answerable(t.Context(), q, o.key()); err != nil {
		t.Errorf("a message in the queue: %v", err)
	}
	settle(first)
	if err := first.answerable(t.Context(), q, o.key()); !errors.Is(err, errRefused) {
		t.Errorf("a message that was removed: %v", err)
	}
	store(event("mine", contract.StatusCompleted, first, nil))
	if err := first.answerable(t.Context(), q, o.key()); err != nil {
		t.Errorf("an answered message: %v", err)
	}

	// Another message with the id: the first one's end is not its answer, until it is said to be.
	o.data = []byte(` {"all_projects":true}`)
	second := publish()
	settle(second)
	if err := second.answerable(t.Context(), q, o.key()); !errors.Is(err, errRefused) {
		t.Errorf("a message whose id has the answer to another: %v", err)
	}
	store(event(contract.SeqID(second.seq), contract.StatusDuplicate, second, &contract.MessageOf{ID: "mine", Seq: first.seq, State: contract.StateCompleted}))
	if e, err := await(t.Context(), q, o.key(), second, func(contract.Event) {}); err != nil || e.Data.Seq != first.seq {
		t.Errorf("a duplicate is answered by %+v, %v", e.Data, err)
	}
	o.data = []byte(`{"all_projects":true,"reference":"other"}`)
	third := publish()
	store(event(contract.SeqID(third.seq), contract.StatusRefused, third, nil))
	if e, err := await(t.Context(), q, o.key(), third, func(contract.Event) {}); err != nil || e.Data.Status != contract.StatusRefused {
		t.Errorf("a used id is answered by %+v, %v", e.Data, err)
	}

	// In a stream that was made again, the sequences are those of other messages.
	js, err := jetstream.New(conn)
	if err == nil {
		err = js.DeleteStream(t.Context(), "CV_COMMANDS")
	}
	if err != nil {
		t.Fatal(err)
	}
	q = open()
	if err := third.answerable(t.Context(), q, o.key()); err != nil {
		t.Errorf("an answered message of an earlier stream: %v", err)
	}
	fourth := place{stream: third.stream, seq: third.seq + 1}
	if err := fourth.answerable(t.Context(), q, o.key()); !errors.Is(err, errUnreachable) || !strings.Contains(err.Error(), "publish it again") {
		t.Errorf("a message that was lost with its stream: %v", err)
	}

	// The end of a command is told where only its job has it.
	ended := event("ended", contract.StatusCompleted, first, nil)
	if _, err := q.PutJob(t.Context(), contract.Job{ID: "ended", Action: contract.ActionExport, State: contract.StateCompleted, Event: &ended}, 0); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"jobs", "watch", "ended", "--nats-url", server.URL()}, nil, nil, &out, &errs); code != exitDone || !strings.HasPrefix(out.String(), "completed") {
		t.Errorf("exit %d: %s%s", code, &out, &errs)
	}
}
