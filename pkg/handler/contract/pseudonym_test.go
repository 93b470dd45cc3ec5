package contract

import (
	"encoding/json"
	"testing"
)

func TestPseudonymizerValue(t *testing.T) {
	p := NewPseudonymizer([]byte("Jefe"))
	// RFC 4231, test case 2: the HMAC-SHA-256 begins 5bdcc146bf60754e.
	if got := p.Value("what do ya want for nothing?"); got != "hmac-sha256:5bdcc146bf60754e" {
		t.Errorf("got %q", got)
	}
	if p.Value("a") == p.Value("b") || p.Value("a") == NewPseudonymizer([]byte("other")).Value("a") {
		t.Error("pseudonyms do not depend on value and key")
	}
	for name, p := range map[string]*Pseudonymizer{"nil": nil, "no key": NewPseudonymizer(nil), "empty key": NewPseudonymizer([]byte{})} {
		if got := p.Value("a"); got != "redacted" {
			t.Errorf("%s: %q", name, got)
		}
	}
	key := []byte("key")
	p = NewPseudonymizer(key)
	before := p.Value("a")
	if key[0] = 'x'; p.Value("a") != before {
		t.Error("the key is shared with the caller")
	}
}

func TestRedact(t *testing.T) {
	c := decodePlain(t, "delete", `{"project_ids":["`+p1+`"],"image_metadata":[{"subject":"what do ya want for nothing?","site":"x"}],"reference":"CASE-17","not_after":"2031-02-03T04:05:06Z","retain_until":"2031-02-03T04:05:06Z","dry_run":true,"approved_plan":"`+sha+`","export_first":true,"export_retain_until":"2031-02-03T04:05:06Z","unpublish":true,"expect":{"project_name":"Forks","max_images":10}}`)
	for name, tt := range map[string]struct {
		p    *Pseudonymizer
		want string
	}{
		"without a key": {nil, `[{"site":"redacted","subject":"redacted"}]`},
		"with a key":    {NewPseudonymizer([]byte("Jefe")), `[{"site":"` + NewPseudonymizer([]byte("Jefe")).Value("x") + `","subject":"hmac-sha256:5bdcc146bf60754e"}]`},
	} {
		raw, err := json.Marshal(tt.p.Redact(c.Data))
		if err != nil {
			t.Fatal(err)
		}
		want := `{"resource":"default","project_ids":["` + p1 + `"],"image_metadata":` + tt.want + `,"categories":["images"],"reference":"CASE-17","not_after":"2031-02-03T04:05:06Z","retain_until":"2031-02-03T04:05:06Z","dry_run":true,"approved_plan":"` + sha + `","export_first":true,"export_retain_until":"2031-02-03T04:05:06Z","unpublish":true,"expect":{"project_name":"Forks","max_images":10}}`
		if string(raw) != want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, raw, want)
		}
	}
	if c.Data.ImageMetadata[0]["site"] != "x" {
		t.Error("redacting changed the command")
	}
}
