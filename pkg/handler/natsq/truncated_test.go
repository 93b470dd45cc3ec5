package natsq

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// TestWhatIsKeptOfAMessage holds how much a dead letter has of a message: of a command all that
// fits, of what never was a command the beginning of the body and the headers that say what it is.
func TestWhatIsKeptOfAMessage(t *testing.T) {
	w := newWorld(t)
	big := bytes.Repeat([]byte("x"), 500_000)
	many := map[string][]string{"Nats-Msg-Id": {"the-id"}, "ce-source": {"/somewhere"}}
	for i := range 4_000 {
		many[fmt.Sprintf("Nats-%d", i)] = []string{"v"}
	}
	for _, c := range []struct {
		name, code    string
		header        map[string][]string
		body          []byte
		kept          int    // bytes of the body
		missing       string // part of what is said to be missing
		leastStored   int
		mostStored    int
		keepsAllNames bool
	}{
		{"a command", contract.CodeExhausted, map[string][]string{"Nats-Msg-Id": {"the-id"}}, big, len(big), "", 500_000, 501_000, true},
		{"a command with large headers", contract.CodeExhausted, map[string][]string{"Nats-Msg-Id": {"the-id"}, "X": {strings.Repeat("h", 55_000)}}, []byte("{}"), 2, "", 55_000, 56_000, true},
		{"a command with many headers", contract.CodeExhausted, many, []byte("{}"), 2, "bytes of its headers were not kept", 40_000, 60_000, false},
		{"no command", contract.CodeInvalidCommand, map[string][]string{"Nats-Msg-Id": {"the-id"}}, big, 64 << 10, "of its payload of 500000 bytes the first 65536 are kept", 64 << 10, 70_000, true},
		{"a small one", contract.CodeInvalidCommand, map[string][]string{"Nats-Msg-Id": {"the-id"}}, []byte("x"), 1, "", 1, 2000, true},
		{"one with an id that is taken", contract.CodeIDConflict, map[string][]string{"Nats-Msg-Id": {"the-id"}}, big, 64 << 10, "the first 65536", 64 << 10, 70_000, true},
		{"one with a large header", contract.CodeInvalidCommand, map[string][]string{"Nats-Msg-Id": {"the-id"}, "A": {strings.Repeat("h", 55_000)}}, []byte("x"), 1, "55005 bytes of its headers were not kept", 1, 2000, false},
		{"one with many headers", contract.CodeInvalidCommand, many, nil, 0, "bytes of its headers were not kept", 1, 40_000, false},
		{"one whose id is large", contract.CodeInvalidCommand, map[string][]string{"Nats-Msg-Id": {strings.Repeat("h", 55_000)}}, big, 64 << 10, "and 55015 bytes of its headers were not kept", 64 << 10, 70_000, false},
	} {
		id := strings.ReplaceAll(c.name, " ", "-")
		before := w.bytes(t, "CV_DEAD")
		ok(t, w.q.PublishDead(w.ctx, contract.DeadLetter{
			ID: id, Action: contract.ActionExport, Error: contract.Error{Code: c.code, Message: strings.Repeat("why ", 100_000)},
			Message: contract.Message{Header: c.header, Body: c.body},
		}))
		stored := int(w.bytes(t, "CV_DEAD")-before) - len("cv.dead.export."+id) - maxErrorHeaderBytes
		if stored < c.leastStored || stored > c.mostStored {
			t.Errorf("%s: stored as %d bytes, not %d to %d", c.name, stored, c.leastStored, c.mostStored)
		}
		d := must[contract.DeadLetter](t)(w.q.DeadLetter(w.ctx, id))
		if !bytes.HasPrefix(c.body, d.Message.Body) || len(d.Message.Body) != c.kept {
			t.Errorf("%s: %d bytes are kept, not %d", c.name, len(d.Message.Body), c.kept)
		}
		if !strings.Contains(d.Missing, c.missing) || (d.Missing == "") != (c.missing == "") {
			t.Errorf("%s: missing is %q, not %q", c.name, d.Missing, c.missing)
		}
		if c.keepsAllNames && len(d.Message.Header) != len(c.header) {
			t.Errorf("%s: %d of %d headers are kept", c.name, len(d.Message.Header), len(c.header))
		}
		if given := c.header["Nats-Msg-Id"]; len(given[0]) < 100 && d.Message.Header["Nats-Msg-Id"][0] != given[0] {
			t.Errorf("%s: the id is not kept", c.name)
		}
	}
}
