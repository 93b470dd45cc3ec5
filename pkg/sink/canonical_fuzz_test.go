package sink_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// FuzzCanonicalJSON holds canonical JSON against encoding/json: it takes the same texts, but for
// numbers that no float64 can be, and says the same.
func FuzzCanonicalJSON(f *testing.F) {
	for _, text := range []string{
		`{"b":1,"a":[true,null,false,"x"],"":{}}`, `{"a":1,"a":2}`, `{"a":{"a":1},"\u0061":3}`, " [ 1 , 2 ] ", `[]`, `{}`, `[[],{}]`, `"\ud800"`, "\"\xff\"", `"\u2028<>&"`,
		`-0`, `1e5`, `1e999`, `0.1`, `12345678901234567890`, `1 2`, `{"a":}`, ``, ` `, `{"a" : 1 , "b":2}`, "{\"\xff\":1,\"\ufffd\":2}", `{"😀":1,"ﬀ":2}`, `[12345678901234567890]`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		out, err := sink.CanonicalJSON(json.RawMessage(text))
		want, wrong := decoded(text)
		if wrong != nil {
			if err == nil {
				t.Fatalf("%q is no JSON (%v), and became %s", text, wrong, out)
			}
			return
		}
		if err != nil {
			if !strings.Contains(err.Error(), "strconv.ParseFloat") {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		sorted, err := json.Marshal(want) // its keys are in the order of their bytes
		if err != nil {
			t.Fatal(err)
		}
		got, err := decoded(string(out))
		if err != nil || !reflect.DeepEqual(numbersAsFloats(got), numbersAsFloats(want)) {
			t.Fatalf("%q became %s, %v", text, out, err)
		}
		if again, err := sink.CanonicalJSON(json.RawMessage(out)); err != nil || string(again) != string(out) {
			t.Fatalf("%s became %s, %v", out, again, err)
		}
		if again, err := sink.CanonicalJSON(json.RawMessage(sorted)); err != nil || string(again) != string(out) {
			t.Fatalf("%s became %s, and in another order %s, %v", text, out, again, err)
		}
	})
}

func decoded(text string) (v any, err error) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if !json.Valid([]byte(text)) {
		return nil, json.Unmarshal([]byte(text), &v)
	}
	return v, dec.Decode(&v)
}

// numbersAsFloats is a value with its numbers as encoding/json reads them, so that 1.0 is 1.
func numbersAsFloats(v any) any {
	switch v := v.(type) {
	case json.Number:
		f, _ := v.Float64()
		if f == 0 {
			return 0.0 // and not -0
		}
		return f
	case []any:
		for i := range v {
			v[i] = numbersAsFloats(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = numbersAsFloats(v[name])
		}
	}
	return v
}
