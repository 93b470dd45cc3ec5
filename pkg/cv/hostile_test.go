package cv

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// TestNamesOfTenMegabytes has a name that is longer than any be no answer, whose text is in no
// error.
func TestNamesOfTenMegabytes(t *testing.T) {
	name := strings.Repeat("n", 10<<20)
	for _, c := range []struct {
		name   string
		answer string
		do     func(w *world) error
	}{
		{"project", `{"id":"%s","name":"%s"}`, func(w *world) error { _, err := w.GetProject(t.Context(), idP); return err }},
		{"projects", `[{"id":"%s","name":"%s"}]`, func(w *world) error { _, err := w.GetProjects(t.Context()); return err }},
		{"tags", `[{"id":"%s","name":"%s"}]`, func(w *world) error { _, err := w.GetTags(t.Context(), idP, uuid.Nil); return err }},
		{"error", `{"code":"%s","message":"%s"}`, func(w *world) error { _, err := w.GetProjects(t.Context()); return err }},
	} {
		code, kind := 200, ErrTooLarge
		if c.name == "error" {
			code, kind = 500, ErrUnavailable
		}
		w := newWorld(t, status(code, fmt.Sprintf(c.answer, idP, name)))
		if err := c.do(w); !errors.Is(err, kind) || len(err.Error()) > 1000 || strings.Contains(err.Error(), "nnnnnnnnnn") && c.name != "error" {
			t.Errorf("%s: %.300v", c.name, err)
		}
	}
}

// TestIDsInOtherLetters has an id be one however it is written: what is listed twice is one thing,
// and an answer in other letters is about what was asked for.
func TestIDsInOtherLetters(t *testing.T) {
	upper := strings.ToUpper(idP.String())
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		one := `{"id":"` + upper + `","name":"one"}`
		if strings.HasSuffix(r.URL.Path, "projects") {
			answer(rw, 200, "["+one+`,{"id":"`+idP.String()+`","name":"one"},{"id":"{`+upper+`}","name":"one"}]`)
			return
		}
		answer(rw, 200, one)
	})
	if p, err := w.GetProject(t.Context(), idP); err != nil || p.ID != idP || p.ID.String() != idP.String() {
		t.Errorf("%v, %v", p.ID, err)
	}
	if all, err := w.GetProjects(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("%d projects, %v", len(all), err)
	}
}
