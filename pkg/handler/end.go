package handler

import (
	"context"
	"fmt"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// eventData is what every event of the command says.
func (r *run) eventData() contract.EventData {
	return contract.EventData{
		V: contract.FormatVersion, CommandID: r.command.ID, Seq: r.command.Seq, Stream: contract.Text(r.command.Stream), GivenID: r.job.GivenID, Action: r.command.Action,
		Reference: contract.Text(r.command.Data.Reference), Attempt: r.job.Attempt, ReplayOf: contract.Text(r.command.ReplayOf),
	}
}

// end decides how the command ended. The job's compare-and-set decides it: whichever replica wins,
// every one tells the winner's end. After a crash behind it any replica that gets the message
// publishes what the job says.
func (r *run) end(ctx context.Context, data contract.EventData) (*settlement, error) {
	if err := r.Update(ctx, r.terminalChange(ctx, data)); err != nil {
		return nil, err
	}
	return r.publishTerminal(ctx)
}

// terminalChange is what makes a job one that has ended so, with the event that tells of it.
func (r *run) terminalChange(ctx context.Context, data contract.EventData) func(*contract.Job) {
	base := r.eventData()
	base.Status, base.Outcome, base.Counts, base.Bundle, base.Exceptions = data.Status, data.Outcome, data.Counts, data.Bundle, data.Exceptions
	base.ExportBundle, base.Plan, base.Residuals, base.Error, base.ConflictsWith = data.ExportBundle, data.Plan, data.Residuals, data.Error, data.ConflictsWith
	base.StartedAt, base.FinishedAt = data.StartedAt, data.FinishedAt
	switch {
	case data.Attempt > 0:
		base.Attempt = data.Attempt
	case r.takenBefore:
		base.Attempt = r.attempts(ctx)
	}
	now := r.h.cfg.Now().UTC().Truncate(time.Millisecond)
	if base.FinishedAt == nil {
		base.FinishedAt = &now
	}
	event := contract.NewEvent(base, *base.FinishedAt, r.command.Traceparent)
	return func(j *contract.Job) {
		j.State, j.Outcome, j.Error, j.Waiting, j.Phase, j.Event = contract.State(base.Status), base.Outcome, base.Error, nil, "", &event
		j.LeftBehind = contract.Text(r.leftBehind)
		if base.Bundle != nil {
			j.Bundle = contract.Text(base.Bundle.URI)
		}
	}
}

// publishTerminal makes known what the job says about its end: the dead letter of a refused or
// failed command, then the event. Then, and only then, the message may go. Any replica that meets a
// terminal job does it; nothing else publishes a terminal event.
func (r *run) publishTerminal(ctx context.Context) (*settlement, error) {
	event := r.job.Event
	if event == nil {
		return nil, &contract.Error{Code: contract.CodeInternal, Message: "the job is terminal but has no event"}
	}
	if s := r.job.State; s == contract.StateFailed || s == contract.StateRefused {
		// After a crash here the dead letter is published again, and stored once.
		err := r.h.cfg.Queue.Events.PublishDead(ctx, contract.DeadLetter{
			ID: r.job.ID, GivenID: string(r.job.GivenID), Action: r.job.Action, Message: r.message, Error: *r.job.Error, Attempts: r.job.Attempt, Time: event.Time,
		})
		if err != nil {
			return nil, fmt.Errorf("publish the dead letter: %w", err)
		}
	}
	// After a crash here the event is published again, and stored once; behind it only the
	// acknowledgement is missing.
	if err := r.h.cfg.Queue.Events.PublishEvent(ctx, *event); err != nil {
		return nil, fmt.Errorf("publish the terminal event: %w", err)
	}
	return acknowledge(string(r.job.State)), nil
}
