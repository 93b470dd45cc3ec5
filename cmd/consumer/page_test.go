package main

import (
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
)

// The live page shows what the service has done, what is in the queues, and what of its
// dependencies is away.
func TestLivePage(t *testing.T) {
	t.Parallel()
	f := newFixture(t, cvtest.Options{Seed: 1})
	f.config.Page.On = true
	f.vision.AddProject(cvtest.ProjectSpec{Name: "name-of-a-project", Images: 3, ImageBytes: cvtest.Tiny})
	r := f.start(t)
	r.await("all is well", isReady)
	if e := f.order(t, "done-1"); e.Data.Status != contract.StatusCompleted {
		t.Fatal(describeEvent(e))
	}
	refused, err := request(t.Context(), f.config.NATS, order{action: contract.ActionDelete, id: "refused-1", data: []byte(`{"all_projects":true,"categories":["performance"]}`)}, func(contract.Event) {})
	if err != nil || refused.Data.Status != contract.StatusRefused {
		t.Fatal(describeEvent(refused), err)
	}
	page := r.page(t, "/")
	for _, want := range []string{"done-1", "complete, ", "refused-1", "not_deletable", "Dead letters</dt><dd class=\"bad\">1<", "training:default", "Ready:", "0 jobs have not ended."} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "name-of") {
		t.Error("the page has a name of the account")
	}
	r.end()

	w := pageWatch{service: r.service, queue: func() *natsq.Queue { return nil }}
	if s := w.look(t.Context()); s.Problem == "" || s.Queue != nil || !s.Stopping {
		t.Errorf("before NATS is known: %+v", s)
	}
}
