package activity_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/activity"
)

// service is a job at a revision, whose command's message is in the queue.
type service struct {
	job contract.Job
	rev uint64
}

func (s *service) Over(string) (<-chan struct{}, func(), error) { return nil, func() {}, nil }

func (s *service) Job(context.Context, string) (contract.Job, uint64, error) {
	return s.job, s.rev, nil
}

func (s *service) CommandIn(context.Context, string, uint64) (contract.Message, error) {
	return contract.Message{}, nil
}

// TestStopsWithItsJob says what becomes of an attempt, begun by "me" at revision 7, when its job is
// as given.
func TestStopsWithItsJob(t *testing.T) {
	for _, c := range []struct {
		name string
		job  contract.Job
		rev  uint64
		want error // nil: it goes on
	}{
		{"it goes on", contract.Job{State: contract.StateRunning, Holder: "me"}, 9, nil},
		{"it was cancelled", contract.Job{State: contract.StateRunning, Holder: "me", Cancel: &contract.Cancel{}}, 9, activity.ErrCancelled},
		{"another replica holds it", contract.Job{State: contract.StateRunning, Holder: "other"}, 9, delivery.ErrFenced},
		{"it failed elsewhere", contract.Job{State: contract.StateFailed, Holder: ""}, 9, delivery.ErrFenced},
		{"it failed elsewhere, in the name of this holder", contract.Job{State: contract.StateFailed, Holder: "me"}, 9, delivery.ErrFenced},
		{"it is being cleaned up, by this attempt", contract.Job{State: contract.StateRunning, Holder: "me", Phase: contract.PhaseCleanUp}, 9, nil},
		{"a leader that lags", contract.Job{State: contract.StateFailed, Holder: ""}, 6, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &service{job: c.job, rev: c.rev}
				ctx, done := activity.New(s, s, s, zerolog.Nop()).StartAttempt(t.Context(), contract.Command{ID: "cmd-1"}, "me", 7)
				defer done()
				<-time.After(2 * delivery.WatchEvery)
				synctest.Wait()
				if got := context.Cause(ctx); !errors.Is(got, c.want) || c.want == nil && got != nil {
					t.Errorf("stopped by %v, want %v", got, c.want)
				}
			})
		})
	}
}
