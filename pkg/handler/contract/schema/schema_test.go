package schema_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract/schema"
)

func documents(t *testing.T) map[string]any {
	t.Helper()
	docs := map[string]any{}
	for name, raw := range map[string][]byte{"command.json": schema.Command(), "event.json": schema.Event(), "job.json": schema.Job()} {
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		docs[name] = v
	}
	var v any
	if err := yaml.UnmarshalWithOptions(schema.AsyncAPI(), &v, yaml.UseJSONUnmarshaler()); err != nil {
		t.Fatalf("asyncapi.yaml: %v", err)
	}
	docs[""] = v
	return docs
}

// byID are the schemas.
func byID() map[string][]byte {
	return map[string][]byte{schema.CommandID: schema.Command(), schema.EventID: schema.Event(), schema.JobID: schema.Job()}
}

// compiler knows all schemas, and demands that each has its id.
func compiler(t *testing.T) *jsonschema.Compiler {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for id, raw := range byID() {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		m, ok := doc.(map[string]any)
		if !ok || m["$id"] != id || m["$schema"] != "https://json-schema.org/draft/2020-12/schema" {
			t.Errorf("%s: $id %v, $schema %v", id, m["$id"], m["$schema"])
		}
		if err := c.AddResource(id, doc); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestSchemasCompile(t *testing.T) {
	c := compiler(t)
	for id := range byID() {
		if _, err := c.Compile(id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// TestAsyncAPIExamples holds the examples of the AsyncAPI document to their messages' schemas.
func TestAsyncAPIExamples(t *testing.T) {
	var doc struct {
		Components struct {
			Messages map[string]struct {
				Payload struct {
					Ref string `yaml:"$ref"`
				}
				Examples []struct {
					Name    string
					Payload any
				}
			}
		}
	}
	if err := yaml.Unmarshal(schema.AsyncAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{"./command.json": schema.CommandID, "./event.json": schema.EventID, "./job.json": schema.JobID}
	c, checked := compiler(t), 0
	for name, m := range doc.Components.Messages {
		if len(m.Examples) == 0 {
			t.Errorf("%s has no example", name)
		}
		file, pointer, _ := strings.Cut(m.Payload.Ref, "#")
		if file == "" {
			continue // any bytes
		}
		s, err := c.Compile(ids[file] + "#" + pointer)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range m.Examples {
			checked++
			raw, err := json.Marshal(e.Payload)
			if err != nil {
				t.Fatal(err)
			}
			v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Validate(v); err != nil {
				t.Errorf("%s, %s: %v", name, e.Name, err)
			}
		}
	}
	if checked < 10 {
		t.Errorf("only %d examples were checked", checked)
	}
}

// TestAsyncAPIRefers says that every reference of the AsyncAPI document leads somewhere.
func TestAsyncAPIRefers(t *testing.T) {
	docs := documents(t)
	refs := 0
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				refs++
				file, pointer, _ := strings.Cut(ref, "#")
				at, ok := docs[strings.TrimPrefix(file, "./")]
				for _, step := range strings.Split(strings.Trim(pointer, "/"), "/") {
					if step == "" || !ok {
						break
					}
					m, _ := at.(map[string]any)
					at, ok = m[step]
				}
				if !ok {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			for _, w := range v {
				walk(w)
			}
		case []any:
			for _, w := range v {
				walk(w)
			}
		}
	}
	walk(docs[""])
	if refs < 20 {
		t.Errorf("only %d references seen", refs)
	}
	m, ok := docs[""].(map[string]any)
	if !ok || m["asyncapi"] != "3.0.0" {
		t.Errorf("asyncapi is %v", m["asyncapi"])
	}
}

// TestSchemasAreCopies says that no caller can change a schema for others.
func TestSchemasAreCopies(t *testing.T) {
	for _, f := range []func() []byte{schema.Command, schema.Event, schema.Job, schema.AsyncAPI} {
		raw := f()
		before := raw[0]
		if raw[0] = 'x'; f()[0] != before {
			t.Error("a schema can be changed")
		}
	}
}
