package handler_test

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// TestExportFirstOfWhatIsGone exports and deletes what is partly or wholly gone already.
func TestExportFirstOfWhatIsGone(t *testing.T) {
	gone := uuid.MustParse("0f3b2a77-3a57-4b8c-9a67-5c1c1df0a111")
	for _, c := range []struct {
		name    string
		data    func(a account) string
		outcome handler.Outcome
	}{
		{"a project", func(account) string { return `{"project_ids":` + idList(gone) + `,"export_first":true}` }, handler.OutcomeNothingFound},
		{"one project of two", func(a account) string {
			return `{"project_ids":` + idList(a.a.ID, gone) + `,"export_first":true}`
		}, handler.OutcomeComplete},
		{"an image of two", func(a account) string {
			return fmt.Sprintf(`{"project_ids":%s,"image_ids":%s,"export_first":true}`, idList(a.a.ID), idList(a.a.Images[3], gone))
		}, handler.OutcomeComplete},
		{"an iteration", func(a account) string {
			return fmt.Sprintf(`{"project_ids":%s,"iteration_ids":%s,"export_first":true}`, idList(a.a.ID), idList(gone))
		}, handler.OutcomeNothingFound},
		{"a tag", func(a account) string {
			return fmt.Sprintf(`{"project_ids":%s,"tag_ids":%s,"export_first":true}`, idList(a.a.ID), idList(gone))
		}, handler.OutcomeNothingFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			a := fillAccount(w.api)
			w.start(t, replicaOptions{configure: noWait})
			e := w.delete(t, "del-1", c.data(a))
			if e.Status != handler.StatusCompleted || e.Outcome != c.outcome || e.ExportBundle == nil {
				t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
			w.bags(t, "del-1", sink.DeleteBag, sink.ExportBag)
		})
	}
}
