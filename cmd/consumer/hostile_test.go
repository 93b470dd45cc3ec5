package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// hostile is text that clears a terminal, writes lines of its own, turns the direction of text and
// looks like markup. It stands in every field that a customer or a requester controls.
const hostile = "x\x1b[2J\u009b1m\x07\x7f\r\n  signature    ok\u2028\u202e\u2066<script>\"'`%s"

// hostileNames is the members of the API whose text the customer chooses.
var hostileNames = []string{"name", "description", "tagName", "publishName", "originalPublishResourceId"}

// makeHostile appends hostile text to what the customer chooses in an answer of the service.
func makeHostile(body []byte) []byte {
	var v any
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if dec.Decode(&v) != nil {
		return body
	}
	b, err := json.Marshal(hostileIn(v))
	if err != nil {
		panic(err)
	}
	return b
}

func hostileIn(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = hostileIn(v[i])
		}
	case map[string]any:
		for name, value := range v {
			switch text, isText := value.(string); {
			case isText && slices.Contains(hostileNames, name):
				v[name] = text + hostile
			case name == "metadata" && value != nil:
				v[name] = map[string]any{"subject" + hostile: "person" + hostile}
			default:
				v[name] = hostileIn(value)
			}
			if settings, ok := value.(map[string]any); ok && name == "settings" {
				settings["note"+hostile] = hostile
			}
		}
	}
	return v
}

// quoted is a text as JSON.
func quoted(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// raw is what of a text controls a terminal or the direction of text; line ends and tabs that the
// program prints itself are not.
func raw(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
}

// Hostile text in every field that a customer or a requester controls ends in bundles that verify,
// and in output without a raw control character: of verify, of jobs, of dead letters, of the log
// for people, and in events.
func TestHostileTextIsPrintedNowhereRaw(t *testing.T) {
	t.Parallel()
	f := newFixture(t, cvtest.Options{Seed: 7})
	f.logs = func(w *lockedBuffer) zerolog.Logger {
		return newLogger(w, logConfig{Level: zerolog.DebugLevel, Console: true})
	}
	for _, kind := range []cvtest.Kind{cvtest.Detection, cvtest.Multilabel} {
		f.vision.AddProject(cvtest.ProjectSpec{
			Name: "p", Description: "d", Kind: kind, Compact: true, Tags: []string{"a", "b"}, NegativeTag: "n", Images: 3, Untagged: 1, ImageBytes: cvtest.Tiny, Predictions: 2,
			Iterations: []cvtest.IterationSpec{{Name: "i", Published: true, Exports: []cvtest.ExportSpec{{Platform: "CoreML"}}}, {Untrained: true}},
			Metadata:   func(int) map[string]string { return map[string]string{"k": "v"} },
		})
	}
	whole := f.vision.AddProject(cvtest.ProjectSpec{Name: "w", Images: 2, ImageBytes: cvtest.Tiny, Metadata: func(int) map[string]string { return map[string]string{"k": "v"} }})
	everywhere := cvtest.Fault{Times: -1, Rewrite: makeHostile}
	f.vision.Fault(everywhere)
	r := f.start(t)
	r.await("all is well", isReady)
	conn := f.nats.Dial(t)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	events, err := js.Stream(t.Context(), "CV_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	// send publishes a command as a CloudEvent, and gives the answer to it.
	send := func(action, id, data string) contract.EventData {
		t.Helper()
		event := fmt.Sprintf(`{"specversion":"1.0","id":%s,"source":%s,"type":"cv.%s.requested","traceparent":%s,"tracestate":%s,"subject":%[4]s,"data":%[6]s}`,
			quoted(id), quoted("urn:desk"+hostile), action, quoted(hostile), quoted(hostile), data)
		ack, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "cv.commands." + action, Header: nats.Header{"Content-Type": {"application/cloudevents+json"}}, Data: []byte(event)})
		if err != nil {
			t.Fatal(err)
		}
		sub, err := events.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		for {
			m, err := sub.Next(jetstream.FetchMaxWait(limit))
			if err != nil {
				t.Fatalf("%s: %v\n%s", id, err, f.log)
			}
			var e contract.Event
			if err := json.Unmarshal(m.Data(), &e); err != nil {
				t.Fatal(err)
			}
			if e.Data.Seq == ack.Sequence && e.Data.Status.Terminal() {
				return e.Data
			}
		}
	}
	reference := `"reference":` + quoted(`<b>"case" 'x' \ %s ${x} `+"`id`")
	project := `"project_ids":["` + whole.ID.String() + `"]`
	metadata := `"image_metadata":[{` + quoted("subject"+hostile) + `:` + quoted("person"+hostile) + `},{"nobody":` + quoted(hostile) + `}]`
	for _, c := range []struct {
		action, id, data string
		fault            *cvtest.Fault
		status           contract.Status
		bags             []string
	}{
		{"export", "all", `{"all_projects":true,` + reference + `}`, nil, contract.StatusCompleted, []string{"export"}},
		{"export", "person", `{"all_projects":true,` + metadata + `}`, nil, contract.StatusCompleted, []string{"export"}},
		{
			"export", "refusing", `{"all_projects":true}`,
			&cvtest.Fault{Operation: "GetIterationPerformance", Times: -1, Status: 400, Body: `{"code":` + quoted("Bad"+hostile) + `,"message":` + quoted(hostile) + `}`}, contract.StatusCompleted, []string{"export"},
		},
		{
			"export", "failing", `{"all_projects":true}`,
			&cvtest.Fault{Operation: "GetProjects", Times: -1, Status: 400, Body: `{"code":"BadRequest","message":` + quoted(hostile) + `}`}, contract.StatusFailed, nil,
		},
		{
			"export", "waiting", `{` + project + `}`,
			&cvtest.Fault{Operation: "GetProject", Times: 2, Status: 401, Body: `{"error":{"code":` + quoted("401"+hostile) + `,"message":` + quoted(hostile) + `}}`}, contract.StatusCompleted, []string{"export"},
		},
		{"export", "field", `{"all_projects":true,` + quoted("field"+hostile) + `:1}`, nil, contract.StatusRefused, nil},
		{"export", "referring", `{"all_projects":true,"reference":` + quoted(hostile) + `}`, nil, contract.StatusRefused, nil},
		{"export", "resource", `{"all_projects":true,"resource":` + quoted(hostile) + `}`, nil, contract.StatusRefused, nil},
		{"export", "category", `{"all_projects":true,"categories":[` + quoted(hostile) + `]}`, nil, contract.StatusRefused, nil},
		{"export", "id" + hostile, `{"all_projects":true}`, nil, contract.StatusRefused, nil},
		{"delete", "approved", `{` + project + `,"approved_plan":` + quoted(hostile) + `}`, nil, contract.StatusRefused, nil},
		{"delete", "expecting", `{` + project + `,"expect":{"project_name":` + quoted(hostile) + `}}`, nil, contract.StatusRefused, nil},
		{"delete", "plan", `{"all_projects":true,"dry_run":true,"unpublish":true,` + metadata + `}`, nil, contract.StatusCompleted, []string{"delete"}},
		{"delete", "person-gone", `{"all_projects":true,"export_first":true,"unpublish":true,` + metadata + `,` + reference + `}`, nil, contract.StatusCompleted, []string{"export", "delete"}},
		{"delete", "gone", `{` + project + `,"expect":{"project_name":` + quoted("w"+hostile) + `}}`, nil, contract.StatusCompleted, []string{"delete"}},
		{"cancel", "stop", `{"id":"nobody` + `","` + `x":` + quoted(hostile) + `}`, nil, contract.StatusRefused, nil},
	} {
		if c.fault != nil {
			f.vision.ClearFaults()
			f.vision.Fault(*c.fault)
			f.vision.Fault(everywhere)
		}
		if e := send(c.action, c.id, c.data); e.Status != c.status {
			t.Errorf("%q ended %s %s: %v", c.id, e.Status, e.Outcome, e.Error)
		}
		if c.fault != nil {
			f.vision.ClearFaults()
			f.vision.Fault(everywhere)
		}
		for _, bag := range c.bags {
			where := "s3://" + f.config.Bucket + "/" + c.id + "/" + bag + "/"
			f.printsNothingRaw(t, exitDone, "verify", where)
			f.printsNothingRaw(t, exitDone, "verify", "-o", "json", where)
			dir := filepath.Join(t.TempDir(), c.id+bag)
			if err := sinktest.Fetch(t.Context(), f.store.Client(), f.config.Bucket, c.id+"/"+bag+"/", dir); err != nil {
				t.Fatal(err)
			}
			f.printsNothingRaw(t, exitDone, "verify", dir)
		}
	}

	for _, list := range []string{"jobs", "dead"} {
		f.printsNothingRaw(t, exitDone, list, "ls")
		text := f.printsNothingRaw(t, exitDone, list, "ls", "-o", "json")
		var entries []struct{ ID, Action string }
		if err := json.Unmarshal([]byte(text), &entries); err != nil || len(entries) < 5 {
			t.Errorf("%s ls: %d entries, %v", list, len(entries), err)
		}
		for _, e := range entries {
			key := e.ID
			if e.Action == "cancel" && list == "jobs" {
				key = "cancel." + e.ID
			}
			f.printsNothingRaw(t, exitDone, list, "show", key)
			f.printsNothingRaw(t, exitDone, list, "show", "-o", "json", key)
			if list == "dead" {
				f.printsNothingRaw(t, exitDone, list, "show", "--payload", key)
				continue
			}
			f.printsNothingRaw(t, -1, list, "watch", "--known", key)
			f.printsNothingRaw(t, -1, list, "watch", "--known", "-o", "json", key)
		}
	}
	for _, path := range []string{"/metrics", "/readyz"} { // nothing of a customer, values of metadata least of all
		if page := r.page(t, path); raw(page) != "" || strings.Contains(page, "person") || strings.Contains(page, "<script") {
			t.Errorf("%s is\n%s", path, page)
		}
	}
	r.end()
	info, err := events.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		m, err := events.GetMsg(t.Context(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) { // of a subject that has a later one
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if found := raw(string(m.Data)); found != "" {
			t.Errorf("the event %s has %q: %q", m.Subject, found, m.Data)
		}
	}
	for line := range strings.Lines(f.log.String()) {
		if found := raw(line); found != "" || strings.HasPrefix(line, "  signature") {
			t.Errorf("the log has %q in %q", found, line)
		}
	}
}

// printsNothingRaw runs a command that must end with an exit code (-1: any), and gives what it
// prints to its standard output.
func (f *fixture) printsNothingRaw(t *testing.T, exit int, args ...string) string {
	t.Helper()
	code, out, errs := f.command(t, args...)
	if exit >= 0 && code != exit {
		t.Errorf("%q exits %d\n%s%s", args, code, out, errs)
	}
	for line := range strings.Lines(out + errs) {
		if found := raw(line); found != "" || strings.HasPrefix(strings.TrimSpace(line), "signature") && !strings.Contains(line, "none: the receipt is unsigned") {
			t.Errorf("%q prints %q in %q", args, found, line)
		}
	}
	return out
}
