package handler_test

import (
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// Text of the customer and the requester that looks like links, signatures, markup, terminal codes
// and file names ends in bundles that verify, and stays as it is. Only the query of a signed link
// is removed.
func TestHostileText(t *testing.T) {
	t.Parallel()
	const (
		esc    = "a\x1b[2J\u009b1m\r\nsignature ok\u202e\u2066"
		signed = "see https://acc.blob.core.windows.net/c/b?sv=2021-08-06&sig=c2VjcmV0 there"
	)
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 7}})
	p := w.api.AddProject(cvtest.ProjectSpec{
		Name: "a&sig=b " + signed, Description: signed, Compact: true, Tags: []string{"a&sig=b", "<script>" + esc, "../../etc/passwd?sig=x"}, Images: 3, ImageBytes: cvtest.Tiny, Predictions: 1,
		Iterations: []cvtest.IterationSpec{{Name: "https://x?sig=1" + esc, Exports: []cvtest.ExportSpec{{Platform: "CoreML"}}}},
		Metadata: func(i int) map[string]string {
			return []map[string]string{
				{"url": "https://shop.example/item?id=1", "Uri": "what?", "?sv=1&sig=2": esc},
				{"note": signed, "metadata": `{"sig":"&sig=1"}`},
				nil,
			}[i%3]
		},
	})
	w.start(t, replicaOptions{})
	e := w.delete(t, "hostile", `{"project_ids":["`+p.ID.String()+`"],"export_first":true,"reference":"<b>a&sig=b ? https://x.example/?id=1"}`)
	if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete {
		t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
	all := strings.Builder{}
	for _, files := range w.bags(t, "hostile", sink.ExportBag, sink.DeleteBag) {
		for name, content := range files {
			all.WriteString(name + "\n")
			all.Write(content)
		}
	}
	text := strings.ReplaceAll(all.String(), `\u0026`, "&")
	for _, kept := range []string{`"url":"https://shop.example/item?id=1"`, `"Uri":"what?"`, `"?sv=1&sig=2"`, `"name":"a&sig=b"`, "see https://acc.blob.core.windows.net/c/b there"} {
		if !strings.Contains(text, kept) {
			t.Errorf("%s is in no file", kept)
		}
	}
	if strings.Contains(text, "c2VjcmV0") {
		t.Error("the query of a signed link is in a bundle")
	}
}

// The service may refuse several listings of the same iteration: each is an exception, and the
// export ends.
func TestListingsOfAnIterationRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 7}})
	smallProject(w.api)
	for _, operation := range []string{"GetTaggedImages", "GetUntaggedImages"} {
		w.api.Fault(cvtest.Fault{Operation: operation, Status: 400, Times: -1, Body: `{"code":"BadRequest","message":"no"}`})
	}
	w.start(t, replicaOptions{configure: func(c *handler.Config) {
		noWait(c)
		c.MaxAttempts = 1
	}})
	e := w.wait(t, w.publish(t, contract.ActionExport, "refused", `{"all_projects":true}`))
	if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeExceptions || e.Exceptions < 4 {
		t.Fatalf("ended %s %s with %d exceptions: %v", e.Status, e.Outcome, e.Exceptions, e.Error)
	}
	w.bag(t, "refused", sink.ExportBag)
}
