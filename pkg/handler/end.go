package handler

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/cvconsumer/cvconsumer/internal/tracing"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// eventData is what every event of the command says.
func (r *run) eventData() contract.EventData {
	var d contract.EventData
	r.identify(&d)
	return d
}

// identify says in an event which command it is about.
func (r *run) identify(d *contract.EventData) {
	d.V, d.CommandID, d.Seq, d.Stream, d.Action = contract.FormatVersion, r.command.ID, r.command.Seq, contract.Text(r.command.Stream), r.command.Action
	d.Reference, d.ReplayOf = contract.Text(r.command.Data.Reference), contract.Text(r.command.ReplayOf)
	d.GivenID, d.Attempt = r.job.GivenID, r.job.Attempt
}

// end writes the end into the job. When two replicas try, the compare-and-set decides, and both
// publish the winner's end. After a crash behind it any replica publishes what the job records.
func (r *run) end(ctx context.Context, data contract.EventData) (*settlement, error) {
	if err := r.Update(ctx, r.terminalChange(ctx, data)); err != nil {
		return nil, err
	}
	return r.publishTerminal(ctx)
}

// terminalChange returns the change that makes the job terminal, with its event.
func (r *run) terminalChange(ctx context.Context, data contract.EventData) func(*contract.Job) {
	r.identify(&data)
	if r.takenBefore {
		data.Attempt = r.attempts(ctx)
	}
	if data.FinishedAt == nil {
		now := r.h.cfg.Now().UTC().Truncate(time.Millisecond)
		data.FinishedAt = &now
	}
	event := contract.NewEvent(data, *data.FinishedAt, tracing.Traceparent(ctx, r.command.Traceparent))
	return func(j *contract.Job) {
		j.State, j.Outcome, j.Error, j.Waiting, j.Phase, j.Event = contract.State(data.Status), data.Outcome, data.Error, nil, "", &event
		if data.Status == contract.StatusCompleted { // the last progress was told before the end, and without the generated files
			j.Progress = contract.Progress{Done: j.Progress.Total, Total: j.Progress.Total, Bytes: data.Counts.Bytes}
		}
		j.LeftBehind = contract.Text(r.leftBehind)
		if data.Bundle != nil {
			j.Bundle = contract.Text(data.Bundle.URI)
		}
	}
}

// publishTerminal publishes the end that the job records: the dead letter of a refused or failed
// command, then the event. Only then is the message acknowledged. Any replica that meets a terminal
// job does this; nothing else publishes a terminal event.
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
	if !r.isAbout(event.Data) {
		return r.publishDuplicate(ctx, r.job.State, event.Data.Seq, event.Data.Stream)
	}
	return acknowledge(string(r.job.State)), nil
}

// isAbout reports whether an event is about the message at hand, and not about another one of the
// same command. An older version did not say which stream it means.
func (r *run) isAbout(d contract.EventData) bool {
	return d.Seq == r.command.Seq && (string(d.Stream) == r.command.Stream || d.Stream == "")
}

// publishDuplicate answers a message that only repeats the one at seq in stream: under its own
// sequence, since its publisher looks there, with the state of their common command. No job and no
// dead letter are made of it.
//
// After a crash here the event is published again, and stored once.
func (r *run) publishDuplicate(ctx context.Context, state contract.State, seq uint64, stream contract.Text) (*settlement, error) {
	data := r.eventData()
	data.CommandID, data.GivenID, data.Attempt = contract.SeqID(r.command.Seq), contract.Text(r.command.ID), 0
	data.Status = contract.StatusDuplicate
	data.DuplicateOf = &contract.MessageOf{ID: r.command.ID, Seq: seq, Stream: stream, State: state}
	event := contract.NewEvent(data, r.h.cfg.Now(), tracing.Traceparent(ctx, r.command.Traceparent))
	if err := r.h.cfg.Queue.Events.PublishEvent(ctx, event); err != nil {
		return nil, fmt.Errorf("publish the answer to a duplicate: %w", err)
	}
	return acknowledge("a duplicate of message " + strconv.FormatUint(seq, 10)), nil
}
