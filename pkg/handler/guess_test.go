package handler_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// wordOf is what could be a digest, or the salt of one.
var wordOf = regexp.MustCompile(`[A-Za-z0-9:_-]+`)

// confirms is the digest, among all that a text has, that tells a reader who has only the text
// that a guess is right: the SHA-256 of the guessed data, alone or after anything that the text
// has.
func confirms(text string, guesses ...[]byte) string {
	digests, salts := map[string]bool{}, map[string]bool{"": true}
	for _, t := range wordOf.FindAllString(text, -1) {
		if len(t) == 2*sha256.Size {
			digests[t] = true
		}
		salts[t] = true
	}
	for salt := range salts {
		for _, guess := range guesses {
			for _, between := range []string{"", ".", ":", "\n"} {
				sum := sha256.Sum256([]byte(salt + between + string(guess)))
				if d := hex.EncodeToString(sum[:]); digests[d] {
					return d
				}
			}
		}
	}
	return ""
}

// TestNoGuessIsConfirmed tries guesses of a metadata value as a reader would who has the bundles,
// the bucket, or all that passes through NATS but the commands themselves and CV_SECRETS. The right
// guess is among them, and nothing tells so.
func TestNoGuessIsConfirmed(t *testing.T) {
	t.Parallel()
	const data = `{"all_projects":true,"image_metadata":{"subject":"Jane Doe"}%s}`
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	heard := w.recordMessages(t)
	w.api.AddProject(cvtest.ProjectSpec{
		Tags: []string{"visitor"}, Images: 2, ImageBytes: cvtest.Tiny,
		Metadata: func(int) map[string]string { return map[string]string{"subject": "Jane Doe"} },
	})
	r := w.start(t, replicaOptions{configure: noWait})
	// The working objects are seen while a call of each command waits.
	var working []map[string][]byte
	look := func() { working = append(working, w.fetch(t, "")) }
	w.before("DeleteImages", 1, look)
	if e := w.run(t, "cmd-1", fmt.Sprintf(data, "")); e.Status != contract.StatusCompleted || e.Counts.Images != 2 {
		t.Fatalf("ended %s %+v: %v", e.Status, e.Counts, e.Error)
	}
	if e := w.delete(t, "cmd-2", fmt.Sprintf(data, `,"export_first":true`)); e.Status != contract.StatusCompleted || e.Counts.Images != 2 {
		t.Fatalf("ended %s %+v: %v", e.Status, e.Counts, e.Error)
	}
	r.stop()
	look()

	var guesses [][]byte
	for _, c := range []struct{ action, rest string }{{"export", ""}, {"delete", `,"export_first":true`}} {
		command, err := contract.DecodeCommand("cv", contract.Message{
			Subject: "cv.commands." + c.action, Header: map[string][]string{contract.HeaderMsgID: {"cmd"}}, Body: fmt.Appendf(nil, data, c.rest),
		})
		if err != nil {
			t.Fatal(err)
		}
		guesses = append(guesses, command.Canonical(), command.AsExport().Canonical(), []byte("Jane Doe"), []byte(`{"subject":"Jane Doe"}`))
	}
	seen := map[string]bool{}
	for _, objects := range working {
		for name, content := range objects {
			seen[name[strings.Index(name, "/")+1:]] = true
			if d := confirms(string(content), guesses...); d != "" {
				t.Errorf("%s confirms a guess by %s", name, d)
			}
		}
	}
	for _, name := range []string{".work/owner.json", "export/evidence/request.json", "delete/evidence/request.json", "delete/evidence/plan.json", "delete/receipt.json"} {
		if !seen[name] {
			t.Errorf("%s was not looked at", name)
		}
	}
	heard.mu.Lock()
	defer heard.mu.Unlock()
	for _, m := range heard.messages {
		stream := strings.Join(strings.Split(m.Subject, ".")[:2], ".")
		seen[stream] = true
		if d := confirms(string(m.Data)+m.Subject, guesses...); d != "" && stream != "cv.commands" {
			t.Errorf("%s confirms a guess by %s", m.Subject, d)
		}
	}
	for _, stream := range []string{"$KV.CV_JOBS", "cv.work", "cv.ledger", "cv.events"} {
		if !seen[stream] {
			t.Errorf("no message of %s was looked at", stream)
		}
	}
}

// TestMetadataCommandAfterTraces publishes a command with metadata values again after its traces
// were forgotten: the bundle tells, to another replica, whether it is the same, as long as the key
// of its digest is there.
func TestMetadataCommandAfterTraces(t *testing.T) {
	t.Parallel()
	const data, other = `{"all_projects":true,"image_metadata":{"subject":"Jane Doe"}}`, `{"all_projects":true,"image_metadata":{"subject":"John Doe"}}`
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	w.project("one")
	under := func(key string) replicaOptions {
		return replicaOptions{configure: func(c *handler.Config) { c.Pseudonym = *contract.NewPseudonymizer([]byte(key)) }}
	}
	r := w.start(t, under("first"))
	first := w.run(t, "exp-1", data)
	if first.Status != contract.StatusCompleted {
		t.Fatalf("ended %s: %v", first.Status, first.Error)
	}
	for _, c := range []struct {
		key, data string
		same      bool
	}{{"first", other, false}, {"second", data, false}, {"first", data, true}} {
		r.stop()
		if err := w.queue.Forget(t.Context(), "exp-1"); err != nil {
			t.Fatal(err)
		}
		r = w.start(t, under(c.key))
		e := w.run(t, "exp-1", c.data)
		if same := e.Status == contract.StatusCompleted && e.Bundle.ReceiptSHA256 == first.Bundle.ReceiptSHA256; same != c.same {
			t.Errorf("%s under the %s key: ended %s: %v", c.data, c.key, e.Status, e.Error)
		} else if !same && (e.Status != contract.StatusRefused || e.Error.Code != contract.CodeIDConflict) {
			t.Errorf("%s under the %s key: ended %s: %v", c.data, c.key, e.Status, e.Error)
		}
	}
	w.bag(t, "exp-1", sink.ExportBag)
}

// TestPseudonymKeyReplacedUnderWay kills a replica in the middle of a command with metadata values,
// and has another one with another key go on: the message is the same, and so is the command.
func TestPseudonymKeyReplacedUnderWay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		action contract.Action
		at     string
	}{
		"reading":             {contract.ActionExport, "PutObject cmd/.work/units/000001.list#1"},
		"an export is sealed": {contract.ActionExport, "PutObject cmd/export/receipt.json#1"},
		"deleting":            {contract.ActionDelete, "PutObject cmd/.work/delete-cut.json#1"},
		"a delete is sealed":  {contract.ActionDelete, "PutObject cmd/delete/receipt.json#1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}, ackWait: redelivery})
			w.api.AddProject(cvtest.ProjectSpec{
				Tags: []string{"visitor"}, Images: 2, Untagged: 1, ImageBytes: cvtest.Tiny,
				Metadata: func(int) map[string]string { return map[string]string{"subject": "Jane Doe"} },
			})
			under := func(key string, f *fate) replicaOptions {
				return replicaOptions{fate: f, configure: func(c *handler.Config) {
					noWait(c)
					c.Pseudonym = *contract.NewPseudonymizer([]byte(key))
				}}
			}
			f := newFate(c.at, true)
			r := w.start(t, under("first", f))
			h := w.publish(t, c.action, "cmd", `{"all_projects":true,"image_metadata":{"subject":"Jane Doe"}}`)
			select {
			case <-f.died:
			case <-h.terminal:
				t.Fatalf("the replica did not die: %s", f.effects)
			}
			r.stop()
			sealed := w.fetch(t, "cmd/")[string(c.action)+"/receipt.json"]
			w.start(t, under("second", nil))
			if e := w.wait(t, h); e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete || e.Counts.Images != 3 {
				t.Errorf("ended %s %s %+v: %v", e.Status, e.Outcome, e.Counts, e.Error)
			}
			if now := w.fetch(t, "cmd/")[string(c.action)+"/receipt.json"]; len(sealed) > 0 && string(now) != string(sealed) {
				t.Error("a receipt that was stored is another one now")
			}
		})
	}
}
