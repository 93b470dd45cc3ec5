package sink_test

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// TestReceiptSchema holds the published schema to golden receipts, and to the fields that receipts
// have.
func TestReceiptSchema(t *testing.T) {
	const id = "urn:cvconsumer:schema:receipt:1"
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(sink.ReceiptSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(id, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(id)
	if err != nil {
		t.Fatal(err)
	}
	golden, err := filepath.Glob("../../testdata/bundles/*/receipt.json")
	if err != nil || len(golden) == 0 {
		t.Fatalf("no receipts: %v", err)
	}
	for _, name := range golden {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range []struct {
			from, to string
			valid    bool
		}{{"", "", true}, {`"v":1`, `"v":2`, false}, {`"retention":null,`, "", false}, {`"name":"manifest-sha256.txt"`, `"name":"other.txt"`, false}} {
			v, err := jsonschema.UnmarshalJSON(strings.NewReader(strings.Replace(string(text), change.from, change.to, 1)))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(v); (err == nil) != change.valid {
				t.Errorf("%s with %q for %q: %v", name, change.to, change.from, err)
			}
		}
	}
	described := doc.(map[string]any)["$defs"].(map[string]any)["predicate"].(map[string]any)["properties"].(map[string]any)
	for _, field := range reflect.VisibleFields(reflect.TypeFor[sink.Predicate]()) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if described[name] == nil {
			t.Errorf("the schema does not describe %s", name)
		}
	}
}
