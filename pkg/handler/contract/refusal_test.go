package contract

import (
	"errors"
	"slices"
	"testing"
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
	all := Features{Retention: true}
	for name, tt := range map[string]struct {
		action, data string
		without      func(*Features)
		field        string
	}{
		"retain_until":        {"export", `{"all_projects":true,"retain_until":"2031-02-03T04:05:06Z"}`, func(f *Features) { f.Retention = false }, "retain_until"},
		"export_retain_until": {"delete", `{"all_projects":true,"export_first":true,"export_retain_until":"2031-02-03T04:05:06Z"}`, func(f *Features) { f.Retention = false }, "export_retain_until"},
	} {
		t.Run(name, func(t *testing.T) {
			c := decodePlain(t, tt.action, tt.data)
			f := all
			if r := f.Unsupported(c); r != nil {
				t.Errorf("refused although it is there: %v", r)
			}
			tt.without(&f)
			r := f.Unsupported(c)
			if r == nil || r.Error() != "invalid_command: "+tt.field+": not supported yet" || r.Field != tt.field || r.ID != c.ID {
				t.Errorf("got %+v", r)
			}
		})
	}
	c := decodePlain(t, "export", `{"all_projects":true}`)
	if r := (Features{}).Unsupported(c); r != nil {
		t.Errorf("a plain export is refused: %v", r)
	}
}

func TestRefusalOrder(t *testing.T) {
	order := RefusalOrder()
	if order[0] != CodeUnsigned || order[1] != CodeInvalidCommand || len(order) != 12 || !slices.Contains(order, CodeReadOnly) {
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
