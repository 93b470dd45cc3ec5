package jsonscan

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestSplicer(t *testing.T) {
	type value struct {
		ID  string          `json:"id"`
		Raw json.RawMessage `json:"raw"`
		Of  string          `json:"of,omitempty"`
	}
	var s Splicer
	for _, raw := range []string{`{}`, `{"raw":null,"a":"<&>"}`, `"\u2028"`, `null`, `17`} {
		for _, v := range []value{{}, {ID: "<1>", Of: `"raw":null`}} {
			var got, want bytes.Buffer
			if err := s.Write(&got, v, "raw", []byte(raw)); err != nil {
				t.Fatal(err)
			}
			v.Raw = json.RawMessage(raw)
			enc := json.NewEncoder(&want)
			enc.SetEscapeHTML(false)
			if err := enc.Encode(v); err != nil {
				t.Fatal(err)
			}
			if got.String() != want.String() {
				t.Errorf("%s, want %s", &got, &want)
			}
		}
	}
	if err := s.Write(new(bytes.Buffer), value{Raw: json.RawMessage("1")}, "raw", nil); err == nil {
		t.Error("nothing was null")
	}
}
