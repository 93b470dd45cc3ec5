package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract/schema"
)

// compiled compiles each published schema once.
var compiled = sync.OnceValues(func() (map[string]*jsonschema.Schema, error) {
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for id, raw := range map[string][]byte{schema.CommandID: schema.Command(), schema.EventID: schema.Event(), schema.JobID: schema.Job()} {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			return nil, err
		}
		if err := c.AddResource(id, doc); err != nil {
			return nil, err
		}
	}
	all := map[string]*jsonschema.Schema{}
	for _, id := range []string{
		schema.CommandID, schema.CommandID + "#/$defs/export", schema.CommandID + "#/$defs/delete", schema.CommandID + "#/$defs/cancel", schema.EventID, schema.JobID,
	} {
		s, err := c.Compile(id)
		if err != nil {
			return nil, err
		}
		all[id] = s
	}
	return all, nil
})

// fataler is what testing.T and rapid.T have in common here.
type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

func contractSchema(t fataler, id string) *jsonschema.Schema {
	t.Helper()
	all, err := compiled()
	if err != nil {
		t.Fatalf("compile schemas: %v", err)
	}
	return all[id]
}

func schemaValue(t fataler, raw []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return v
}

// schemaAccepts tells what the schema of an action says to data.
func schemaAccepts(t fataler, action string, data []byte) error {
	t.Helper()
	return contractSchema(t, schema.CommandID+"#/$defs/"+action).Validate(schemaValue(t, data))
}

// beyondSchema reports whether d is wrong in a way no schema can say.
func beyondSchema(d badData) bool {
	for _, s := range []string{" twice", " surrogate", " too large", " of itself"} {
		if strings.Contains(d.name, s) {
			return true
		}
	}
	for _, s := range []string{`"a":"b","a":`, `"a":"b","\u0061":`, `"max_images":1,"max_images"`, `"max_images":1e2`, "9999-12-31T23:59:59-01:00"} {
		if strings.Contains(d.data, s) {
			return true
		}
	}
	return false
}

func TestSchemaRefusesWhatTheDecoderRefuses(t *testing.T) {
	checked := 0
	for _, d := range allBadData() {
		if d.broken || beyondSchema(d) {
			continue
		}
		checked++
		if schemaAccepts(t, d.action, []byte(d.data)) == nil {
			t.Errorf("%s: the schema accepts %.300s", d.name, d.data)
		}
	}
	if checked < 300 {
		t.Errorf("only %d commands are within what the schema can say", checked)
	}
}

func TestSchemaAcceptsWhatTheDecoderAccepts(t *testing.T) {
	for _, action := range []string{"export", "delete", "cancel"} {
		for _, f := range dataFields() {
			if !slices.Contains(f.of, Action(action)) {
				continue
			}
			data := around(action, f.name, validValue(f.name))
			if err := schemaAccepts(t, action, []byte(data)); err != nil {
				t.Errorf("%s %s: %v", action, data, err)
			}
			if err := contractSchema(t, schema.CommandID).Validate(schemaValue(t, []byte(data))); err != nil {
				t.Errorf("%s %s: the schema of all commands: %v", action, data, err)
			}
			if err := schemaAccepts(t, action, decodePlain(t, action, data).Canonical()); err != nil {
				t.Errorf("%s %s: the canonical form: %v", action, data, err)
			}
		}
	}
	for _, m := range notDeletable() {
		c, err := DecodeCommand("cv", Message{Subject: m.Subject, Header: m.Headers, Body: m.Body})
		if err != nil {
			t.Fatal(err)
		}
		if err := schemaAccepts(t, "delete", c.Canonical()); err != nil {
			t.Errorf("%s: %v", c.Canonical(), err)
		}
	}
}

// TestSchemaAndDecoderAgree draws commands field by field, good values and bad, and asks both.
func TestSchemaAndDecoderAgree(t *testing.T) {
	accepted, refused := 0, 0
	rapid.Check(t, func(r *rapid.T) {
		action := rapid.SampledFrom([]string{"export", "export", "delete", "delete", "delete", "cancel"}).Draw(r, "action")
		members := map[string]string{}
		bad := rapid.IntRange(0, 3).Draw(r, "bad") == 0
		// Most commands begin as ones that can be accepted, else hardly any would be.
		if action != "cancel" && rapid.IntRange(0, 4).Draw(r, "begin") > 0 {
			members["project_ids"] = validValue("project_ids")
			switch rapid.IntRange(0, 5).Draw(r, "selection") {
			case 0:
				delete(members, "project_ids")
				members["all_projects"] = "true"
			case 1, 2:
				n := rapid.SampledFrom([]string{"iteration_ids", "tag_ids", "image_ids", "image_metadata"}).Draw(r, "narrowing")
				members[n] = validValue(n)
			}
		}
		for _, f := range dataFields() {
			ofAction := slices.Contains(f.of, Action(action))
			selects := slices.Contains([]string{"all_projects", "project_ids", "iteration_ids", "tag_ids", "image_ids", "image_metadata"}, f.name)
			odds := 4
			switch {
			case action == "cancel" && ofAction:
				odds = 0
			case !ofAction || selects:
				odds = 30
			}
			if rapid.IntRange(0, odds).Draw(r, "take "+f.name) > 0 {
				continue
			}
			v := validValue(f.name)
			switch kind := kindOf(f.name); {
			case bad && rapid.IntRange(0, 3).Draw(r, "spoil "+f.name) == 0:
				v = rapid.SampledFrom(badValues(kind)).Draw(r, f.name)
			case kind == "bool":
				v = rapid.SampledFrom([]string{"true", "false"}).Draw(r, f.name)
			case kind == "uuids":
				v = rapid.SampledFrom([]string{v, v, strings.ToUpper(v), `["` + p1 + `","` + p2 + `"]`}).Draw(r, f.name)
			case kind == "categories":
				set := rapid.SliceOfN(rapid.SampledFrom(Categories()), 1, 3).Draw(r, f.name)
				raw, err := json.Marshal(set)
				if err != nil {
					r.Fatalf("%v", err)
				}
				v = string(raw)
			case kind == "metadata":
				pairs := rapid.SliceOfN(rapid.MapOfN(rapid.StringN(0, 3, -1), rapid.StringN(0, 3, -1), 0, 3), 0, 3).Draw(r, f.name)
				raw, err := json.Marshal(pairs)
				if err != nil {
					r.Fatalf("%v", err)
				}
				v = string(raw)
			case kind == "line":
				raw, err := json.Marshal(rapid.StringN(0, 20, -1).Draw(r, f.name))
				if err != nil {
					r.Fatalf("%v", err)
				}
				v = string(raw)
			case kind == "time":
				v = fmt.Sprintf(`"%04d-%02d-%02dT%02d:%02d:%02dZ"`, rapid.IntRange(1, 9999).Draw(r, "year"), rapid.IntRange(0, 13).Draw(r, "month"),
					rapid.IntRange(0, 32).Draw(r, "day"), rapid.IntRange(0, 24).Draw(r, "hour"), rapid.IntRange(0, 60).Draw(r, "minute"), rapid.IntRange(0, 60).Draw(r, "second"))
			case kind == "id":
				raw, err := json.Marshal(rapid.StringMatching(`(seq-)?[A-Za-z0-9_.-]{0,10}`).Draw(r, f.name))
				if err != nil {
					r.Fatalf("%v", err)
				}
				v = string(raw)
			}
			members[f.name] = v
		}
		var parts []string
		for _, f := range dataFields() {
			if v, ok := members[f.name]; ok {
				parts = append(parts, fmt.Sprintf("%q:%s", f.name, v))
			}
		}
		data := "{" + strings.Join(parts, ",") + "}"
		if beyondSchema(badData{data: data}) {
			return
		}
		c, err := DecodeCommand("cv", message(action, map[string][]string{"Nats-Msg-Id": {"an-id-nobody-draws"}}, data))
		say := schemaAccepts(r, action, []byte(data))
		if (err == nil) != (say == nil) {
			r.Fatalf("%s of %s\ndecoder: %v\nschema: %v", action, data, err, say)
		}
		if err != nil {
			refused++
			return
		}
		accepted++
		checkStable(r, c)
		if say := schemaAccepts(r, action, c.Canonical()); say != nil {
			r.Fatalf("canonical %s: %v", c.Canonical(), say)
		}
	})
	if accepted == 0 || refused == 0 { // about a fifth is accepted; a bound near that would fail now and then
		t.Errorf("%d accepted and %d refused: the draw is lopsided", accepted, refused)
	}
}

// TestSchemaNamesEveryField says that schema and decoder know the same fields.
func TestSchemaNamesEveryField(t *testing.T) {
	var doc struct {
		Defs map[string]struct {
			Properties map[string]any `json:"properties"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(schema.Command(), &doc); err != nil {
		t.Fatal(err)
	}
	for _, action := range []string{"export", "delete", "cancel"} {
		known := 0
		for _, f := range dataFields() {
			if _, ok := doc.Defs[action].Properties[f.name]; ok != slices.Contains(f.of, Action(action)) {
				t.Errorf("%s of %s: schema %v", f.name, action, ok)
			} else if ok {
				known++
			}
		}
		if n := len(doc.Defs[action].Properties); n != known {
			t.Errorf("the schema of %s has %d fields, the decoder knows %d", action, n, known)
		}
	}
}

// TestSchemaRefusesImpossibleEvents says that the schemas of events and jobs are more than
// decoration.
func TestSchemaRefusesImpossibleEvents(t *testing.T) {
	for name, tt := range map[string]struct {
		golden string
		change func(*Event)
	}{
		"no outcome of a failure":   {"export-failed", func(e *Event) { e.Data.Outcome = OutcomeComplete }},
		"an error of a failure":     {"export-failed", func(e *Event) { e.Data.Error = nil }},
		"no error of a success":     {"export-completed", func(e *Event) { e.Data.Error = &Error{Code: CodeInternal} }},
		"a known code":              {"export-failed", func(e *Event) { e.Data.Error = &Error{Code: "bad_luck"} }},
		"a whole digest":            {"export-completed", func(e *Event) { b := *e.Data.Bundle; b.ManifestSHA256 = sha[:63]; e.Data.Bundle = &b }},
		"a known status":            {"export-completed", func(e *Event) { e.Data.Status = "done" }},
		"progress in progress":      {"export-progress", func(e *Event) { e.Data.Progress = nil }},
		"no progress at the end":    {"export-completed", func(e *Event) { e.Data.Progress = &Progress{} }},
		"a known thing to wait for": {"export-progress-waiting", func(e *Event) { w := *e.Data.Waiting; w.For = "godot"; e.Data.Waiting = &w }},
	} {
		e := goldenEvents()[tt.golden]
		tt.change(&e)
		raw, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if contractSchema(t, schema.EventID).Validate(schemaValue(t, raw)) == nil {
			t.Errorf("%s: accepted %s", name, raw)
		}
	}
	j := goldenJobs()["job-completed"]
	j.Event = nil
	raw, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	if contractSchema(t, schema.JobID).Validate(schemaValue(t, raw)) == nil {
		t.Errorf("a terminal job without its event: accepted %s", raw)
	}
}

// TestSchemaKnowsEveryCode says that every code has its place in the event's schema.
func TestSchemaKnowsEveryCode(t *testing.T) {
	for _, code := range append(RefusalOrder(), CodeTooLate, CodeNotFound, CodeUnverified, CodeExhausted, CodeInternal) {
		e := goldenEvents()["export-failed"]
		e.Data.Error = &Error{Code: code, Message: "x"}
		raw, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := contractSchema(t, schema.EventID).Validate(schemaValue(t, raw)); err != nil {
			t.Errorf("%s: %v", code, err)
		}
	}
}
