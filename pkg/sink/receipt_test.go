package sink_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

func TestCanonicalJSON(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   any
		want string
	}{
		{"sorted, no blanks", json.RawMessage(`{ "b" : 1, "a" : [ true , null ] , "" : {} }`), `{"":{},"a":[true,null],"b":1}`},
		{"keys by UTF-16", json.RawMessage(`{"\ufb33":1,"😀":2,"é":3}`), `{"é":3,"😀":2,"` + "\ufb33" + `":1}`},
		{"fewest escapes", "<&>\u2028\u00e9\"\\\n\x01\x7f/", `"<&>` + "\u2028" + `é\"\\\n\u0001` + "\x7f" + `/"`},
		{"long integer", json.RawMessage(`12345678901234567890`), `12345678901234567890`},
		{"numbers", json.RawMessage(`[1.0,1e2,0.5,-0,-0.0,1e21,1e-7,1E+2,333333333.33333329]`), `[1,100,0.5,0,0,1e+21,1e-7,100,333333333.3333333]`},
		{"struct", struct {
			B int `json:"b"`
			A string
		}{1, "x"}, `{"A":"x","b":1}`},
	} {
		got, err := sink.CanonicalJSON(tc.in)
		if err != nil || string(got) != tc.want {
			t.Errorf("%s: %s, %v, want %s", tc.name, got, err, tc.want)
		}
	}
	for name, in := range map[string]any{"not a number": math.NaN(), "two values": json.RawMessage(`1 2`), "nothing": json.RawMessage(``), "too large": json.RawMessage(`1e999`)} {
		if got, err := sink.CanonicalJSON(in); err == nil {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestCanonicalJSONIsStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.MapOf(rapid.String(), rapid.SliceOf(rapid.Float64Range(-1e300, 1e300))).Draw(t, "v")
		once, err := sink.CanonicalJSON(v)
		if err != nil {
			t.Fatal(err)
		}
		twice, err := sink.CanonicalJSON(json.RawMessage(once))
		if err != nil || string(twice) != string(once) {
			t.Fatalf("%s became %s, %v", once, twice, err)
		}
		var back map[string][]float64
		if err := json.Unmarshal(once, &back); err != nil || len(back) != len(v) {
			t.Fatalf("%s does not read back: %v", once, err)
		}
	})
}

func TestReceipt(t *testing.T) {
	seal := sink.SealedBag{ManifestSHA256: digestA, TagManifestSHA256: strings.Repeat("cd", 32), Objects: 9, PayloadObjects: 3, PayloadBytes: 12}
	r := sink.NewReceipt(sink.ExportPredicateType, seal, sink.Predicate{
		Command:   sink.ReceiptCommand{ID: "req-1", Action: "export", Resource: "default"},
		Scope:     json.RawMessage(`{"z":1,"a":2}`),
		Outcome:   "complete",
		Tool:      sink.ReceiptTool{Name: "cvconsumer", Version: "test"},
		StartedAt: time.Date(2026, 1, 1, 1, 0, 0, 0, time.FixedZone("east", 3600)),
		Ledger:    sink.ReceiptLedger{Entries: 1, Head: digestA},
	})
	b, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"_type":"https://in-toto.io/Statement/v1","predicate":{"bundle":{"objects":9,"payload_bytes":12,"payload_objects":3,"uri":""},` +
		`"command":{"account":"","action":"export","id":"req-1","reference":"","resource":"default","sha256":""},"counts":{},"exceptions":0,"finished_at":"0001-01-01T00:00:00Z",` +
		`"ledger":{"entries":1,"head":"` + digestA + `"},"outcome":"complete","residuals":[],"retention":null,"scope":{"a":2,"z":1},"signed":false,"started_at":"2026-01-01T00:00:00Z","timestamp":"none",` +
		`"tool":{"name":"cvconsumer","version":"test"},"v":1,"verification":null},"predicateType":"https://cvconsumer.dev/export/v1",` +
		`"subject":[{"digest":{"sha256":"` + digestA + `"},"name":"manifest-sha256.txt"},{"digest":{"sha256":"` + seal.TagManifestSHA256 + `"},"name":"tagmanifest-sha256.txt"}]}` + "\n"
	if string(b) != want {
		t.Errorf("encoded\n%s want\n%s", b, want)
	}
	back, err := sink.ParseReceipt(b)
	if err != nil || back.Kind() != sink.ExportBag || back.Predicate.Command.ID != "req-1" {
		t.Fatalf("parsed %+v, %v", back, err)
	}
	for name, edit := range map[string][2]string{
		"other type":           {"Statement/v1", "Statement/v2"},
		"other predicate":      {"export/v1", "export/v2"},
		"later version":        {`"v":1`, `"v":2`},
		"no version":           {`"v":1`, `"w":1`},
		"other subject":        {`"manifest-sha256.txt"`, `"manifest-sha512.txt"`},
		"digest of no length":  {seal.TagManifestSHA256, "cd"},
		"no head":              {`"head":"` + digestA, `"head":"`},
		"something behind":     {"]}\n", "]}{}\n"},
		"not JSON":             {"{", "["},
		"a number for a count": {`"counts":{}`, `"counts":{"images":"1"}`},
	} {
		if r, err := sink.ParseReceipt([]byte(strings.Replace(string(b), edit[0], edit[1], 1))); err == nil {
			t.Errorf("%s: parsed %+v", name, r)
		}
	}
	if _, err := sink.NewReceipt("other", seal, sink.Predicate{}).Encode(); err == nil {
		t.Error("a receipt of unknown type was encoded")
	}
}

// What a receipt may say of its signature.
func TestReceiptOfASignature(t *testing.T) {
	id := strings.Repeat("ab", 32)
	for _, c := range []struct {
		says string
		ok   bool
	}{
		{`"signed":true,"key_id":"` + id + `","timestamp":"required"`, true},
		{`"signed":true,"key_id":"` + id + `","timestamp":"optional"`, true},
		{`"signed":true,"key_id":"` + id + `","timestamp":"none"`, true},
		{`"signed":false,"timestamp":"none"`, true},
		{`"signed":true,"key_id":"` + id + `","timestamp":"perhaps"`, false},
		{`"signed":true,"key_id":"` + id + `"`, false},
		{`"signed":true,"timestamp":"none"`, false},
		{`"signed":false,"key_id":"` + id + `","timestamp":"none"`, false},
		{`"signed":false,"timestamp":"required"`, false},
	} {
		r := sink.NewReceipt(sink.ExportPredicateType, sink.SealedBag{ManifestSHA256: id, TagManifestSHA256: id, Objects: 9}, sink.Predicate{Ledger: sink.ReceiptLedger{Head: id}})
		raw, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.Replace(strings.Replace(string(raw), `"signed":false`, c.says, 1), `,"timestamp":"none","tool"`, `,"tool"`, 1)
		if _, err := sink.ParseReceipt([]byte(changed)); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.says, err)
		}
	}
}
