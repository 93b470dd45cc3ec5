package natsq

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/letter"
)

const maxErrorHeaderBytes = letter.MaxErrorBytes

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

// TestLettersOfOneID: letters of messages that all have one Nats-Msg-Id are stored at once, and
// nothing is said to be unavailable meanwhile.
func TestLettersOfOneID(t *testing.T) {
	var log bytes.Buffer
	w := newWorld(t, func(o *Options) { o.Log = zerolog.New(&log).Level(zerolog.WarnLevel) })
	for n := range 20 {
		d := contract.DeadLetter{ID: fmt.Sprintf("seq-%d", n+1), Action: contract.ActionExport, Message: contract.Message{Seq: uint64(n + 1), Header: map[string][]string{"Nats-Msg-Id": {"one"}}}, Error: contract.Error{Code: contract.CodeInvalidCommand}}
		ok(t, w.q.PublishDead(w.ctx, d))
	}
	if n := w.messages(t, "CV_DEAD"); n != 20 || log.Len() > 0 {
		t.Errorf("%d dead letters; it logs %s", n, &log)
	}
}

func TestDeadLetterKeepsTheMessage(t *testing.T) {
	w := newWorld(t)
	letter := contract.DeadLetter{
		ID: "seq-9", Action: contract.ActionDelete, Attempts: 3, Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
		Message: contract.Message{Subject: "cv.commands.delete", Body: []byte("\x00not json"), Header: map[string][]string{
			"Nats-Msg-Id": {"used"}, "ce-id": {"a", "b"}, "Nats-Expected-Stream": {"CV_COMMANDS"}, "nats-ttl": {"1s"}, "Nats-Rollup": {"all"}, "odd name": {"x"},
			"Cv-Write": {"theirs"}, "Status": {"503"},
		}},
		Error: contract.Error{Code: "invalid_command", Message: "line one\r\nNats-Rollup: all\x00" + strings.Repeat("é", maxErrorHeaderBytes)},
	}
	// Another dead letter with the same Nats-Msg-Id just before: JetStream takes this one for a
	// duplicate and acknowledges it. It is stored at once all the same, with its id under the other
	// name.
	before := letter
	before.ID = "seq-8"
	ok(t, w.q.PublishDead(w.ctx, before))
	ok(t, w.q.PublishDead(w.ctx, letter))
	ok(t, w.q.PublishDead(w.ctx, letter))
	if n := w.messages(t, "CV_DEAD"); n != 2 {
		t.Fatalf("%d dead letters", n)
	}
	if read := must[contract.DeadLetter](t)(w.q.DeadLetter(w.ctx, "seq-9")); !slices.Equal(read.Message.Header["Nats-Msg-Id"], []string{"used"}) {
		t.Errorf("the message's id is %q", read.Message.Header["Nats-Msg-Id"])
	}
	s := must[jetstream.Stream](t)(w.js.Stream(w.ctx, "CV_DEAD"))
	m := must[*jetstream.RawStreamMsg](t)(s.GetLastMsgForSubject(w.ctx, "cv.dead.delete.seq-9"))
	if !bytes.Equal(m.Data, letter.Message.Body) {
		t.Fatalf("body is %q", m.Data)
	}
	for name, want := range map[string]string{
		"Cv-Original-Nats-Msg-Id": "used", "ce-id": "a", "Cv-Original-Nats-Expected-Stream": "CV_COMMANDS", "Cv-Original-nats-ttl": "1s", "Cv-Original-Nats-Rollup": "all",
		"odd_name": "x", "Cv-Original-Cv-Write": "theirs", "Status": "503", "Cv-Error-Code": "invalid_command", "Cv-Attempts": "3", "Cv-Time": "2026-01-02T03:04:05.000000006Z",
	} {
		if got := m.Header[name]; len(got) == 0 || got[0] != want {
			t.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
	text := m.Header.Get("Cv-Error")
	if !strings.HasPrefix(text, "line one  Nats-Rollup: all") || len(text) > maxErrorHeaderBytes+3 {
		t.Errorf("Cv-Error has %d bytes: %.60q", len(text), text)
	}
	if got := m.Header["ce-id"]; len(got) != 2 {
		t.Errorf("ce-id is %q", got)
	}
}

// A body as long as the server lets it be leaves no room for the headers.
func TestDeadLetterOfAHugeMessage(t *testing.T) {
	w := newWorld(t)
	letter := contract.DeadLetter{ID: "x", Action: contract.ActionExport, Message: contract.Message{Body: make([]byte, w.nc.MaxPayload())}}
	ok(t, w.q.PublishDead(w.ctx, letter))
	s := must[jetstream.Stream](t)(w.js.Stream(w.ctx, "CV_DEAD"))
	m := must[*jetstream.RawStreamMsg](t)(s.GetLastMsgForSubject(w.ctx, "cv.dead.export.x"))
	if len(m.Data) != 0 || m.Header.Get("Cv-Truncated") != "1048576" {
		t.Fatalf("%d bytes, truncated %q", len(m.Data), m.Header.Get("Cv-Truncated"))
	}
	// The largest command that its stream takes has room.
	letter.ID, letter.Message.Body = "y", make([]byte, maxCommandBytes)
	letter.Error.Message = strings.Repeat("x", 2*maxErrorHeaderBytes)
	ok(t, w.q.PublishDead(w.ctx, letter))
	m = must[*jetstream.RawStreamMsg](t)(s.GetLastMsgForSubject(w.ctx, "cv.dead.export.y"))
	if len(m.Data) != maxCommandBytes {
		t.Fatalf("%d bytes", len(m.Data))
	}
}
