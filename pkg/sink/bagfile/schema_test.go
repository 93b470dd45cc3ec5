package bagfile_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// object is a schema of an object, as far as the tests look at it.
type object map[string]any

func (o object) at(path ...string) object {
	for _, step := range path {
		o, _ = o[step].(map[string]any)
	}
	return o
}

// compile compiles a schema, and demands its id.
func compile(t *testing.T, id string, text []byte) (*jsonschema.Schema, object) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	root := object(doc.(map[string]any))
	if root["$id"] != id || root["$schema"] != "https://json-schema.org/draft/2020-12/schema" {
		t.Errorf("$id %v, $schema %v", root["$id"], root["$schema"])
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(id, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(id)
	if err != nil {
		t.Fatal(err)
	}
	return s, root
}

// describes demands that a schema's properties are the JSON fields of a type, and that it requires
// those that are always there.
func describes[T any](t *testing.T, s object) {
	t.Helper()
	required := map[string]bool{}
	for _, name := range s["required"].([]any) {
		required[name.(string)] = true
	}
	properties, fields := s.at("properties"), reflect.VisibleFields(reflect.TypeFor[T]())
	for _, f := range fields {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if properties[name] == nil || required[name] == strings.Contains(options, "omitempty") {
			t.Errorf("%T.%s: described %v, required %v", *new(T), f.Name, properties[name] != nil, required[name])
		}
	}
	if len(properties) != len(fields) {
		t.Errorf("%T has %d fields, its schema %d", *new(T), len(fields), len(properties))
	}
}

func TestInventorySchema(t *testing.T) {
	schema, root := compile(t, "urn:cvconsumer:schema:inventory:1", bagfile.InventorySchema())
	describes[bagfile.Inventory](t, root)
	describes[bagfile.InventoryProject](t, root.at("$defs", "project"))
	describes[bagfile.InventoryCategory](t, root.at("$defs", "category"))
	describes[bagfile.Failure](t, root.at("$defs", "failure"))
	golden, err := filepath.Glob("../../../testdata/bundles/*/evidence/inventory.json")
	if err != nil || len(golden) == 0 {
		t.Fatalf("no inventories: %v", err)
	}
	for _, name := range golden {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		validate(t, schema, name, string(text), true)
		validate(t, schema, name, strings.Replace(string(text), `"v":1`, `"v":2`, 1), false)
		if changed := strings.Replace(string(text), `"tags":{`, `"labels":{`, 1); changed != string(text) {
			validate(t, schema, name, changed, false)
		}
	}
}

func TestDeletionSchema(t *testing.T) {
	schema, root := compile(t, "urn:cvconsumer:schema:deletion:1", bagfile.DeletionSchema())
	describes[bagfile.Deletion](t, root)
	describes[bagfile.DeletionProject](t, root.at("properties", "projects", "items"))
	describes[bagfile.BundleRef](t, root.at("properties", "export_bundle"))
	describes[bagfile.Residual](t, root.at("properties", "residuals", "items"))
	describes[bagfile.Counts](t, root.at("$defs", "counts"))
	digest, at := strings.Repeat("a", 64), time.Date(2031, 1, 2, 3, 4, 5, 6, time.UTC)
	text, err := json.Marshal(bagfile.Deletion{
		V: bagfile.Version, ID: "del-1", Method: bagfile.Method, Endpoint: "vision.test", APIVersion: "v3.3", Scope: json.RawMessage(`{}`), Outcome: bagfile.OutcomeComplete, PlanSHA256: digest,
		Projects:     []bagfile.DeletionProject{{ID: uuid.New(), Project: true}},
		ExportBundle: &bagfile.BundleRef{URI: "s3://b/del-1/export/", ManifestSHA256: digest, ReceiptSHA256: digest, RetainUntil: &at},
		Residuals:    []bagfile.Residual{{Category: bagfile.Exports, Reason: "there is no operation"}},
		StartedAt:    at, BegunAt: at, FinishedAt: at, Tool: bagfile.Tool,
	})
	if err != nil {
		t.Fatal(err)
	}
	validate(t, schema, "a deletion", string(text), true)
	const golden = "../../../testdata/bundles/deleted/data/deletion.json"
	written, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	validate(t, schema, golden, string(written), true)
	for _, change := range []struct{ from, to string }{{`"v":1`, `"v":2`}, {digest, "short"}, {`"dry_run":false,`, ""}, {`"outcome":"complete"`, `"outcome":"done"`}, {`"images":0`, `"images":-1`}} {
		validate(t, schema, change.to, strings.Replace(string(text), change.from, change.to, 1), false)
	}
}

func validate(t *testing.T, schema *jsonschema.Schema, what, text string, valid bool) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(v); (err == nil) != valid {
		t.Errorf("%s: %v", what, err)
	}
}
