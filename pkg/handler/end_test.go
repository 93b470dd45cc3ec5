package handler

import (
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// The last progress is told before the end, and by one attempt of several: a job that completed is
// whole all the same. One that failed shows how far it came.
func TestCompletedJobIsWhole(t *testing.T) {
	finished := time.Unix(1700000000, 0)
	for status, want := range map[contract.Status]contract.Progress{
		contract.StatusCompleted: {Done: 563, Total: 563, Bytes: 7},
		contract.StatusFailed:    {Done: 21, Total: 563, Bytes: 3},
	} {
		j := contract.Job{Progress: contract.Progress{Done: 21, Total: 563, Bytes: 3}}
		r := &run{}
		r.terminalChange(t.Context(), contract.EventData{Status: status, FinishedAt: &finished, Counts: contract.Counts{Bytes: 7}})(&j)
		if j.Progress != want {
			t.Errorf("%s: %+v", status, j.Progress)
		}
	}
}
