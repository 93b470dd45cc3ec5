package cv

import (
	"testing"

	"github.com/google/uuid"
)

func TestLenientModels(t *testing.T) {
	const odd = `{"id":"8A32EA60-1C53-43C3-8113-D0B1F470FBDB","created":17,"name":"","description":["x"],"settings":{"domainId":""},"lastModified":"yesterday","status":null,"extra":{"a":1}}`
	w := newWorld(t, status(200, odd))
	p, err := w.GetProject(t.Context(), idP)
	if err != nil {
		t.Fatal(err)
	}
	if p.ID != idP || p.Description != "" || !p.Created.IsZero() || string(p.Raw) != odd {
		t.Errorf("%+v", p)
	}
	// Names in another case, as older versions of the service write them.
	w = newWorld(t, status(200, "\ufeff"+`[{"Id":"18670f0e-9e74-4e6d-9790-7b4829b034b3","Name":"Iteration 2","Status":"New","DomainId":null}]`))
	its, err := w.GetIterations(t.Context(), idP)
	if err != nil || len(its) != 1 || its[0].ID != idI || its[0].Name != "Iteration 2" || its[0].DomainID != uuid.Nil {
		t.Errorf("%+v %v", its, err)
	}
}
