package natsq

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// What PublishDead stores comes back as the message it was.
func TestDeadLettersComeBack(t *testing.T) {
	w := newWorld(t)
	at := time.Unix(1700000000, 123).UTC()
	header := map[string][]string{"Nats-Msg-Id": {"a"}, "Nats-Expected-Stream": {"X"}, "X-Own": {"1", "2"}}
	letter := func(id string, body []byte) contract.DeadLetter {
		return contract.DeadLetter{
			ID: id, Action: contract.ActionExport, Attempts: 3, Time: at, Error: contract.Error{Code: contract.CodeExhausted, Message: "gave\nup"},
			Message: contract.Message{Subject: "cv.commands.export", Header: header, Body: body},
		}
	}
	ok(t, w.q.PublishDead(w.ctx, letter("b", []byte(`{"all_projects":true}`))))
	ok(t, w.q.PublishDead(w.ctx, letter("large", bytes.Repeat([]byte("x"), int(w.nc.MaxPayload())-100))))
	d := must[contract.DeadLetter](t)(w.q.DeadLetter(w.ctx, "b"))
	if d.ID != "b" || d.Action != contract.ActionExport || d.Attempts != 3 || !d.Time.Equal(at) || d.Error.Code != contract.CodeExhausted || d.Error.Message != "gave up" {
		t.Errorf("letter %+v", d)
	}
	if m := d.Message; m.Subject != "cv.commands.export" || string(m.Body) != `{"all_projects":true}` || len(m.Header) != len(header) {
		t.Errorf("message %+v", m)
	}
	for name, values := range header {
		if !slices.Equal(d.Message.Header[name], values) {
			t.Errorf("%s is %q", name, d.Message.Header[name])
		}
	}
	if d := must[contract.DeadLetter](t)(w.q.DeadLetter(w.ctx, "large")); d.Message.Body != nil {
		t.Errorf("a body that was left out is %q", d.Message.Body)
	}
	var ids []string
	for d, err := range w.q.DeadLetters(w.ctx) {
		ok(t, err)
		ids = append(ids, d.ID)
	}
	if !slices.Equal(ids, []string{"b", "large"}) {
		t.Errorf("listed: %q", ids)
	}
	ok(t, w.q.RemoveDead(w.ctx, "b"))
	ok(t, w.q.RemoveDead(w.ctx, "b"))
	_, err := w.q.DeadLetter(w.ctx, "b")
	is(t, err, contract.ErrNoMessage)
	if n := w.messages(t, "CV_DEAD"); n != 1 {
		t.Errorf("%d letters are left", n)
	}
	if err := w.q.RemoveDead(w.ctx, "*"); err == nil {
		t.Error("removes every letter")
	}
}
