package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

// TestReplayOfWhatIsNotWhole holds that a dead letter which does not have the whole message is
// shown as such, and not replayed: the replay would be another command.
func TestReplayOfWhatIsNotWhole(t *testing.T) {
	server := natstest.NewWith(t, natstest.Options{Addr: "127.0.0.1:0"})
	q, err := natsq.Open(t.Context(), server.Dial(t), natsq.Options{Provision: true, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	images := make([]string, 5000)
	for i := range images {
		images[i] = `"` + uuid.NewString() + `"`
	}
	body := fmt.Appendf(nil, `{"project_ids":["%s"],"image_ids":[%s]}`, uuid.NewString(), strings.Join(images, ","))
	err = q.PublishDead(t.Context(), contract.DeadLetter{
		ID: "seq-7", GivenID: "taken", Action: contract.ActionExport, Error: contract.Error{Code: contract.CodeIDConflict},
		Message: contract.Message{Subject: "cv.commands.export", Header: map[string][]string{contract.HeaderMsgID: {"taken"}}, Body: body},
	})
	if err != nil {
		t.Fatal(err)
	}
	says := fmt.Sprintf("of its payload of %d bytes the first 65536 are kept", len(body))
	for _, c := range []struct {
		code int
		args []string
	}{
		{exitDone, []string{"dead", "show", "seq-7"}},
		{exitDone, []string{"dead", "show", "seq-7", "-o", "json"}},
		{exitCommand, []string{"dead", "replay", "seq-7"}},
	} {
		var out bytes.Buffer
		if code := run(t.Context(), append(c.args, "--nats-url", server.URL()), nil, nil, &out, &out); code != c.code || !strings.Contains(out.String(), says) {
			t.Errorf("%q exits %d and says %s", c.args, code, &out)
		}
	}
}
