package contract

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNotDeletable(t *testing.T) {
	for _, m := range notDeletable() {
		c, err := DecodeCommand("cv", Message{Subject: m.Subject, Header: m.Headers, Body: m.Body, Seq: 17, Time: published})
		if err != nil {
			t.Fatalf("%s: %v", m.Body, err)
		}
		r := NotDeletable(c)
		if r == nil || r.Code != m.Code || r.Field != m.Field || r.ID != c.ID || r.Action != ActionDelete {
			t.Errorf("%s: %+v", m.Body, r)
		}
	}
	for _, tt := range [][2]string{
		{"delete", `{"all_projects":true}`},
		{"delete", `{"all_projects":true,"categories":["iterations","performance","exports"]}`},
		{"delete", `{"all_projects":true,"categories":["exports","predictions"]}`},
		{"export", `{"all_projects":true,"categories":["exports","performance"]}`},
		{"cancel", `{"id":"req-9"}`},
	} {
		if r := NotDeletable(decodePlain(t, tt[0], tt[1])); r != nil {
			t.Errorf("%s %s: %v", tt[0], tt[1], r)
		}
	}
}

func TestUnsupported(t *testing.T) {
	c := decodePlain(t, "export", `{"all_projects":true}`)
	if r := (Features{}).Unsupported(c); r != nil {
		t.Errorf("a plain export is refused: %v", r)
	}
	c.Signature = "key.signature"
	if r := (Features{}).Unsupported(c); r == nil || r.Field != "Cv-Signature" {
		t.Errorf("a signature is ignored: %v", r)
	}
}

func TestRetentionOutOfRange(t *testing.T) {
	now := time.Date(2026, time.November, 24, 9, 30, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		until string
		want  string // part of the refusal; empty: none
	}{
		"in the past":                    {"2026-11-24T09:29:59Z", "at least an hour"},
		"now":                            {"2026-11-24T09:30:00Z", "at least an hour"},
		"in another zone, just too near": {"2026-11-24T11:29:59+01:00", "at least an hour"},
		"near":                           {"2026-11-24T10:30:00Z", ""},
		"far":                            {"2076-11-11T09:30:00Z", ""},
		"by a slip":                      {"2126-12-01T00:00:00Z", "at most 50 years"},
		"absurd":                         {"9999-12-31T23:59:59Z", "at most 50 years"},
	} {
		for field, data := range map[string][2]string{
			"retain_until":        {"export", `{"all_projects":true,"retain_until":"` + tt.until + `"}`},
			"export_retain_until": {"delete", `{"all_projects":true,"export_first":true,"export_retain_until":"` + tt.until + `"}`},
		} {
			c := decodePlain(t, data[0], data[1])
			r := RetentionOutOfRange(c, now)
			if tt.want == "" && r != nil || tt.want != "" && (r == nil || r.Code != CodeInvalidCommand || r.Field != field || !strings.Contains(r.Message, field+": must be "+tt.want)) {
				t.Errorf("%s, %s: %v", name, field, r)
			}
		}
	}
	if r := RetentionOutOfRange(decodePlain(t, "export", `{"all_projects":true}`), now); r != nil {
		t.Errorf("without a retention: %v", r)
	}
}

func TestRefusalOrder(t *testing.T) {
	order := RefusalOrder()
	if order[0] != CodeInvalidCommand || len(order) != 12 || !slices.Contains(order, CodeReadOnly) {
		t.Errorf("order %v", order)
	}
	order[0] = "x"
	if RefusalOrder()[0] == "x" {
		t.Error("the order can be changed")
	}
}

func TestErrorIsAnError(t *testing.T) {
	var err error = &Error{Code: CodeNotFound, Message: "project gone"}
	var e *Error
	if !errors.As(err, &e) || err.Error() != "not_found: project gone" {
		t.Errorf("%v", err)
	}
}
